//! Activations, forward and backward.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Dropout, Float, naive};

use super::{LENGTHS, counts};
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// Activations in both directions, and dropout.
pub fn cases<T: Float>() -> Vec<Case> {
    let functions = [
        (Activation::Relu, "relu"),
        (Activation::Sigmoid, "sigmoid"),
        (Activation::Tanh, "tanh"),
        (Activation::Gelu, "gelu"),
        (Activation::GeluTanh, "gelu_tanh"),
        (Activation::Silu, "silu"),
        (Activation::Softplus, "softplus"),
        (Activation::Elu { alpha: 1.0 }, "elu"),
        (Activation::LeakyRelu { slope: 0.01 }, "leaky_relu"),
    ];
    let mut list = Vec::new();
    for (f, name) in functions {
        list.extend(LENGTHS.map(|len| forward::<T>(f, name, len)));
        list.extend(LENGTHS.map(|len| backward::<T>(f, name, len)));
    }
    list.extend(LENGTHS.map(dropout::<T>));
    list
}

/// Operations per element.
fn flops<T: Float>(f: Activation, backward: bool) -> usize {
    match (f, backward) {
        // 1 / (1 + e^-x); dy y (1 - y).
        (Activation::Sigmoid, false) => counts::exp::<T>() + 2,
        (Activation::Sigmoid, true) => 3,
        // 1 - 2 / (e^2x + 1); dy (1 - y y).
        (Activation::Tanh, false) => counts::exp::<T>() + 4,
        (Activation::Tanh, true) => 3,
        // The derivative adds the density.
        (Activation::Gelu, false) => counts::gelu::<T>(),
        (Activation::Gelu, true) => counts::gelu::<T>() + 3,
        // x / (1 + e^-z) of a z of four operations; s (1 - x z' (1 - s)).
        (Activation::GeluTanh, false) => counts::exp::<T>() + 7,
        (Activation::GeluTanh, true) => counts::exp::<T>() + 14,
        (Activation::Silu, false) => counts::exp::<T>() + 3,
        (Activation::Silu, true) => counts::exp::<T>() + 7,
        // max(x, 0) + ln(1 + e^-|x|); dy (1 - e^-y).
        (Activation::Softplus, false) => counts::exp::<T>() + counts::ln::<T>() + 2,
        (Activation::Softplus, true) => counts::exp::<T>() + 3,
        // A comparison, the exponential and its factor; a sum and a product.
        (Activation::Elu { .. }, false) => counts::exp::<T>() + 4,
        (Activation::Elu { .. }, true) => 3,
        (Activation::LeakyRelu { .. }, _) => 2,
        // A comparison.
        _ => 1,
    }
}

/// A few roundings of values up to 1.
fn tolerance<T: Float>() -> f64 {
    4.0 * T::EPSILON.to_f64()
}

fn forward<T: Float>(f: Activation, name: &str, len: usize) -> Case {
    let id = format!("{name}/{}/{len}", T::NAME);
    Case::new(id, Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, -6.0, 6.0)],
            len,
            tolerance::<T>(),
            move |inputs, y, exec| Activate::new(f, &inputs[0], y)?.run(exec),
            move |inputs, y| naive::activate(f, &inputs[0], y),
        )
    })
    .counting(flops::<T>(f, false) * len)
}

fn backward<T: Float>(f: Activation, name: &str, len: usize) -> Case {
    let id = format!("{name}_backward/{}/{len}", T::NAME);
    Case::new(id, Work::values::<T>(3 * len), move || {
        let mut random = Random::new(2);
        Simple::<T, _, _>::new(
            // The forward pass's output or input, and the gradient from above.
            vec![random.uniform(len, -1.0, 1.0), random.uniform(len, -1.0, 1.0)],
            len,
            tolerance::<T>(),
            move |inputs, dx, exec| match f.needs_input() {
                true => ActivateBackward::from_input(f, &inputs[0], &inputs[1], dx)?.run(exec),
                false => ActivateBackward::new(f, &inputs[0], &inputs[1], dx)?.run(exec),
            },
            move |inputs, dx| match f.needs_input() {
                true => naive::activate_backward_from_input(f, &inputs[0], &inputs[1], dx),
                false => naive::activate_backward(f, &inputs[0], &inputs[1], dx),
            },
        )
    })
    .counting(flops::<T>(f, true) * len)
}

/// Both directions do the same.
fn dropout<T: Float>(len: usize) -> Case {
    const RATE: f64 = 0.1;
    Case::new(format!("dropout/{}/{len}", T::NAME), Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(3).uniform(len, -1.0, 1.0)],
            len,
            tolerance::<T>(),
            |inputs, y, exec| Dropout::new(RATE, 1)?.stream(2).forward(&inputs[0], y, exec),
            |inputs, y| naive::dropout(RATE, [1, 2, 0], &inputs[0], y),
        )
    })
    // The comparison and the factor.
    .counting(2 * len)
}
