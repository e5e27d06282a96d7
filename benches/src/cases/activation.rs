//! Activations, forward and backward.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Float, naive};

use super::{LENGTHS, counts};
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// ReLU, sigmoid and tanh in both directions.
pub fn cases<T: Float>() -> Vec<Case> {
    let functions =
        [(Activation::Relu, "relu"), (Activation::Sigmoid, "sigmoid"), (Activation::Tanh, "tanh")];
    let mut list = Vec::new();
    for (f, name) in functions {
        list.extend(LENGTHS.map(|len| forward::<T>(f, name, len)));
        list.extend(LENGTHS.map(|len| backward::<T>(f, name, len)));
    }
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
            // The forward pass's output, and the gradient from above.
            vec![random.uniform(len, -1.0, 1.0), random.uniform(len, -1.0, 1.0)],
            len,
            tolerance::<T>(),
            move |inputs, dx, exec| ActivateBackward::new(f, &inputs[0], &inputs[1], dx)?.run(exec),
            move |inputs, dx| naive::activate_backward(f, &inputs[0], &inputs[1], dx),
        )
    })
    .counting(flops::<T>(f, true) * len)
}
