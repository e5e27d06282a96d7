//! Gradients of activations: what dy becomes beside an input or an output of the forward pass.

use super::Activation;
use super::function::{Sigmoid, Tanh};
use crate::error::Result;
use crate::exec::Exec;
use crate::ops::elementwise::{Binary, Unary, zip};
use crate::simd::{Float, Simd, math};

/// Writes `dx` from what was saved of the forward pass, and `dy`.
pub(super) fn write<T: Float>(
    f: Activation,
    is_input: bool,
    operands: [&[T]; 2],
    dx: &mut [T],
    exec: Exec,
) -> Result<()> {
    match (f, is_input) {
        (Activation::Identity, _) => zip(Identity, operands, dx, exec),
        (Activation::Relu, _) => zip(Relu, operands, dx, exec),
        (Activation::Sigmoid, false) => zip(SigmoidOutput, operands, dx, exec),
        (Activation::Sigmoid, true) => zip(Recomputed(Sigmoid, SigmoidOutput), operands, dx, exec),
        (Activation::Tanh, false) => zip(TanhOutput, operands, dx, exec),
        (Activation::Tanh, true) => zip(Recomputed(Tanh, TanhOutput), operands, dx, exec),
        (Activation::Gelu, _) => zip(Times(GeluSlope), operands, dx, exec),
        (Activation::GeluTanh, _) => zip(Times(GeluTanhSlope), operands, dx, exec),
        (Activation::Silu, _) => zip(Times(SiluSlope), operands, dx, exec),
        (Activation::Softplus, false) => zip(Times(SoftplusOutputSlope), operands, dx, exec),
        // ln(1 + e^x) has the derivative e^x / (1 + e^x).
        (Activation::Softplus, true) => zip(Times(Sigmoid), operands, dx, exec),
        (Activation::Elu { alpha }, false) => zip(EluOutput(alpha), operands, dx, exec),
        (Activation::Elu { alpha }, true) => zip(Elu(alpha), operands, dx, exec),
        (Activation::LeakyRelu { slope }, _) => zip(LeakyRelu(slope), operands, dx, exec),
    }
}

/// dy times a function, the derivative.
#[derive(Clone, Copy)]
struct Times<F>(F);

impl<T: Float, F: Unary<T>> Binary<T> for Times<F> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, saved: S::V, dy: S::V) -> S::V {
        simd.mul(dy, self.0.apply(simd, saved))
    }
}

/// A gradient from outputs, of outputs computed again.
#[derive(Clone, Copy)]
struct Recomputed<F, G>(F, G);

impl<T: Float, F: Unary<T>, G: Binary<T>> Binary<T> for Recomputed<F, G> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V, dy: S::V) -> S::V {
        self.1.apply(simd, self.0.apply(simd, x), dy)
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl<T: Float> Binary<T> for Identity {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, _simd: S, _saved: S::V, dy: S::V) -> S::V {
        dy
    }
}

/// From the output or the input: both are positive or neither.
#[derive(Clone, Copy)]
struct Relu;

impl<T: Float> Binary<T> for Relu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        // A NaN is not <= 0, so its gradient passes on.
        simd.select(simd.le(y, simd.zero()), simd.zero(), dy)
    }
}

/// The same, with the slope below 0.
#[derive(Clone, Copy)]
struct LeakyRelu(f64);

impl<T: Float> Binary<T> for LeakyRelu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        let below = simd.mul(simd.splat(T::from_f64(self.0)), dy);
        simd.select(simd.le(y, simd.zero()), below, dy)
    }
}

#[derive(Clone, Copy)]
struct SigmoidOutput;

impl<T: Float> Binary<T> for SigmoidOutput {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.mul(dy, simd.mul(y, simd.sub(simd.splat(T::ONE), y)))
    }
}

#[derive(Clone, Copy)]
struct TanhOutput;

impl<T: Float> Binary<T> for TanhOutput {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.mul(dy, simd.neg_mul_add(y, y, simd.splat(T::ONE)))
    }
}

#[derive(Clone, Copy)]
struct GeluSlope;

impl<T: Float> Unary<T> for GeluSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::gelu_gradient(simd, x)
    }
}

#[derive(Clone, Copy)]
struct GeluTanhSlope;

impl<T: Float> Unary<T> for GeluTanhSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::gelu_tanh_gradient(simd, x)
    }
}

#[derive(Clone, Copy)]
struct SiluSlope;

impl<T: Float> Unary<T> for SiluSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::silu_gradient(simd, x)
    }
}

/// e^x / (1 + e^x) of the x with y = ln(1 + e^x): 1 - e^-y.
#[derive(Clone, Copy)]
struct SoftplusOutputSlope;

impl<T: Float> Unary<T> for SoftplusOutputSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V) -> S::V {
        simd.neg(math::expm1(simd, simd.neg(y)))
    }
}

/// alpha e^x = y + alpha where x is not positive.
#[derive(Clone, Copy)]
struct EluOutput(f64);

impl<T: Float> Binary<T> for EluOutput {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        let below = simd.mul(dy, simd.add(y, simd.splat(T::from_f64(self.0))));
        simd.select(simd.lt(simd.zero(), y), dy, below)
    }
}

#[derive(Clone, Copy)]
struct Elu(f64);

impl<T: Float> Binary<T> for Elu {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V, dy: S::V) -> S::V {
        let slope = simd.mul(simd.splat(T::from_f64(self.0)), math::exp(simd, x));
        simd.select(simd.lt(simd.zero(), x), dy, simd.mul(dy, slope))
    }
}
