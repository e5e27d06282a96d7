//! Elementary functions, once, for every vector type.
//!
//! The method and the coefficients are derived in `docs/derivations/elementary.py`; the error bounds
//! stated here were measured over all `f32` inputs and are tabled in `docs/numerics.md`.

mod exp;
mod ln;
mod logistic;
mod normal;
mod tables;

pub(crate) use exp::{exp, exp_decay, expm1};
pub(crate) use ln::{ln, ln_1p_unit, ln_normal, log1p};
pub(crate) use logistic::{
    gelu_tanh, gelu_tanh_gradient, sigmoid, silu, silu_gradient, softplus, tanh,
};
pub(crate) use normal::{erf, gelu, gelu_gradient};
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

/// 1 / √x within 2 ULP, subnormal arguments included; ±∞ at ±0, 0 at +∞; a negative argument and NaN give
/// NaN.
#[inline(always)]
pub(crate) fn rsqrt<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    simd.div(simd.splat(T::ONE), simd.sqrt(x))
}
