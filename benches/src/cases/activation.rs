//! Activations, forward and backward.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Float, naive};

use super::LENGTHS;
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
}
