//! Elementary functions, once, for every vector type.
//!
//! The method and the coefficients are derived in `docs/derivations/elementary.py`; the error bounds
//! stated here were measured over all `f32` inputs and are tabled in `docs/numerics.md`.

mod tables;

pub(crate) use tables::Tables;

use super::{Float, Simd};

/// The polynomial with these coefficients, lowest first, by Horner's rule.
#[inline(always)]
fn polynomial<T: Float, S: Simd<T>>(simd: S, coefficients: &[T], x: S::V) -> S::V {
    let mut descending = coefficients.iter().rev();
    let Some(&highest) = descending.next() else { return simd.zero() };
    let mut sum = simd.splat(highest);
    for &c in descending {
        sum = simd.mul_add(sum, x, simd.splat(c));
    }
    sum
}

/// `(n, r)` with `x = n ln2 + r` and |r| at most a hair over ln2 / 2. Needs `x` between
/// [`Tables::EXP_LOW`] and [`Tables::EXP_HIGH`]; NaN gives NaN in the second.
#[inline(always)]
fn reduce<T: Float, S: Simd<T>>(simd: S, x: S::V) -> (S::V, S::V) {
    let n = simd.round(simd.mul(x, simd.splat(T::LOG2_E)));
    // n times the high part is exact, and so is the difference: it cancels x's leading bits.
    let r = simd.neg_mul_add(n, simd.splat(T::LN_2_HI), x);
    (n, simd.neg_mul_add(n, simd.splat(T::LN_2_LO), r))
}

/// e^r within 0.8 ULP for a reduced `r`: 1 + r is taken with its rounding error.
#[inline(always)]
fn exp_of_reduced<T: Float, S: Simd<T>>(simd: S, r: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let sum = simd.add(one, r);
    let lost = simd.sub(r, simd.sub(sum, one));
    let q = polynomial(simd, T::EXP_REST, r);
    simd.add(sum, simd.mul_add(simd.mul(r, r), q, lost))
}

/// e^r within about 1 ULP for a reduced `r`, three operations cheaper.
#[inline(always)]
fn exp_of_reduced_fast<T: Float, S: Simd<T>>(simd: S, r: S::V) -> S::V {
    let q = polynomial(simd, T::EXP_REST, r);
    simd.add(simd.splat(T::ONE), simd.mul_add(simd.mul(r, r), q, r))
}

/// e^x within 1 ULP, subnormal results included. NaN stays NaN; e^-∞ = 0; overflow gives +∞.
#[inline(always)]
pub(crate) fn exp<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // NaN goes through the minimum: it is the second operand.
    exp_bounded(simd, simd.min(simd.splat(T::EXP_HIGH), x))
}

/// [`exp`] for `x` of at most [`Tables::EXP_HIGH`] or NaN; a larger `x` may give anything.
#[inline(always)]
fn exp_bounded<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
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
    let power = simd.mul(exp_of_reduced_fast(simd, r), simd.pow2(n));
    simd.select(simd.lt(x, low), simd.zero(), power)
}

/// ln(2^e (1 + f)) for integral `e` and `f` in [√½ - 1, √2 - 1].
#[inline(always)]
fn ln_of_parts<T: Float, S: Simd<T>>(simd: S, e: S::V, f: S::V) -> S::V {
    let square = simd.mul(f, f);
    let cubic = simd.mul(simd.mul(f, square), polynomial(simd, T::LN_REST, f));
    let small = simd.mul_add(e, simd.splat(T::LN_2_LO), cubic);
    let near = simd.sub(f, simd.sub(simd.mul(simd.splat(T::HALF), square), small));
    simd.mul_add(e, simd.splat(T::LN_2_HI), near)
}

/// ln x for positive, finite, normal `x`; anything else gives an unspecified value.
#[inline(always)]
pub(crate) fn ln_normal<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    ln_scaled(simd, x, simd.zero())
}

