//! The functions of vectors that activations name.

use super::Activation;
use crate::ops::elementwise::{MOVING_GRAIN, Unary};
use crate::simd::{Float, Simd, math};

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
            Self::Gelu => user.take(Gelu),
            Self::GeluTanh => user.take(GeluTanh),
            Self::Silu => user.take(Silu),
            Self::Softplus => user.take(Softplus),
            Self::Elu { alpha } => user.take(Elu(alpha)),
            Self::LeakyRelu { slope } => user.take(LeakyRelu(slope)),
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
pub(super) struct Sigmoid;

impl<T: Float> Unary<T> for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::sigmoid(simd, x)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl<T: Float> Unary<T> for Tanh {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::tanh(simd, x)
    }
}

#[derive(Clone, Copy)]
struct Gelu;

impl<T: Float> Unary<T> for Gelu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::gelu(simd, x)
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl<T: Float> Unary<T> for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::gelu_tanh(simd, x)
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl<T: Float> Unary<T> for Silu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::silu(simd, x)
    }
}

#[derive(Clone, Copy)]
struct Softplus;

impl<T: Float> Unary<T> for Softplus {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::softplus(simd, x)
    }
}

/// With its alpha.
#[derive(Clone, Copy)]
struct Elu(f64);

impl<T: Float> Unary<T> for Elu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        let below = simd.mul(simd.splat(T::from_f64(self.0)), math::expm1(simd, x));
        // A comparison with NaN is false, and e^NaN - 1 is NaN.
        simd.select(simd.lt(simd.zero(), x), x, below)
    }
}

/// With its slope.
#[derive(Clone, Copy)]
struct LeakyRelu(f64);

impl<T: Float> Unary<T> for LeakyRelu {
    const GRAIN: usize = MOVING_GRAIN;

    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        let below = simd.mul(simd.splat(T::from_f64(self.0)), x);
        simd.select(simd.lt(simd.zero(), x), x, below)
    }
}
