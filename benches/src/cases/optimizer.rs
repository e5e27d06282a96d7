//! Optimiser steps.

use tilewise_kernels::{
    AdamStep, EpsilonPlacement, Exec, Float, Moments, MomentumForm, MomentumStep, Result,
    RmsPropStep, SgdStep, naive,
};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// Parameters: a small network's, those of 784-512-256-10, and ten million.
const COUNTS: [usize; 3] = [4_096, 535_040, 10_000_000];

/// Steps counted before the measured one, so that bias correction matters.
const STEP: u64 = 10;

#[derive(Clone, Copy)]
enum Rule {
    Sgd(SgdStep),
    Momentum(MomentumStep),
    RmsProp(RmsPropStep),
    Adam(AdamStep),
}

/// SGD, momentum, RMSprop and Adam.
pub fn cases<T: Float>() -> Vec<Case> {
    let (lr, weight_decay, epsilon) = (1e-3, 0.0, 1e-8);
    let momentum = MomentumStep { lr, beta: 0.9, form: MomentumForm::Classical, weight_decay };
    let placement = EpsilonPlacement::Outside;
    let rms_prop = RmsPropStep { lr, beta: 0.9, epsilon, placement, weight_decay };
    let (beta1, beta2) = (0.9, 0.999);
    let adam = AdamStep { lr, beta1, beta2, epsilon, weight_decay, decoupled: false };
    // Values read and written per parameter: parameter and state twice, the gradient once.
    let rules = [
        ("sgd", Rule::Sgd(SgdStep { lr, weight_decay }), 3),
        ("momentum", Rule::Momentum(momentum), 5),
        ("rms_prop", Rule::RmsProp(rms_prop), 5),
        ("adam", Rule::Adam(adam), 7),
    ];
    let mut list = Vec::new();
    for (name, rule, values) in rules {
        list.extend(COUNTS.map(|count| {
            let id = format!("{name}/{}/{count}", T::NAME);
            Case::new(id, Work::values::<T>(values * count), move || Step::<T>::new(rule, count))
        }));
    }
    list
}

struct Step<T> {
    rule: Rule,
    params: Vec<T>,
    grads: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
}

impl<T: Float> Step<T> {
    fn new(rule: Rule, count: usize) -> Self {
        // Only the state that the rule has.
        let (first, second) = match rule {
            Rule::Sgd(_) => (0, 0),
            Rule::Momentum(_) => (count, 0),
            Rule::RmsProp(_) => (0, count),
            Rule::Adam(_) => (count, count),
        };
        let zeros = |len| vec![T::ZERO; len];
        let grads = Random::new(1).uniform(count, -1.0, 1.0);
        let (first, second) = (zeros(first), zeros(second));
        let mut step = Self { rule, params: zeros(count), grads, first, second };
        step.reset();
        step
    }

    fn fast(&mut self, exec: Exec) -> Result<()> {
        let Self { rule, params, grads, first, second } = self;
        match rule {
            Rule::Sgd(step) => step.run(params, grads, exec),
            Rule::Momentum(step) => step.run(params, grads, first, exec),
            Rule::RmsProp(step) => step.run(params, grads, second, exec),
            Rule::Adam(step) => step.run(params, grads, Moments { first, second }, STEP, exec),
        }
    }

    fn naive(&mut self) {
        let Self { rule, params, grads, first, second } = self;
        match rule {
            Rule::Sgd(step) => naive::sgd_step(step, params, grads),
            Rule::Momentum(step) => naive::momentum_step(step, params, grads, first),
            Rule::RmsProp(step) => naive::rms_prop_step(step, params, grads, second),
            Rule::Adam(step) => {
                naive::adam_step(step, params, grads, Moments { first, second }, STEP);
            }
        }
    }
}

impl<T: Float> Workload for Step<T> {
    fn run(&mut self, by: Implementation) {
        match by.exec() {
            Some(exec) => self.fast(exec).expect("valid arguments"),
            None => self.naive(),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        for values in [&self.params, &self.first, &self.second] {
            append(values, &mut all);
        }
        all
    }

    fn reset(&mut self) {
        let mut random = Random::new(2);
        random.refill(&mut self.params, -1.0, 1.0);
        random.refill(&mut self.first, -0.1, 0.1);
        random.refill(&mut self.second, 0.01, 1.0);
    }

    /// A few roundings per value.
    fn tolerance(&self) -> f64 {
        8.0 * T::EPSILON.to_f64()
    }
}