/// ln(x 2^shift) for positive, finite, normal `x`.
#[inline(always)]
fn ln_scaled<T: Float, S: Simd<T>>(simd: S, x: S::V, shift: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let (e, m) = (simd.add(simd.exponent(x), shift), simd.mantissa(x));
    let upper = simd.lt(simd.splat(T::SQRT_2), m);
    let m = simd.select(upper, simd.mul(m, simd.splat(T::HALF)), m);
    let e = simd.select(upper, simd.add(e, one), e);
    ln_of_parts(simd, e, simd.sub(m, one))
}

/// ln x within 1 ULP, subnormal arguments included. ln 0 = -∞, ln +∞ = +∞; a negative argument and
/// NaN give NaN.
#[inline(always)]
pub(crate) fn ln<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let (zero, infinity) = (simd.zero(), simd.splat(T::INFINITY));
    let clamped = simd.min(simd.splat(T::MAX), simd.max(simd.splat(T::TINY), x));
    let subnormal = simd.lt(clamped, simd.splat(T::MIN_POSITIVE));
    let lifted = simd.mul(clamped, simd.splat(T::LIFT));
    let normal = simd.select(subnormal, lifted, clamped);
    let shift = simd.select(subnormal, simd.splat(-T::LIFT_EXPONENT), zero);
    let finite = ln_scaled(simd, normal, shift);
    // What the clamp changed, and NaN: 0, negative, infinite.
    let negative = simd.select(simd.lt(x, zero), simd.splat(T::NAN), x);
    let edge = simd.select(simd.eq(x, zero), simd.sub(zero, infinity), negative);
    simd.select(simd.eq(x, clamped), finite, edge)
}

/// ln(1 + u) for `u` in [0, 1], small ones included; NaN stays NaN.
#[inline(always)]
pub(crate) fn ln_1p_unit<T: Float, S: Simd<T>>(simd: S, u: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let upper = simd.lt(simd.splat(T::SQRT_2 - T::ONE), u);
    // Above √2 - 1: 1 + u = 2 (1 + (u - 1) / 2).
    let f = simd.select(upper, simd.mul(simd.sub(u, one), simd.splat(T::HALF)), u);
    ln_of_parts(simd, simd.select(upper, one, simd.zero()), f)
}

/// 1 / (1 + e^-x) within 2 ULP in both tails; 0 at -∞, 1 at +∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn sigmoid<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // e^-|x| never overflows and keeps its relative accuracy where the result is small.
    let decay = exp_bounded(simd, simd.neg(simd.abs(x)));
    let one = simd.splat(T::ONE);
    let negative = simd.lt(x, simd.zero());
    let below = simd.add(one, decay);
    let ratio = simd.div(simd.select(negative, decay, one), below);
    // The rounding error of the denominator, taken back to first order. 1 / denominator is the
    // sigmoid of |x|, which the ratio gives on both sides.
    let lost = simd.sub(decay, simd.sub(below, one));
    let inverse = simd.select(negative, simd.sub(one, ratio), ratio);
    simd.neg_mul_add(simd.mul(ratio, lost), inverse, ratio)
}

/// tanh x within 2 ULP, tiny arguments included; ±1 at ±∞, NaN stays NaN, -0 stays -0.
#[inline(always)]
pub(crate) fn tanh<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let square = simd.mul(x, x);
    let cubic = simd.mul(simd.mul(x, square), polynomial(simd, T::TANH_REST, square));
    let near = simd.add(x, cubic);
    // 1 - 2 / (e^2|x| + 1). NaN goes through the minimum: it is the second operand.
    let magnitude = simd.abs(x);
    let y = simd.min(simd.splat(T::TANH_HIGH), simd.add(magnitude, magnitude));
    let (n, r) = reduce(simd, y);
    let power = simd.mul(exp_of_reduced_fast(simd, r), simd.pow2(n));
    let rest = simd.div(simd.splat(T::ONE + T::ONE), simd.add(power, one));
    let near_zero = simd.lt(magnitude, simd.splat(T::TANH_NEAR));
    // The sign also makes -0 of a near value that rounded to +0.
    simd.copy_sign(simd.select(near_zero, near, simd.sub(one, rest)), x)
}
