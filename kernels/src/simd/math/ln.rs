//! Logarithms.

use super::polynomial;
use crate::simd::{Float, Simd};

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
    let (e, m) = parts(simd, x);
    ln_of_parts(simd, simd.add(e, shift), simd.sub(m, simd.splat(T::ONE)))
}

/// `(e, m)` with `x = 2^e m` and `m` in [√½, √2), for positive, finite, normal `x`.
#[inline(always)]
fn parts<T: Float, S: Simd<T>>(simd: S, x: S::V) -> (S::V, S::V) {
    let (e, m) = (simd.exponent(x), simd.mantissa(x));
    let upper = simd.lt(simd.splat(T::SQRT_2), m);
    let halved = simd.select(upper, simd.mul(m, simd.splat(T::HALF)), m);
    (simd.select(upper, simd.add(e, simd.splat(T::ONE)), e), halved)
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

/// ln(1 + x) within 2 ULP, small and subnormal arguments included. -∞ at -1, +∞ at +∞; an argument below
/// -1 and NaN give NaN; -0 stays -0.
#[inline(always)]
pub(crate) fn log1p<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let (one, infinity) = (simd.splat(T::ONE), simd.splat(T::INFINITY));
    // From the neighbour of -1 on.
    let lowest = simd.splat(T::EPSILON * T::HALF - T::ONE);
    let clamped = simd.min(simd.splat(T::MAX), simd.max(lowest, x));
    let sum = simd.add(one, clamped);
    let lost = simd.sub(clamped, simd.sub(sum, one));
    let (e, m) = parts(simd, sum);
    // Between √½ - 1 and √2 - 1 the argument itself, which the sum has rounded.
    let within = simd.eq(e, simd.zero());
    let f = simd.select(within, clamped, simd.sub(m, one));
    let correction = simd.select(within, simd.zero(), simd.div(lost, sum));
    // The sign makes -0 of what came out as +0.
    let finite = simd.copy_sign(simd.add(ln_of_parts(simd, e, f), correction), clamped);
    let below = simd.select(simd.lt(x, lowest), simd.splat(T::NAN), x);
    let edge = simd.select(simd.eq(x, simd.neg(one)), simd.neg(infinity), below);
    simd.select(simd.eq(x, clamped), finite, edge)
}
