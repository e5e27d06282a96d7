//! Functions of the normal distribution: Φ(x), its density φ(x) and erf x = 2 Φ(√2 x) - 1.

use super::exp::{exp_of_reduced, exp_of_reduced_fast, reduce};
use super::polynomial;
use crate::simd::{Float, Simd};

/// φ(0) = 1 / √(2π).
const DENSITY: f64 = 0.398_942_280_401_432_7;

/// erf x within 2 ULP, small and subnormal arguments included; ±1 at ±∞, NaN stays NaN, -0 stays -0.
#[inline(always)]
pub(crate) fn erf<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let near = simd.mul_add(x, polynomial(simd, T::ERF_REST, simd.mul(x, x)), x);
    // 1 - e^-w(|x|). NaN goes through the minimum: it is the second operand.
    let magnitude = simd.abs(x);
    let w = polynomial(simd, T::ERF_FAR, simd.min(simd.splat(T::ERF_HIGH), magnitude));
    let (n, r) = reduce(simd, simd.neg(w));
    let rest = simd.mul(exp_of_reduced_fast(simd, r), simd.pow2(n));
    let near_zero = simd.lt(magnitude, one);
    // The sign also makes -0 of a near value that rounded to +0.
    simd.copy_sign(simd.select(near_zero, near, simd.sub(one, rest)), x)
}

/// GELU, x Φ(x), within 6 ULP also where Φ is small, subnormal results included; -0 at -∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn gelu<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let magnitude = simd.abs(x);
    let vanishes = simd.lt(simd.splat(T::GELU_ZERO), magnitude);
    let w = simd.select(vanishes, simd.zero(), magnitude);
    let (n, m) = gaussian(simd, w);
    // |x| Φ(-|x|) = t g(t) e^(-x²/2) with t = |x| / (|x| + k): no error of t is enlarged by g, which
    // takes it back where it matters. The power of two comes last, so that a subnormal result is rounded
    // once.
    let t = simd.div(w, simd.add(w, simd.splat(T::GELU_SHIFT)));
    let tail = simd.mul(simd.mul(t, tail_of_ratio(simd, t)), m);
    let tail = simd.scale_pow2(tail, n);
    // max(x, 0), and -0 for negative x. NaN goes through: it is the second operand.
    simd.sub(simd.max(simd.splat(T::NEG_ZERO), x), tail)
}

/// The derivative of [`gelu`], Φ(x) + x φ(x); 0 at -∞, 1 at +∞, NaN stays NaN. A density that is not
/// normal counts as 0.
#[inline(always)]
pub(crate) fn gelu_gradient<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(T::ONE);
    let magnitude = simd.abs(x);
    let flat = simd.splat(T::GELU_FLAT);
    // NaN goes through the minimum: it is the second operand.
    let w = simd.min(flat, magnitude);
    let (n, m) = gaussian(simd, w);
    let inverse = simd.div(one, simd.add(w, simd.splat(T::GELU_SHIFT)));
    let tail = simd.mul(tail_of_ratio(simd, simd.mul(w, inverse)), inverse);
    // Φ(-|x|) - |x| φ(x) below 0, and 1 less that above.
    let difference = simd.neg_mul_add(w, simd.splat(T::from_f64(DENSITY)), tail);
    let below = simd.mul(simd.mul(m, simd.pow2(n)), difference);
    let below = simd.select(simd.lt(flat, magnitude), simd.zero(), below);
    simd.select(simd.lt(x, simd.zero()), below, simd.sub(one, below))
}

/// e^(w²/2) Φ(-w) (w + k) from t = w / (w + k).
#[inline(always)]
fn tail_of_ratio<T: Float, S: Simd<T>>(simd: S, t: S::V) -> S::V {
    polynomial(simd, T::GELU_TAIL, simd.sub(t, simd.splat(T::GELU_CENTRE)))
}

/// `(n, m)` with e^(-w²/2) = 2^n m and m about 1, within 1 ULP, for w from 0 to [`Tables::GELU_ZERO`](super::Tables::GELU_ZERO).
#[inline(always)]
fn gaussian<T: Float, S: Simd<T>>(simd: S, w: S::V) -> (S::V, S::V) {
    let half = simd.splat(T::HALF);
    let n = simd.round(simd.mul(simd.mul(w, w), simd.splat(T::ZERO - T::HALF * T::LOG2_E)));
    // The rounding error of w² would be one of e^(-w²/2) a hundred times as large. w = h + rest with an h
    // of so few bits that its square is exact; so is what n ln2 leaves of it, as for exp.
    let grid = simd.splat(T::GELU_GRID);
    let h = simd.mul(simd.round(simd.mul(w, grid)), simd.splat(T::ONE / T::GELU_GRID));
    let rest = simd.mul(simd.mul(simd.sub(w, h), half), simd.add(w, h));
    let leading = simd.neg(simd.mul(simd.mul(h, half), h));
    let r = simd.neg_mul_add(n, simd.splat(T::LN_2_HI), leading);
    let r = simd.sub(r, simd.mul_add(n, simd.splat(T::LN_2_LO), rest));
    (n, exp_of_reduced(simd, r))
}
