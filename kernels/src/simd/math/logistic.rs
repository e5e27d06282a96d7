//! Functions of 1 / (1 + e^-x) and its kin.

use super::exp::{exp_bounded, exp_decay, exp_of_reduced, exp_of_reduced_fast, reduce};
use super::ln::ln_1p_unit;
use super::polynomial;
use crate::simd::{Float, Simd};

/// 2 √(2 / π), and what the tanh form of GELU has before x³ (Hendrycks and Gimpel, "Gaussian error linear
/// units", 2016).
const GELU_TANH: [f64; 2] = [1.595_769_121_605_730_7, 0.044_715];

/// The gradient of SiLU is flat from here on, in either type.
const SILU_FLAT: f64 = 1000.0;

/// The same of the tanh form of GELU.
const GELU_TANH_FLAT: f64 = 22.0;

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

/// ln(1 + e^x) within 2 ULP, subnormal results included; 0 at -∞, +∞ at +∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn softplus<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let decay = exp_bounded(simd, simd.neg(simd.abs(x)));
    // Where ln(1 + t) rounds to t; squares of such t would underflow, which takes long.
    let tiny = simd.lt(decay, simd.splat(T::EPSILON * T::HALF));
    let rest = ln_1p_unit(simd, simd.select(tiny, simd.zero(), decay));
    // NaN goes through the maximum: it is the second operand.
    simd.add(simd.max(simd.zero(), x), simd.select(tiny, decay, rest))
}

/// x / (1 + e^-x) within 4 ULP, subnormal results included; -0 at -∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn silu<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    times_sigmoid(simd, x, x)
}

/// GELU in its tanh form: x / (1 + e^-z) with z = 2 √(2/π) (x + 0.044715 x³), within 4 ULP for x above -1
/// and (4 + 5 |z|) ULP below, where e^z enlarges the five roundings of z. -0 at -∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn gelu_tanh<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    times_sigmoid(simd, x, gelu_tanh_argument(simd, x)[0])
}

/// z of the tanh form, and what its derivative needs: x².
#[inline(always)]
fn gelu_tanh_argument<T: Float, S: Simd<T>>(simd: S, x: S::V) -> [S::V; 2] {
    let [linear, cubic] = GELU_TANH;
    let [linear, cubic] = [linear, cubic * linear].map(|c| simd.splat(T::from_f64(c)));
    let square = simd.mul(x, x);
    [simd.mul(x, simd.mul_add(square, cubic, linear)), square]
}

/// x / (1 + e^-z), for x and z of the same sign.
#[inline(always)]
fn times_sigmoid<T: Float, S: Simd<T>>(simd: S, x: S::V, z: S::V) -> S::V {
    let (zero, one) = (simd.zero(), simd.splat(T::ONE));
    let low = simd.splat(T::SILU_LOW);
    let vanishes = simd.lt(z, low);
    // NaN goes through the maximum: it is the second operand.
    let (n, r) = reduce(simd, simd.max(low, simd.neg(simd.abs(z))));
    let m = exp_of_reduced(simd, r);
    // Beside 1 it does not matter what happens to a subnormal power.
    let decay = simd.mul(m, simd.pow2(simd.max(simd.splat(T::EXPONENT_LOW), n)));
    // 1 / (1 + decay), the rounding error of the denominator taken back to first order.
    let below = simd.add(one, decay);
    let lost = simd.sub(decay, simd.sub(below, one));
    let inverse = simd.div(one, below);
    let inverse = simd.neg_mul_add(simd.mul(inverse, lost), inverse, inverse);
    // Below 0 it is x e^z / (1 + e^z), and the power of two comes last, so that a subnormal result is
    // rounded once.
    let negative = simd.lt(z, zero);
    let ratio = simd.mul(simd.select(negative, m, one), inverse);
    let x = simd.select(vanishes, simd.splat(T::NEG_ZERO), x);
    simd.scale_pow2(simd.mul(x, ratio), simd.select(negative, n, zero))
}

/// The derivative of [`silu`]; 0 at -∞, 1 at +∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn silu_gradient<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // NaN goes through the minimum: it is the second operand.
    let w = simd.min(simd.splat(T::from_f64(SILU_FLAT)), simd.abs(x));
    sigmoid_product_gradient(simd, x, [w, w])
}

/// The derivative of [`gelu_tanh`]; 0 at -∞, 1 at +∞, NaN stays NaN.
#[inline(always)]
pub(crate) fn gelu_tanh_gradient<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    // NaN goes through the minimum: it is the second operand.
    let w = simd.min(simd.splat(T::from_f64(GELU_TANH_FLAT)), simd.abs(x));
    let [z, square] = gelu_tanh_argument(simd, w);
    let [linear, cubic] = GELU_TANH;
    let [linear, cubic] = [linear, 3.0 * cubic * linear].map(|c| simd.splat(T::from_f64(c)));
    let slope = simd.mul_add(square, cubic, linear);
    sigmoid_product_gradient(simd, x, [z, simd.mul(w, slope)])
}

/// The derivative of x σ(z(x)) for odd z, from z and |x| dz/dx at |x|: with s = σ(-z), it is
/// s - |x| z' s σ(z) below 0 and 1 less that above. A factor e^-z that is not normal counts as 0.
#[inline(always)]
fn sigmoid_product_gradient<T: Float, S: Simd<T>>(simd: S, x: S::V, [z, rise]: [S::V; 2]) -> S::V {
    let one = simd.splat(T::ONE);
    let decay = exp_decay(simd, simd.neg(z));
    let inverse = simd.div(one, simd.add(one, decay));
    let below = simd.mul(simd.mul(decay, inverse), simd.neg_mul_add(rise, inverse, one));
    simd.select(simd.lt(x, simd.zero()), below, simd.sub(one, below))
}
