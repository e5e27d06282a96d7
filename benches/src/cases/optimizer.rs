//! Optimiser steps.

use tilewise_kernels::{
    AdagradStep, AdamStep, Exec, Float, GlobalNorm, Moments, MomentumForm, MomentumStep, Result,
    RmsPropStep, SgdStep, State, StateRounding, StepOptions, StepTensor, bf16, naive,
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
    Adagrad(AdagradStep),
    Adam(AdamStep),
}

impl Rule {
    /// Vectors of state: the averages of gradients and of squares.
    fn state(self) -> [usize; 2] {
        match self {
            Self::Sgd(_) => [0, 0],
            Self::Momentum(_) => [1, 0],
            Self::RmsProp(_) | Self::Adagrad(_) => [0, 1],
            Self::Adam(_) => [1, 1],
        }
    }

    /// Operations without a weight decay: w -= lr g; v = beta v + g before it; averages of g or of g²,
    /// a root, two corrections, a quotient.
    fn flops(self) -> usize {
        match self {
            Self::Sgd(_) => 2,
            Self::Momentum(step) if step.form == MomentumForm::Nesterov => 6,
            Self::Momentum(_) => 4,
            Self::RmsProp(_) => 9,
            Self::Adagrad(_) => 7,
            Self::Adam(_) => 13,
        }
    }
}

/// All steps; Adam with state in `bf16` beside `f32` too; and the norm of all gradients.
pub fn cases<T: Float + Kept<T>>() -> Vec<Case> {
    let nesterov = MomentumStep { form: MomentumForm::Nesterov, ..MomentumStep::default() };
    let adam = AdamStep::default();
    let mut list = Vec::new();
    for (name, rule) in [
        ("sgd", Rule::Sgd(SgdStep { lr: 1e-3, ..SgdStep::default() })),
        ("momentum", Rule::Momentum(MomentumStep { lr: 1e-3, ..MomentumStep::default() })),
        ("nesterov", Rule::Momentum(nesterov)),
        ("rmsprop", Rule::RmsProp(RmsPropStep::default())),
        ("adagrad", Rule::Adagrad(AdagradStep { lr: 1e-3, ..AdagradStep::default() })),
        ("adam", Rule::Adam(adam)),
    ] {
        list.extend(of_rule::<T, T>(name, rule));
    }
    if T::NAME == f32::NAME {
        let rounding = StateRounding::Stochastic { seed: 1, step: STEP };
        let options = StepOptions { rounding, ..adam.options };
        list.extend(of_rule::<f32, bf16>("adam_bf16", Rule::Adam(adam)));
        let rule = Rule::Adam(AdamStep { options, ..adam });
        list.extend(of_rule::<f32, bf16>("adam_bf16_stochastic", rule));
    }
    for (shape, [tensors, each]) in shapes() {
        let count = tensors * each;
        let id = format!("global_norm/{}/{shape}", T::NAME);
        let work = Work::values::<T>(count);
        list.push(Case::new(id, work, move || Norm::<T>::new(count, each)).counting(2 * count));
    }
    list
}

fn shapes() -> impl Iterator<Item = (String, [usize; 2])> {
    let [tensors, each] = MANY;
    let alone = COUNTS.map(|count| (count.to_string(), [1, count]));
    alone.into_iter().chain([(format!("{tensors}x{each}"), MANY)])
}

fn of_rule<T: Float, M: Kept<T>>(name: &str, rule: Rule) -> Vec<Case> {
    let case = |(shape, [tensors, each]): (String, [usize; 2])| {
        let count = tensors * each;
        let state = rule.state().iter().sum::<usize>() * size_of::<M>();
        // Parameter and state are read and written, the gradient is read.
        let bytes = count * (3 * size_of::<T>() + 2 * state);
        let id = format!("{name}/{}/{shape}", T::NAME);
        Case::new(id, Work::Bytes(bytes as u64), move || Step::<T, M>::new(rule, [tensors, each]))
            .counting(rule.flops() * count)
            .holding(count * (2 * size_of::<T>() + state))
    };
    shapes().map(case).collect()
}

/// What state is made of, and how the naive twins take it, who know no halves.
pub trait Kept<T: Float>: State<T> {
    /// The largest rounding of a value, relative.
    const UNIT: f64;

    /// Of this type.
    fn kept(x: T) -> Self;

    /// As a number.
    fn number(self) -> f64;

    /// Runs a naive twin on state as the parameters are.
    fn run_naive(state: [&mut [Self]; 2], run: impl FnOnce([&mut [T]; 2]));
}

macro_rules! as_it_is {
    ($t:ident) => {
        impl Kept<$t> for $t {
            const UNIT: f64 = $t::EPSILON as f64;

            fn kept(x: $t) -> $t {
                x
            }

            fn number(self) -> f64 {
                self.to_f64()
            }

            fn run_naive(state: [&mut [$t]; 2], run: impl FnOnce([&mut [$t]; 2])) {
                run(state);
            }
        }
    };
}

as_it_is!(f32);
as_it_is!(f64);

impl Kept<f32> for bf16 {
    const UNIT: f64 = 1.0 / 128.0;

