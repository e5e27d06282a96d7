//! Activations, forward from the input and backward from the output. One read per operand and one
//! write per element.

use super::elementwise::{Binary, MOVING_GRAIN, Unary, map, zip};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::simd::{Float, Simd, math};

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// 1 / (1 + e^-x), within 2 ULP.
    Sigmoid,
    /// (e^x - e^-x) / (e^x + e^-x), within 2 ULP.
    Tanh,
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
/// If the lengths differ.
pub fn activate_backward<T: Float>(f: Activation, y: &[T], dy: &[T], dx: &mut [T]) -> Result<()> {
    ActivateBackward::new(f, y, dy, dx)?.run(Exec::default())
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

/// The backward pass of an activation; see [`activate_backward`].
#[derive(Debug)]
pub struct ActivateBackward<'a, T> {
    f: Activation,
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<'a, T: Float> ActivateBackward<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(f: Activation, y: &'a [T], dy: &'a [T], dx: &'a mut [T]) -> Result<Self> {
        check_len("activation gradient dy", y.len(), dy.len())?;
        check_len("activation gradient dx", y.len(), dx.len())?;
        Ok(Self { f, y, dy, dx })
    }

    /// Writes `dx`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().activate_backward)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { f, y, dy, dx } = self;
        match f {
            Activation::Identity => {
                dx.copy_from_slice(dy);
                Ok(())
            }
            Activation::Relu => zip(ReluGrad, [y, dy], dx, exec),
            Activation::Sigmoid => zip(SigmoidGrad, [y, dy], dx, exec),
            Activation::Tanh => zip(TanhGrad, [y, dy], dx, exec),
        }
    }
}

/// What is done with the function that an [`Activation`] names.
pub(crate) trait FunctionUser<T: Float> {
    /// What comes of it.
    type Output;

    /// Takes the function. Mark it `#[inline(always)]` where vectors are about.
    fn take<F: Unary<T>>(self, f: F) -> Self::Output;
}

impl Activation {
    /// Hands `user` the function: the one place that knows which function has which name. Whatever
    /// applies an activation, alone or in the store of another operation, comes here, once for many
    /// elements.
    #[inline(always)]
    pub(crate) fn hand_to<T: Float, U: FunctionUser<T>>(self, user: U) -> U::Output {
        match self {
            Self::Identity => user.take(Identity),
            Self::Relu => user.take(Relu),
            Self::Sigmoid => user.take(Sigmoid),
            Self::Tanh => user.take(Tanh),
        }
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl<T: Float> Unary<T> for Identity {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, _simd: S, x: S::V) -> S::V {
        x
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl<T: Float> Unary<T> for Relu {
    const GRAIN: usize = MOVING_GRAIN;

    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        // The second operand wins where one is NaN, and that is x.
        simd.max(simd.zero(), x)
    }
}

#[derive(Clone, Copy)]
struct ReluGrad;

impl<T: Float> Binary<T> for ReluGrad {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        // A NaN output is not <= 0, so its gradient passes on.
        simd.select(simd.le(y, simd.zero()), simd.zero(), dy)
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl<T: Float> Unary<T> for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::sigmoid(simd, x)
    }
}

#[derive(Clone, Copy)]
struct SigmoidGrad;

impl<T: Float> Binary<T> for SigmoidGrad {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.mul(dy, simd.mul(y, simd.sub(simd.splat(T::ONE), y)))
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl<T: Float> Unary<T> for Tanh {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::tanh(simd, x)
    }
}

#[derive(Clone, Copy)]
struct TanhGrad;

impl<T: Float> Binary<T> for TanhGrad {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.mul(dy, simd.neg_mul_add(y, y, simd.splat(T::ONE)))
    }
}
