//! Activation functions.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Float, Result};

use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// An activation function.
#[derive(Debug)]
pub(in crate::autodiff) struct Activated(pub(in crate::autodiff) Activation);

/// Its name in reports.
fn name(f: Activation) -> &'static str {
    match f {
        Activation::Relu => "relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
        Activation::Gelu | Activation::GeluTanh => "gelu",
        Activation::Silu => "silu",
        Activation::Softplus => "softplus",
        Activation::Elu { .. } => "elu",
        Activation::LeakyRelu { .. } => "leaky_relu",
        _ => "activation",
    }
}

impl<T: Float> Op<T> for Activated {
    fn name(&self) -> &'static str {
        name(self.0)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        Ok(x)
    }

    fn uses(&self) -> Uses {
        if self.0.needs_input() { Uses::INPUTS } else { Uses::OUTPUT }
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        Activate::new(self.0, inputs[0].data, y)?.run(pass.exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let op = if self.0.needs_input() {
            ActivateBackward::from_input(self.0, saved.inputs[0].data, saved.dy, dx)
        } else {
            ActivateBackward::new(self.0, saved.output.data, saved.dy, dx)
        };
        op?.run(pass.exec)
    }
}
