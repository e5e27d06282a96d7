//! Activations, forward from the input and backward from the output or the input. One read per operand
//! and one write per element.

mod function;
mod gradient;

use super::elementwise::{Unary, map};
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::simd::Float;

pub(crate) use function::FunctionUser;

/// An activation function. NaN stays NaN in all of them; their limits at ±∞ are reached there. Parameters
/// are rounded to the type of the elements and may be any number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0)
    Relu,
    /// 1 / (1 + e^-x), within 2 ULP.
    Sigmoid,
    /// (e^x - e^-x) / (e^x + e^-x), within 2 ULP.
    Tanh,
    /// x Φ(x) with the normal distribution Φ(x) = (1 + erf(x / √2)) / 2, within 6 ULP, also where Φ is
    /// small (Hendrycks and Gimpel, "Gaussian error linear units", 2016).
    Gelu,
    /// The same paper's x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2. With z twice the argument of the
    /// tangent: within 4 ULP above -1, within (4 + 5 |z|) ULP below.
    GeluTanh,
    /// x / (1 + e^-x), also called swish, within 4 ULP.
    Silu,
    /// ln(1 + e^x), within 2 ULP.
    Softplus,
    /// x above 0, alpha (e^x - 1) elsewhere, within 4 ULP (Clevert, Unterthiner and Hochreiter, "Fast and
    /// accurate deep network learning by exponential linear units", 2016).
    Elu {
        /// The limit at -∞ is -alpha.
        alpha: f64,
    },
    /// x above 0, slope · x elsewhere.
    LeakyRelu {
        /// Usually 0.01.
        slope: f64,
    },
}

impl Activation {
    /// Whether the gradient takes the input of the forward pass: an output of GELU or SiLU may have come
    /// from either of two inputs, and so may that of ELU and leaky ReLU with a negative parameter.
    pub fn needs_input(self) -> bool {
        match self {
            Self::Gelu | Self::GeluTanh | Self::Silu => true,
            // NaN determines nothing either.
            Self::Elu { alpha: parameter } | Self::LeakyRelu { slope: parameter } => {
                parameter.is_nan() || parameter < 0.0
            }
            _ => false,
        }
    }
}

/// `y = f(x)`, elementwise.
///
/// # Errors
/// If the lengths differ.
pub fn activate<T: Float>(f: Activation, x: &[T], y: &mut [T]) -> Result<()> {
    Activate::new(f, x, y)?.run(Exec::default())
}

/// `dx = dy * f'(x)`, elementwise, from the output `y = f(x)`.
///
/// # Errors
/// If the lengths differ, or `f` [needs its input](Activation::needs_input).
pub fn activate_backward<T: Float>(f: Activation, y: &[T], dy: &[T], dx: &mut [T]) -> Result<()> {
    ActivateBackward::new(f, y, dy, dx)?.run(Exec::default())
}

/// `dx = dy * f'(x)`, elementwise, from the input `x`.
///
/// # Errors
/// If the lengths differ.
pub fn activate_backward_from_input<T: Float>(
    f: Activation,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    ActivateBackward::from_input(f, x, dy, dx)?.run(Exec::default())
}

/// The forward pass of an activation; see [`activate`].
#[derive(Debug)]
pub struct Activate<'a, T> {
    f: Activation,
    x: &'a [T],
    y: &'a mut [T],
}

impl<'a, T: Float> Activate<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(f: Activation, x: &'a [T], y: &'a mut [T]) -> Result<Self> {
        check_len("activation output", x.len(), y.len())?;
        Ok(Self { f, x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().activate)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        if self.f == Activation::Identity {
            self.y.copy_from_slice(self.x);
            return Ok(());
        }
        self.f.hand_to(Mapping { x: self.x, y: self.y, exec })
    }
}

/// A forward pass that waits for its function.
struct Mapping<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    exec: Exec,
}

impl<T: Float> FunctionUser<T> for Mapping<'_, T> {
    type Output = Result<()>;

    fn take<F: Unary<T>>(self, f: F) -> Result<()> {
        map(f, self.x, self.y, self.exec)
    }
}

/// The backward pass of an activation; see [`activate_backward`] and [`activate_backward_from_input`].
#[derive(Debug)]
pub struct ActivateBackward<'a, T> {
    f: Activation,
    /// The input or the output of the forward pass.
    saved: &'a [T],
    is_input: bool,
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<'a, T: Float> ActivateBackward<'a, T> {
    /// From the output of the forward pass; checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ, or `f` [needs its input](Activation::needs_input).
    pub fn new(f: Activation, y: &'a [T], dy: &'a [T], dx: &'a mut [T]) -> Result<Self> {
        if f.needs_input() {
            let expected = "a function whose output determines it, or its input";
            return Err(Error::value(
                "activation gradient",
                expected,
                format!("the output of {f:?}"),
            ));
        }
        let op = Self::from_input(f, y, dy, dx)?;
        Ok(Self { is_input: false, ..op })
    }

    /// From the input of the forward pass; checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn from_input(f: Activation, x: &'a [T], dy: &'a [T], dx: &'a mut [T]) -> Result<Self> {
        check_len("activation gradient dy", x.len(), dy.len())?;
        check_len("activation gradient dx", x.len(), dx.len())?;
        Ok(Self { f, saved: x, is_input: true, dy, dx })
    }

    /// Writes `dx`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().activate_backward)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { f, saved, is_input, dy, dx } = self;
        if f == Activation::Identity {
            dx.copy_from_slice(dy);
            return Ok(());
        }
        gradient::write(f, is_input, [saved, dy], dx, exec)
    }
}
