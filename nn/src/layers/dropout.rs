//! Inverted dropout (Srivastava et al. 2014): training keeps each value with probability 1 - rate
//! and divides it by that, so that the mean stays and inference is the identity.

use tilewise_kernels::{self as kernels, Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::error::Error;
use crate::matrix::Matrix;

/// A dropout layer. Whether a value is kept is a function of the seed, the step and the value's
/// position; the mask is drawn again in the backward pass instead of being stored.
#[derive(Debug, Clone)]
pub struct Dropout {
    masks: kernels::Dropout,
}

impl Dropout {
    /// A layer that drops each value with probability `rate`, rounded to a multiple of 2^-32. The
    /// mean is kept exactly for the rounded rate.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1).
    pub fn new(rate: f64, seed: u64) -> crate::Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::argument("dropout rate", "at least 0 and below 1", rate));
        }
        Ok(Self { masks: kernels::Dropout::new(rate, seed)? })
    }
}

impl<T: Float> Layer<T> for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        Ok(input)
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        self.masks.stream(pass.step).forward(x.data(), y.data_mut(), pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, _exec: Exec) -> Result<()> {
        y.data_mut().copy_from_slice(x.data());
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = dx else { return Ok(()) };
        self.masks.stream(pass.step).backward(saved.dy.data(), dx.data_mut(), pass.exec)
    }
}
