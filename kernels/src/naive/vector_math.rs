//! Elementary functions along slices.

use crate::simd::Float;

/// `y = e^x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn exp<T: Float>(x: &[T], y: &mut [T]) {
    along(f64::exp, x, y);
}

/// `y = e^x - 1`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn expm1<T: Float>(x: &[T], y: &mut [T]) {
    along(f64::exp_m1, x, y);
}

/// `y = ln x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn ln<T: Float>(x: &[T], y: &mut [T]) {
    along(f64::ln, x, y);
}

/// `y = ln(1 + x)`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn log1p<T: Float>(x: &[T], y: &mut [T]) {
    along(f64::ln_1p, x, y);
}

/// `y = erf x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn erf<T: Float>(x: &[T], y: &mut [T]) {
    along(libm::erf, x, y);
}

/// `y = 1 / √x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn rsqrt<T: Float>(x: &[T], y: &mut [T]) {
    along(|x| 1.0 / x.sqrt(), x, y);
}

fn along<T: Float>(f: impl Fn(f64) -> f64, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(y) {
        *y = T::from_f64(f(x.to_f64()));
    }
}
