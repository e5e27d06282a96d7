//! Conversion between element types.

use half::{bf16, f16};

/// An element type of [`convert`].
pub trait Number: Copy {
    /// The same value, exactly.
    fn to_f64(self) -> f64;
    /// The nearest value of this type, ties to even; infinite where that is too large.
    fn nearest(x: f64) -> Self;
}

impl Number for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn nearest(x: f64) -> Self {
        x as Self
    }
}

impl Number for bf16 {
    fn to_f64(self) -> f64 {
        Self::to_f64(self)
    }

    fn nearest(x: f64) -> Self {
        Self::from_f64(rounded(x, 7, -126, 127))
    }
}

impl Number for f16 {
    fn to_f64(self) -> f64 {
        Self::to_f64(self)
    }

    fn nearest(x: f64) -> Self {
        Self::from_f64(rounded(x, 10, -14, 15))
    }
}

/// `x` rounded to a type with so many bits of fraction and exponents from `least` (below which values
/// are multiples of its last place) to `most`.
fn rounded(x: f64, fraction: i32, least: i32, most: i32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // floor(log2 |x|): every `f32` is a normal `f64`.
    let exponent = ((x.to_bits() >> 52 & 0x7FF) as i32 - 1023).max(least);
    let last_place = 2.0_f64.powi(exponent - fraction);
    let nearest = (x / last_place).round_ties_even() * last_place;
    let too_large = nearest.abs() >= 2.0_f64.powi(most + 1);
    if too_large { f64::INFINITY.copysign(x) } else { nearest }
}

/// `y = x` in another type, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn convert<A: Number, B: Number>(x: &[A], y: &mut [B]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(y) {
        *y = B::nearest(x.to_f64());
    }
}
