//! Exponentials.

use super::polynomial;
use crate::simd::{Float, Simd};

/// `(n, r)` with `x = n ln2 + r` and |r| at most a hair over ln2 / 2. Needs `x` between
/// [`Tables::EXP_LOW`](super::Tables::EXP_LOW) and [`Tables::EXP_HIGH`]; NaN gives NaN in the second.
#[inline(always)]
pub(super) fn reduce<T: Float, S: Simd<T>>(simd: S, x: S::V) -> (S::V, S::V) {
    let n = simd.round(simd.mul(x, simd.splat(T::LOG2_E)));
    // n times the high part is exact, and so is the difference: it cancels x's leading bits.
    let r = simd.neg_mul_add(n, simd.splat(T::LN_2_HI), x);
    (n, simd.neg_mul_add(n, simd.splat(T::LN_2_LO), r))
}

/// e^r within 0.8 ULP for a reduced `r`: 1 + r is taken with its rounding error.
#[inline(always)]
pub(super) fn exp_of_reduced<T: Float, S: Simd<T>>(simd: S, r: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let sum = simd.add(one, r);
    let lost = simd.sub(r, simd.sub(sum, one));
    let q = polynomial(simd, T::EXP_REST, r);
    simd.add(sum, simd.mul_add(simd.mul(r, r), q, lost))
}

/// e^r within about 1 ULP for a reduced `r`, three operations cheaper.
#[inline(always)]
pub(super) fn exp_of_reduced_fast<T: Float, S: Simd<T>>(simd: S, r: S::V) -> S::V {
    let q = polynomial(simd, T::EXP_REST, r);
    simd.add(simd.splat(T::ONE), simd.mul_add(simd.mul(r, r), q, r))
}

/// e^x within 1 ULP, subnormal results included. NaN stays NaN; e^-∞ = 0; overflow gives +∞.
#[inline(always)]
pub(crate) fn exp<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // NaN goes through the minimum: it is the second operand.
    exp_bounded(simd, simd.min(simd.splat(T::EXP_HIGH), x))
}

/// [`exp`] for `x` of at most [`Tables::EXP_HIGH`](super::Tables::EXP_HIGH) or NaN; a larger `x` may give anything.
#[inline(always)]
pub(super) fn exp_bounded<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // Zeros are selected, not computed: a product that underflows costs a hundred cycles.
    let vanishes = simd.lt(x, simd.splat(T::EXP_LOW));
    let (n, r) = reduce(simd, simd.select(vanishes, simd.zero(), x));
    let power = simd.scale_pow2(exp_of_reduced(simd, r), n);
    simd.select(vanishes, simd.zero(), power)
}

/// [`exp`] for `x` <= 0 or NaN where a result that is not normal may be 0; a larger `x` may give
/// anything. Within 1.1 ULP; cheaper than [`exp`], and never slow: products do not underflow.
#[inline(always)]
pub(crate) fn exp_decay<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let low = simd.splat(T::EXP_LOW_NORMAL);
    // NaN goes through the maximum: it is the second operand.
    let (n, r) = reduce(simd, simd.max(low, x));
    let power = simd.scale_normal(exp_of_reduced_fast(simd, r), n);
    simd.select(simd.lt(x, low), simd.zero(), power)
}

/// e^x - 1 within 2 ULP, small and subnormal arguments included; -1 at -∞, overflow gives +∞, NaN stays
/// NaN, -0 stays -0.
#[inline(always)]
pub(crate) fn expm1<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // NaN goes through both: it is the second operand.
    let bounded = simd.min(simd.splat(T::EXP_HIGH), simd.max(simd.splat(T::EXPM1_LOW), x));
    let (n, r) = reduce(simd, bounded);
    // 2^n (e^r - 1) + (2^n - 1), all of it halved, because 2^n may overflow where the sum does not.
    let half = simd.splat(T::HALF);
    let power = simd.pow2(simd.sub(n, simd.splat(T::ONE)));
    let whole = simd.sub(power, half);
    let leading = simd.mul(power, r);
    let sum = simd.add(whole, leading);
    let lost = simd.sub(leading, simd.sub(sum, whole));
    let rest = simd.mul(simd.mul(r, r), polynomial(simd, T::EXPM1_REST, r));
    let halved = simd.add(sum, simd.mul_add(power, rest, lost));
    let tiny = simd.lt(simd.abs(x), simd.splat(T::EPSILON * T::HALF));
    simd.select(tiny, x, simd.add(halved, halved))
}
