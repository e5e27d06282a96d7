//! Optimiser state in `bf16`: the arithmetic of `f32`, then one rounding of the state.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    AdagradStep, AdamStep, Exec, Isa, MomentumForm, MomentumStep, RmsPropStep, State,
    StateRounding, StepOptions, StepTensor, bf16, naive,
};

use crate::compare::same_bits;
use crate::data::{FINITE, Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::Stored;

/// Two tensors, stepped in one call.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of parameters of each.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Ok([size(u, 140)?, size(u, 140)?]))]
    pub lens: [usize; 2],
    /// The kinds of the gradients and the state.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Ok([u.arbitrary()?, *u.choose(&FINITE)?]))]
    pub values: [Values; 2],
    /// Which step.
    pub kind: Kind,
    /// Whether the state is rounded at random.
    pub stochastic: bool,
    /// The number of the step, from 1.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(1..=1000))]
    pub step: u64,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values and of the rounding.
    pub seed: u64,
}

/// A step with state.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Kind {
    /// Classical momentum.
    Momentum,
    /// Nesterov's momentum.
    Nesterov,
    /// RMSprop.
    RmsProp,
    /// Adagrad.
    Adagrad,
    /// Adam, with two vectors of state.
    Adam,
}

impl Case {
    fn options(&self) -> StepOptions {
        let rounding = match self.stochastic {
            false => StateRounding::Nearest,
            true => StateRounding::Stochastic { seed: self.seed, step: self.step },
        };
        StepOptions { rounding, limit: 10.0, ..StepOptions::default() }
    }
}

/// Parameters and state of both tensors.
struct Stepped<M> {
    params: Vec<f32>,
    state: [Vec<M>; 2],
}

/// Checks that parameters have the bits of state in `f32`, and the state those of its rounding.
///
/// # Errors
/// What differs, and where.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    let count = case.lens[0] + case.lens[1];
    let stream = |i| Rng::new(case.seed, i);
    let params: Vec<f32> = Values::Normal.fill(count, &mut stream(0));
    let grads: Vec<f32> = case.values[0].fill(count, &mut stream(1));
    let state = [2, 3].map(|i| {
        let values: Vec<f32> = case.values[1].fill(count, &mut stream(i));
        // Averages of squares are not negative.
        values.into_iter().map(|x| bf16::from_f32(if i == 3 { x.abs() } else { x })).collect()
    });
    let halves = Stepped { params, state };
    let widened = |values: &Vec<bf16>| values.iter().map(|x| x.to_f32()).collect();
    let singles =
        Stepped { params: halves.params.clone(), state: halves.state.each_ref().map(widened) };
    let got = one_result(isa, case.shift, |exec, shift| {
        let Stepped { params, state } = run(case, &halves, &grads, exec, shift)?;
        let state = state.each_ref().map(widened).concat();
        Ok([params, state].concat())
    })?;
    let wide = run(case, &singles, &grads, Exec::serial().isa(isa), 0)?;
    let mut want = wide.params;
    for (slot, values) in wide.state.iter().enumerate() {
        for (i, &value) in values.iter().enumerate() {
            let second = i >= case.lens[0];
            let at = if second { i - case.lens[0] } else { i };
            let place = [usize::from(second), slot_of(case.kind, slot)];
            let stored = naive::stored_state(value, case.options().rounding, place, at as u64);
            want.push(stored.to_f32());
        }
    }
    same_bits("parameters, then state", &got, &want)
}

/// The number that a step gives the state: squares are RMSprop's and Adagrad's only one.
fn slot_of(kind: Kind, slot: usize) -> usize {
    match kind {
        Kind::Adam => slot,
        _ => 0,
    }
}

fn run<M: State<f32> + Stored>(
    case: &Case,
    start: &Stepped<M>,
    grads: &[f32],
    exec: Exec,
    shift: usize,
) -> Result<Stepped<M>, String> {
    let cut = case.lens[0];
    let field = |values: &[f32]| [&values[..cut], &values[cut..]].map(|x| Field::vector(shift, x));
    let (mut params, grads) = (field(&start.params), field(grads));
    let of = |values: &Vec<M>| {
        [&values[..cut], &values[cut..]].map(|values| Field::vector(shift / 2, values))
    };
    let [mut first, mut second] = start.state.each_ref().map(of);
    {
        let pairs = params.iter_mut().zip(&grads);
        let state = first.iter_mut().zip(&mut second);
        let mut all: Vec<_> = pairs
            .zip(state)
            .map(|((w, g), (m, v))| StepTensor {
                params: w.slice_mut(),
                grads: g.slice(),
                state: [m.slice_mut(), v.slice_mut()],
            })
            .collect();
        step(case, &mut all, exec).map_err(unexpected)?;
    }
    let whole = |fields: [Field<M>; 2]| {
        fields.iter().try_for_each(|field| field.intact("state"))?;
        Ok::<_, String>([fields[0].values(), fields[1].values()].concat())
    };
    params.iter().try_for_each(|field| field.intact("parameters"))?;
    let params = [params[0].values(), params[1].values()].concat();
    Ok(Stepped { params, state: [whole(first)?, whole(second)?] })
}

fn step<M: State<f32>>(
    case: &Case,
    all: &mut [StepTensor<'_, f32, 2, M>],
    exec: Exec,
) -> tilewise_kernels::Result<()> {
    let options = case.options();
    match case.kind {
        Kind::Momentum | Kind::Nesterov => {
            let form = match case.kind {
                Kind::Nesterov => MomentumForm::Nesterov,
                _ => MomentumForm::Classical,
            };
            let step = MomentumStep { form, options, ..MomentumStep::default() };
            step.run_many(&mut with_slot(all, 0), exec)
        }
        Kind::RmsProp => {
            let step = RmsPropStep { options, ..RmsPropStep::default() };
            step.run_many(&mut with_slot(all, 1), exec)
        }
        Kind::Adagrad => {
            let step = AdagradStep { options, ..AdagradStep::default() };
            step.run_many(&mut with_slot(all, 1), exec)
        }
        Kind::Adam => AdamStep { options, ..AdamStep::default() }.run_many(all, case.step, exec),
    }
}

/// The tensors with one of their vectors of state.
fn with_slot<'a, M>(
    all: &'a mut [StepTensor<'_, f32, 2, M>],
    slot: usize,
) -> Vec<StepTensor<'a, f32, 1, M>> {
    all.iter_mut()
        .map(|StepTensor { params, grads, state }| StepTensor {
            params,
            grads,
            state: [&mut *state[slot]],
        })
        .collect()
}
