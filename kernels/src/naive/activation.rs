//! Activations.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

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
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => times(x, normal_distribution(x)),
            Activation::GeluTanh => times(x, sigmoid(gelu_tanh_argument(x))),
            Activation::Silu => times(x, sigmoid(x)),
            // ln(1 + e^x), where e^x would overflow too.
            Activation::Softplus if x > 0.0 => x + (-x).exp().ln_1p(),
            Activation::Softplus => x.exp().ln_1p(),
            Activation::Elu { .. } | Activation::LeakyRelu { .. } if x > 0.0 => x,
            Activation::Elu { alpha } => alpha * x.exp_m1(),
            Activation::LeakyRelu { slope } => slope * x,
        });
    }
}

/// `dx = dy * f'(x)`, elementwise, from the output `y = f(x)`.
///
/// # Panics
/// If the lengths differ, or the output does not determine the derivative.
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
            Activation::Softplus => dy * -(-y).exp_m1(),
            Activation::Elu { .. } if y > 0.0 => dy,
            Activation::Elu { alpha } => dy * (y + alpha),
            Activation::LeakyRelu { slope } if y <= 0.0 => slope * dy,
            Activation::LeakyRelu { .. } => dy,
            Activation::Gelu | Activation::GeluTanh | Activation::Silu => {
                panic!("{f:?}: the output does not determine the derivative")
            }
        });
    }
}

/// `dx = dy * f'(x)`, elementwise, from the input `x`.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward_from_input<T: Float>(f: Activation, x: &[T], dy: &[T], dx: &mut [T]) {
    assert!(x.len() == dy.len() && x.len() == dx.len());
    for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
        let (x, dy) = (x.to_f64(), dy.to_f64());
        *dx = T::from_f64(match f {
            Activation::Identity => dy,
            Activation::Relu if x <= 0.0 => 0.0,
            Activation::Relu => dy,
            Activation::Sigmoid => dy * sigmoid(x) * sigmoid(-x),
            Activation::Tanh => dy * (1.0 - x.tanh() * x.tanh()),
            // x times the density, which is 0 at infinity.
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
                dy * (normal_distribution(x) + times(x, density))
            }
            Activation::GeluTanh => {
                let (z, slope) = (gelu_tanh_argument(x), gelu_tanh_argument_slope(x));
                dy * (sigmoid(z) + times(x * slope, sigmoid(z) * sigmoid(-z)))
            }
            Activation::Silu => dy * (sigmoid(x) + times(x, sigmoid(x) * sigmoid(-x))),
            Activation::Softplus => dy * sigmoid(x),
            Activation::Elu { .. } if x > 0.0 => dy,
            Activation::Elu { alpha } => dy * alpha * x.exp(),
            Activation::LeakyRelu { slope } if x <= 0.0 => slope * dy,
            Activation::LeakyRelu { .. } => dy,
        });
    }
}

fn sigmoid(x: f64) -> f64 {
    // The two are the same, but for overflow.
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

/// How much of a standard normal distribution lies below x.
fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// z with x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 = x sigmoid(z).
fn gelu_tanh_argument(x: f64) -> f64 {
    2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)
}

fn gelu_tanh_argument_slope(x: f64) -> f64 {
    2.0 * (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x)
}

/// `x * factor`, and 0 of the sign of x where the factor has vanished: it does so faster than x grows.
fn times(x: f64, factor: f64) -> f64 {
    if factor == 0.0 { 0.0_f64.copysign(x) } else { x * factor }
}
