//! Inverted dropout.

use tilewise_kernels::{Dropout as Masks, Float, Result};

use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// Sets elements to 0 at random; which ones is a function of the seed, the number of the step and their
/// place, so that the backward pass draws them again.
#[derive(Debug)]
pub(in crate::autodiff) struct Dropout(pub(in crate::autodiff) Masks);

impl<T: Float> Op<T> for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        Ok(x)
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        self.0.stream(pass.step).forward(inputs[0].data, y, pass.exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        self.0.stream(pass.step).backward(saved.dy, dx, pass.exec)
    }
}