    fn kept(x: f32) -> Self {
        Self::from_f32(x)
    }

    fn number(self) -> f64 {
        self.to_f64()
    }

    fn run_naive(state: [&mut [bf16]; 2], run: impl FnOnce([&mut [f32]; 2])) {
        let [mut first, mut second] =
            state.each_ref().map(|state| state.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
        run([&mut first, &mut second]);
        for (state, wide) in state.into_iter().zip([first, second]) {
            state.iter_mut().zip(wide).for_each(|(state, wide)| *state = Self::from_f32(wide));
        }
    }
}

struct Step<T, M> {
    rule: Rule,
    /// Parameters of each tensor.
    each: usize,
    params: Vec<T>,
    grads: Vec<T>,
    first: Vec<M>,
    second: Vec<M>,
}

impl<T: Float, M: Kept<T>> Step<T, M> {
    fn new(rule: Rule, [tensors, each]: [usize; 2]) -> Self {
        let count = tensors * each;
        // Only the state that the rule has.
        let [first, second] = rule.state().map(|vectors| vec![M::default(); vectors * count]);
        let grads = Random::new(1).uniform(count, -1.0, 1.0);
        let params = vec![T::ZERO; count];
        let mut step = Self { rule, each, params, grads, first, second };
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
            Rule::Adagrad(step) => step.run(params, grads, second, exec),
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
            Rule::Adagrad(step) => {
                step.run_many(&mut tensors(*each, params, grads, [second]), exec)
            }
            Rule::Adam(step) => {
                step.run_many(&mut tensors(*each, params, grads, [first, second]), STEP, exec)
            }
        }
    }

    fn naive(&mut self) {
        let Self { rule, params, grads, first, second, .. } = self;
        M::run_naive([first, second], |[first, second]| match rule {
            Rule::Sgd(step) => naive::sgd_step(step, params, grads),
            Rule::Momentum(step) => naive::momentum_step(step, params, grads, first),
            Rule::RmsProp(step) => naive::rms_prop_step(step, params, grads, second),
            Rule::Adagrad(step) => naive::adagrad_step(step, params, grads, second),
            Rule::Adam(step) => {
                naive::adam_step(step, params, grads, Moments { first, second }, STEP);
            }
        });
    }
}

/// Tensors of `each` parameters, side by side in the vectors.
fn tensors<'a, T, M, const N: usize>(
    each: usize,
    params: &'a mut [T],
    grads: &'a [T],
    state: [&'a mut Vec<M>; N],
) -> Vec<StepTensor<'a, T, N, M>> {
    let mut state = state.map(|values| values.chunks_exact_mut(each));
    let pairs = params.chunks_exact_mut(each).zip(grads.chunks_exact(each));
    let tensor = |(params, grads)| {
        let state = state.each_mut().map(|chunks| chunks.next().expect("as long as the others"));
        StepTensor { params, grads, state }
    };
    pairs.map(tensor).collect()
}

impl<T: Float, M: Kept<T>> Workload for Step<T, M> {
    fn run(&mut self, by: Implementation) {
        match by.exec() {
            Some(exec) => self.fast(exec).expect("valid arguments"),
            None => self.naive(),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let every = self.params.len().div_ceil(COMPARED);
        let params = self.params.iter().map(|value| value.to_f64());
        let state = [&self.first, &self.second].into_iter();
        let state = state.flat_map(|values| values.iter().step_by(every).map(|x| x.number()));
        params.step_by(every).chain(state).collect()
    }

    fn reset(&mut self) {
        let mut random = Random::new(2);
        random.refill(&mut self.params, -1.0, 1.0);
        for (state, low, high) in [(&mut self.first, -0.1, 0.1), (&mut self.second, 0.01, 1.0)] {
            let values: Vec<T> = random.uniform(state.len(), low, high);
            state.iter_mut().zip(values).for_each(|(state, value)| *state = M::kept(value));
        }
    }

    /// A few roundings per value, of the coarsest type.
    fn tolerance(&self) -> f64 {
        8.0 * T::EPSILON.to_f64().max(if size_of::<M>() < size_of::<T>() { M::UNIT } else { 0.0 })
    }
}

struct Norm<T> {
    grads: Vec<T>,
    each: usize,
    norm: f64,
}

impl<T: Float> Norm<T> {
    fn new(count: usize, each: usize) -> Self {
        Self { grads: Random::new(1).uniform(count, -1.0, 1.0), each, norm: 0.0 }
    }
}

impl<T: Float> Workload for Norm<T> {
    fn run(&mut self, by: Implementation) {
        let tensors: Vec<&[T]> = self.grads.chunks_exact(self.each).collect();
        self.norm = match by.exec() {
            Some(exec) => GlobalNorm::new(&tensors).run(exec).expect("valid arguments"),
            None => naive::global_norm(&tensors),
        };
    }

    /// Relative to its size.
    fn outputs(&self) -> Vec<f64> {
        vec![self.norm / (self.grads.len() as f64).sqrt()]
    }

    /// Half the roundings of the sum of a block.
    fn tolerance(&self) -> f64 {
        75.0 * T::EPSILON.to_f64()
    }
}
