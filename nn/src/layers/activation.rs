//! Elementwise activations as layers.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::matrix::Matrix;

/// An activation function between layers.
#[derive(Debug, Clone, Copy)]
pub struct ActivationLayer(pub Activation);

impl<T: Float> Layer<T> for ActivationLayer {
    fn kind(&self) -> &'static str {
        match self.0 {
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

    fn output_width(&self, input: usize) -> Result<usize> {
        Ok(input)
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        Layer::infer(self, x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        Activate::new(self.0, x.data(), y.data_mut())?.run(exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = dx else { return Ok(()) };
        let (dy, dx) = (saved.dy.data(), dx.data_mut());
        let op = if self.0.needs_input() {
            ActivateBackward::from_input(self.0, saved.x.data(), dy, dx)
        } else {
            ActivateBackward::new(self.0, saved.y.data(), dy, dx)
        };
        op?.run(pass.exec)
    }
}
