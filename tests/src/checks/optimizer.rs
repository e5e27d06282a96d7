//! Optimiser steps.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    AdagradStep, AdamStep, EpsilonPlacement, Exec, Isa, Moments, MomentumForm, MomentumStep,
    RmsPropStep, SgdStep, StepOptions, naive,
};

use crate::data::{FINITE, Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One step of every optimiser.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of parameters.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 140))]
    pub len: usize,
    /// The kinds of the parameters, the gradients and the state.
    #[arbitrary(with = |u: &mut Unstructured<'_>| {
        Ok([u.arbitrary()?, u.arbitrary()?, *u.choose(&FINITE)?])
    })]
    pub values: [Values; 3],
    /// Learning rate.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0.01, 0.0, 1e-4, 1.0]).copied())]
    pub lr: f64,
    /// Decay of the averages.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0.9, 0.0, 0.999]).copied())]
    pub beta: f64,
    /// Penalty.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0.0, 0.01, 0.3]).copied())]
    pub weight_decay: f64,
    /// What keeps quotients finite.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1e-8, 1e-3]).copied())]
    pub epsilon: f64,
    /// What gradients are multiplied by.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1.0, 0.1, 1.0 / 1024.0]).copied())]
    pub factor: f64,
    /// Where they are cut.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[f64::INFINITY, 0.3, 1e4]).copied())]
    pub limit: f64,
    /// Nesterov's form, or that of an average; epsilon inside the root; decoupled decay.
    pub variant: u8,
    /// The number of the step, from 1.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1, 2, 10, 5000]).copied())]
    pub step: u64,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

impl Case {
    fn form(&self) -> MomentumForm {
        [MomentumForm::Classical, MomentumForm::Ewa, MomentumForm::Nesterov]
            [usize::from(self.variant) % 3]
    }

    fn placement(&self) -> EpsilonPlacement {
        [EpsilonPlacement::Outside, EpsilonPlacement::Inside][usize::from(self.variant / 4) % 2]
    }

    fn options(&self) -> StepOptions {
        StepOptions { factor: self.factor, limit: self.limit, ..StepOptions::default() }
    }

    fn sgd(&self) -> SgdStep {
        SgdStep { lr: self.lr, weight_decay: self.weight_decay, options: self.options() }
    }

    fn momentum(&self) -> MomentumStep {
        let &Self { lr, beta, weight_decay, .. } = self;
        MomentumStep { lr, beta, form: self.form(), weight_decay, options: self.options() }
    }

    fn rms_prop(&self) -> RmsPropStep {
        let &Self { lr, beta, epsilon, weight_decay, .. } = self;
        let (placement, options) = (self.placement(), self.options());
        RmsPropStep { lr, beta, epsilon, placement, weight_decay, options }
    }

    fn adagrad(&self) -> AdagradStep {
        let &Self { lr, epsilon, weight_decay, .. } = self;
        let (placement, options) = (self.placement(), self.options());
        AdagradStep { lr, epsilon, placement, weight_decay, options }
    }

    fn adam(&self) -> AdamStep {
        let &Self { lr, beta, epsilon, weight_decay, .. } = self;
        let decoupled = self.variant >= 128;
        let options = self.options();
        AdamStep { lr, beta1: beta, beta2: 0.999, epsilon, weight_decay, decoupled, options }
    }
}

/// Parameters, gradients, a first state of any sign and a second one that is not negative.
struct Operands<T> {
    params: Vec<T>,
    grads: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
}

/// One parameter's operands, as above.
type Element<T> = [Tracked<T>; 4];

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let stream = |i| Rng::new(case.seed, i);
    let Case { len, values, .. } = *case;
    let second: Vec<T> = values[2].fill(len, &mut stream(3));
    let operands = Operands {
        params: values[0].fill(len, &mut stream(0)),
        grads: values[1].fill(len, &mut stream(1)),
        first: values[2].fill(len, &mut stream(2)),
        second: second.into_iter().map(|x| x.abs()).collect(),
    };
    compare(
        isa,
        case,
        &operands,
        |w, [_, _], g, exec| case.sgd().run(w, g, exec),
        |w, [_, _], g| naive::sgd_step(&case.sgd(), w, g),
        |[w, g, m, v]| [descend(case, w, penalised(case, w, g)), m, v],
    )
    .map_err(|finding| format!("sgd: {finding}"))?;
    compare(
        isa,
        case,
        &operands,
        |w, [m, _], g, exec| case.momentum().run(w, g, m, exec),
        |w, [m, _], g| naive::momentum_step(&case.momentum(), w, g, m),
        |element| momentum_bounds(case, element),
    )
    .map_err(|finding| format!("momentum: {finding}"))?;
    compare(
        isa,
        case,
        &operands,
        |w, [_, v], g, exec| case.rms_prop().run(w, g, v, exec),
        |w, [_, v], g| naive::rms_prop_step(&case.rms_prop(), w, g, v),
        |element| rms_prop_bounds(case, element),
    )
    .map_err(|finding| format!("rmsprop: {finding}"))?;
    compare(
        isa,
        case,
        &operands,
        |w, [_, v], g, exec| case.adagrad().run(w, g, v, exec),
        |w, [_, v], g| naive::adagrad_step(&case.adagrad(), w, g, v),
        |element| adagrad_bounds(case, element),
    )
    .map_err(|finding| format!("adagrad: {finding}"))?;
    compare(
        isa,
        case,
        &operands,
        |w, [m, v], g, exec| {
            case.adam().run(w, g, Moments { first: m, second: v }, case.step, exec)
        },
        |w, [m, v], g| {
            naive::adam_step(&case.adam(), w, g, Moments { first: m, second: v }, case.step);
        },
        |element| adam_bounds(case, element),
    )
    .map_err(|finding| format!("adam: {finding}"))
}

