//! Elementwise activations as layers.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::matrix::Matrix;

/// The name of an activation in reports.
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

/// An activation function between layers.
#[derive(Debug, Clone, Copy)]
pub struct ActivationLayer(pub Activation);

impl<T: Float> Layer<T> for ActivationLayer {
    fn kind(&self) -> &'static str {
        name(self.0)
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

/// The activation that a layer applies as it stores its outputs, none at first.
#[derive(Debug, Clone)]
pub(super) struct Stored<T> {
    pub(super) function: Activation,
    /// The gradient before it.
    gradient: Matrix<T>,
}

impl<T: Float> Default for Stored<T> {
    fn default() -> Self {
        Self { function: Activation::Identity, gradient: Matrix::default() }
    }
}

impl<T: Float> Stored<T> {
    /// Sets the function.
    pub(super) fn apply(&mut self, f: Activation) -> crate::Result<()> {
        if f.needs_input() {
            let expected = "one whose gradient is known from its output";
            return Err(crate::Error::argument("activation in the store", expected, name(f)));
        }
        self.function = f;
        Ok(())
    }

    /// The gradient by what the function is applied to.
    pub(super) fn gradient<'a>(
        &'a mut self,
        saved: Saved<'a, T>,
        exec: Exec,
    ) -> Result<&'a Matrix<T>> {
        if self.is_plain() {
            return Ok(saved.dy);
        }
        let dz = &mut self.gradient;
        dz.resize_like(saved.dy);
        let (y, dy) = (saved.y.data(), saved.dy.data());
        ActivateBackward::new(self.function, y, dy, dz.data_mut())?.run(exec)?;
        Ok(dz)
    }

    /// Whether nothing is between the sums and the output.
    pub(super) fn is_plain(&self) -> bool {
        self.function == Activation::Identity
    }

    /// Takes the function in where there is none. Gives whether it did.
    pub(super) fn take(&mut self, f: Activation) -> bool {
        self.is_plain() && self.apply(f).is_ok()
    }

    /// The name of the function, if there is one.
    pub(super) fn name(&self) -> Option<&'static str> {
        (!self.is_plain()).then(|| name(self.function))
    }
}
