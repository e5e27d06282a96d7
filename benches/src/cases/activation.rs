//! Activations, forward and backward.

use tilewise_kernels::{Activate, ActivateBackward, Activation, Float, naive};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// In the first-level cache, in the second, and beyond all caches.
const LENGTHS: [usize; 3] = [4_096, 100_000, 4_000_000];

/// ReLU, sigmoid and tanh in both directions.
pub fn cases<T: Float>() -> Vec<Case> {
    let mut list = Vec::new();
    for (f, name) in
        [(Activation::Relu, "relu"), (Activation::Sigmoid, "sigmoid"), (Activation::Tanh, "tanh")]
    {
        for len in LENGTHS {
            let id = |op: &str| format!("{op}/{}/{len}", T::NAME);
            list.push(Case::new(id(name), Work::values::<T>(2 * len), move || {
                Elementwise::<T>::new(f, len, false)
            }));
            let backward = id(&format!("{name}_backward"));
            list.push(Case::new(backward, Work::values::<T>(3 * len), move || {
                Elementwise::<T>::new(f, len, true)
            }));
        }
    }
    list
}

struct Elementwise<T> {
    f: Activation,
    backward: bool,
    x: Vec<T>,
    dy: Vec<T>,
    out: Vec<T>,
}

impl<T: Float> Elementwise<T> {
    fn new(f: Activation, len: usize, backward: bool) -> Self {
        let mut random = Random::new(1);
        // The backward pass takes the forward's output, which lies between -1 and 1.
        let limit = if backward { 1.0 } else { 6.0 };
        let x = random.uniform(len, -limit, limit);
        let dy = random.uniform(if backward { len } else { 0 }, -1.0, 1.0);
        Self { f, backward, x, dy, out: vec![T::ZERO; len] }
    }
}

impl<T: Float> Workload for Elementwise<T> {
    fn run(&mut self, by: Implementation) {
        let Self { f, x, dy, out, .. } = self;
        let done = match (by.exec(), self.backward) {
            (Some(exec), false) => Activate::new(*f, x, out).and_then(|op| op.run(exec)),
            (Some(exec), true) => ActivateBackward::new(*f, x, dy, out).and_then(|op| op.run(exec)),
            (None, false) => Ok(naive::activate(*f, x, out)),
            (None, true) => Ok(naive::activate_backward(*f, x, dy, out)),
        };
        done.expect("valid arguments");
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        append(&self.out, &mut all);
        all
    }

    fn tolerance(&self) -> f64 {
        4.0 * T::EPSILON.to_f64()
    }
}