/// Runs a step and its twin and compares parameters and state under the bounds of each element.
fn compare<T: Real>(
    isa: Isa,
    case: &Case,
    operands: &Operands<T>,
    run: impl Fn(&mut [T], [&mut [T]; 2], &[T], Exec) -> tilewise_kernels::Result<()>,
    twin: impl Fn(&mut [f64], [&mut [f64]; 2], &[f64]),
    bounds: impl Fn(Element<T>) -> [Tracked<T>; 3],
) -> Result<(), String> {
    let Operands { params, grads, first, second } = operands;
    let got = one_result(isa, case.shift, |exec, shift| {
        let mut w = Field::vector(shift, params);
        let grads = Field::vector(shift / 2, grads);
        let (mut m, mut v) = (Field::vector(shift / 3, first), Field::vector(shift, second));
        run(w.slice_mut(), [m.slice_mut(), v.slice_mut()], grads.slice(), exec)
            .map_err(unexpected)?;
        [("w", &w), ("m", &m), ("v", &v)].iter().try_for_each(|(name, f)| f.intact(name))?;
        Ok([w.values(), m.values(), v.values()].concat())
    })?;
    let mut want = [params, first, second].map(|values| widen(values));
    let [w, m, v] = &mut want;
    twin(w, [m, v], &widen(grads));
    for i in 0..case.len {
        let element = [params[i], grads[i], first[i], second[i]].map(Tracked::exact);
        let names = ["w", "m", "v"].into_iter().zip(&want);
        for (place, (bound, (name, want))) in bounds(element).into_iter().zip(names).enumerate() {
            bound.expect(name, i, got[place * case.len + i], want[i])?;
        }
    }
    Ok(())
}

/// factor g, cut to [-limit, limit]: two values are no farther apart once they are cut, but for the
/// rounding of the limit.
fn entering<T: Real>(case: &Case, g: Tracked<T>) -> Tracked<T> {
    let scaled = Tracked::constant(case.factor) * g;
    if case.limit == f64::INFINITY {
        return scaled;
    }
    let limit = Tracked::<T>::constant(case.limit);
    let error = if scaled.value.is_nan() { 0.0 } else { scaled.error + limit.error };
    Tracked::new(scaled.value.clamp(-case.limit, case.limit), error)
}

/// What enters, and weight_decay w.
fn penalised<T: Real>(case: &Case, w: Tracked<T>, g: Tracked<T>) -> Tracked<T> {
    entering(case, g) + Tracked::constant(case.weight_decay) * w
}

/// w - lr step.
fn descend<T: Real>(case: &Case, w: Tracked<T>, step: Tracked<T>) -> Tracked<T> {
    w - Tracked::constant(case.lr) * step
}

/// beta old + (1 - beta) new.
fn averaged<T: Real>(beta: f64, old: Tracked<T>, new: Tracked<T>) -> Tracked<T> {
    Tracked::constant(beta) * old + Tracked::constant(1.0 - beta) * new
}

fn momentum_bounds<T: Real>(case: &Case, [w, g, m, v]: Element<T>) -> [Tracked<T>; 3] {
    let g = penalised(case, w, g);
    let beta = Tracked::constant(case.beta);
    let (velocity, step) = match case.form() {
        MomentumForm::Classical => (beta * m + g, beta * m + g),
        MomentumForm::Ewa => (averaged(case.beta, m, g), averaged(case.beta, m, g)),
        MomentumForm::Nesterov => (beta * m + g, g + beta * (beta * m + g)),
    };
    [descend(case, w, step), velocity, v]
}

fn rms_prop_bounds<T: Real>(case: &Case, [w, g, m, v]: Element<T>) -> [Tracked<T>; 3] {
    let g = penalised(case, w, g);
    let square = averaged(case.beta, v, g * g);
    [descend(case, w, g / divisor(case, square)), m, square]
}

fn adagrad_bounds<T: Real>(case: &Case, [w, g, m, v]: Element<T>) -> [Tracked<T>; 3] {
    let g = penalised(case, w, g);
    let square = v + g * g;
    [descend(case, w, g / divisor(case, square)), m, square]
}

fn divisor<T: Real>(case: &Case, square: Tracked<T>) -> Tracked<T> {
    let epsilon = Tracked::constant(case.epsilon);
    match case.placement() {
        EpsilonPlacement::Outside => square.sqrt() + epsilon,
        EpsilonPlacement::Inside => (square + epsilon).sqrt(),
    }
}

/// The corrections are constants of a step; where they enter as factors does not change the count
/// of roundings.
fn adam_bounds<T: Real>(case: &Case, [w, g, m, v]: Element<T>) -> [Tracked<T>; 3] {
    let AdamStep { beta1, beta2, decoupled, lr, weight_decay, .. } = case.adam();
    let g = if decoupled { entering(case, g) } else { penalised(case, w, g) };
    let first = averaged(beta1, m, g);
    let second = averaged(beta2, v, g * g);
    let correction = |beta: f64| Tracked::constant(1.0 - beta.powf(case.step as f64));
    let divisor = (second / correction(beta2)).sqrt() + Tracked::constant(case.epsilon);
    let step = first / correction(beta1) / divisor;
    let kept = if decoupled { w - Tracked::constant(lr * weight_decay) * w } else { w };
    [descend(case, kept, step), first, second]
}
