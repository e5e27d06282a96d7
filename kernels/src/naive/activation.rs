//! Activations.

use crate::ops::Activation;
use crate::simd::Float;

/// `y = f(x)`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn activate<T: Float>(f: Activation, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter().zip(y) {
        let x = x.to_f64();
        *y = T::from_f64(match f {
            Activation::Identity => x,
            // Comparisons are false for NaN, which passes.
            Activation::Relu if x < 0.0 => 0.0,
            Activation::Relu => x,
            // The same as below, where e^-x would overflow.
            Activation::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        });
    }
}

/// `dx = dy * f'(x)`, elementwise, from the output `y = f(x)`.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward<T: Float>(f: Activation, y: &[T], dy: &[T], dx: &mut [T]) {
    assert!(y.len() == dy.len() && y.len() == dx.len());
    for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
        let (y, dy) = (y.to_f64(), dy.to_f64());
        *dx = T::from_f64(match f {
            Activation::Identity => dy,
            Activation::Relu if y <= 0.0 => 0.0,
            Activation::Relu => dy,
            Activation::Sigmoid => dy * y * (1.0 - y),
            Activation::Tanh => dy * (1.0 - y * y),
        });
    }
}
