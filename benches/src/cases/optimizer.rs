//! Optimiser steps.

use tilewise_kernels::{
    AdamStep, EpsilonPlacement, Exec, Float, Moments, MomentumForm, MomentumStep, Result,
    RmsPropStep, SgdStep, StepTensor, naive,
};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::Random;

/// Parameters: two small networks' (a first- and a second-level cache full), a million, and as many as
/// a convolutional network for images has.
const COUNTS: [usize; 4] = [10_000, 30_000, 1_000_000, 25_000_000];

/// Many small tensors in one call, as models of many layers have: how many, and the parameters of each.
const MANY: [usize; 2] = [200, 1_000];

/// Of more parameters than this only every so many-th is compared: all of them as `f64`, expected and
/// got, would take more memory than the step itself.
const COMPARED: usize = 4_000_000;

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
    // Values read and written per parameter (parameter and state twice, the gradient once), and
    // operations without a weight decay: w -= lr g; v = beta v + g before it; averages of g or of g²,
    // a root, two corrections, a quotient.
    let rules = [
        ("sgd", Rule::Sgd(SgdStep { lr, weight_decay }), [3, 2]),
        ("momentum", Rule::Momentum(momentum), [5, 4]),
        ("rmsprop", Rule::RmsProp(rms_prop), [5, 9]),
        ("adam", Rule::Adam(adam), [7, 13]),
    ];
    let [tensors, each] = MANY;
    let mut list = Vec::new();
    for (name, rule, per_parameter) in rules {
        let case = |shape: String, [tensors, each]: [usize; 2]| {
            let [values, flops] = per_parameter.map(|per| per * tensors * each);
            let id = format!("{name}/{}/{shape}", T::NAME);
            Case::new(id, Work::values::<T>(values), move || Step::<T>::new(rule, [tensors, each]))
                .counting(flops)
                .holding((values + tensors * each) / 2 * size_of::<T>())
        };
        list.extend(COUNTS.map(|count| case(count.to_string(), [1, count])));
        list.push(case(format!("{tensors}x{each}"), MANY));
    }
    list
}

struct Step<T> {
    rule: Rule,
    /// Parameters of each tensor.
    each: usize,
    params: Vec<T>,
    grads: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
}

impl<T: Float> Step<T> {
    fn new(rule: Rule, [tensors, each]: [usize; 2]) -> Self {
        let count = tensors * each;
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
        let mut step = Self { rule, each, params: zeros(count), grads, first, second };
        step.reset();
        step
    }

    fn fast(&mut self, exec: Exec) -> Result<()> {
        if self.each < self.params.len() {
            return self.fast_many(exec);
        }
        let Self { rule, params, grads, first, second, .. } = self;
        match rule {
            Rule::Sgd(step) => step.run(params, grads, exec),
            Rule::Momentum(step) => step.run(params, grads, first, exec),
            Rule::RmsProp(step) => step.run(params, grads, second, exec),
            Rule::Adam(step) => step.run(params, grads, Moments { first, second }, STEP, exec),
        }
    }

    /// One call for all tensors. The list of them is made in every call, as a program that keeps them
    /// in its layers would do.
    fn fast_many(&mut self, exec: Exec) -> Result<()> {
        let Self { rule, each, params, grads, first, second } = self;
        match rule {
            Rule::Sgd(step) => step.run_many(&mut tensors(*each, params, grads, []), exec),
            Rule::Momentum(step) => {
                step.run_many(&mut tensors(*each, params, grads, [first]), exec)
            }
            Rule::RmsProp(step) => {
                step.run_many(&mut tensors(*each, params, grads, [second]), exec)
            }
            Rule::Adam(step) => {
                step.run_many(&mut tensors(*each, params, grads, [first, second]), STEP, exec)
            }
        }
    }

    fn naive(&mut self) {
        let Self { rule, params, grads, first, second, .. } = self;
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

/// Tensors of `each` parameters, side by side in the vectors.
fn tensors<'a, T, const N: usize>(
    each: usize,
    params: &'a mut [T],
    grads: &'a [T],
    state: [&'a mut Vec<T>; N],
) -> Vec<StepTensor<'a, T, N>> {
    let mut state = state.map(|values| values.chunks_exact_mut(each));
    let pairs = params.chunks_exact_mut(each).zip(grads.chunks_exact(each));
    let tensor = |(params, grads)| {
        let state = state.each_mut().map(|chunks| chunks.next().expect("as long as the others"));
        StepTensor { params, grads, state }
    };
    pairs.map(tensor).collect()
}

impl<T: Float> Workload for Step<T> {
    fn run(&mut self, by: Implementation) {
        match by.exec() {
            Some(exec) => self.fast(exec).expect("valid arguments"),
            None => self.naive(),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let every = self.params.len().div_ceil(COMPARED);
        let all = [&self.params, &self.first, &self.second].into_iter();
        all.flat_map(|values| values.iter().step_by(every).map(|value| value.to_f64())).collect()
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
