//! Elementary functions along slices.

use crate::simd::Float;

/// `y = e^x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn exp<T: Float>(x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(y) {
        *y = T::from_f64(x.to_f64().exp());
    }
}

/// `y = ln x`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn ln<T: Float>(x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(y) {
        *y = T::from_f64(x.to_f64().ln());
    }
}
