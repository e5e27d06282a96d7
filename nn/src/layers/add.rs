//! Where the two branches of a residual block meet.

use tilewise_kernels::{Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::matrix::Matrix;

/// Passes one branch on; the model adds the other one to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Add;

impl<T: Float> Layer<T> for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        Ok(input)
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        Layer::infer(self, x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, _exec: Exec) -> Result<()> {
        y.data_mut().copy_from_slice(x.data());
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        _pass: Pass,
    ) -> Result<()> {
        if let Some(dx) = dx {
            dx.data_mut().copy_from_slice(saved.dy.data());
        }
        Ok(())
    }
}
