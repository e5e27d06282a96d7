//! Softmax cross-entropy: the loss, its rows, and its gradient, under every option.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Exec, Isa, Loss, MatMut, MatRef, Reduction, SoftmaxCrossEntropy, Targets, naive,
};

use super::vector_math::LN_ULPS;
use crate::compare::{expect, gamma};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One batch.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows; more than 64 are more than one block.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 150))]
    pub rows: usize,
    /// Classes, at least 1.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 40).map(|n| n.max(1)))]
    pub classes: usize,
    /// Where logits and gradients lie; rows are contiguous whatever it says.
    pub layouts: [Layout; 2],
    /// The kind of the logits.
    pub logits: Values,
    /// Whether the targets are probabilities, not labels.
    pub probabilities: bool,
    /// Whether the row losses are summed, not averaged.
    pub sum: bool,
    /// Whether label 0 is ignored, which needs labels.
    pub ignores_first: bool,
    /// The share of the uniform distribution.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0.0, 0.1, 0.37, 1.0]).copied())]
    pub smoothing: f64,
    /// Whether classes have weights, among which are zeros.
    pub weighted: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// The operands of a case.
pub(super) struct Operands<T> {
    pub(super) logits: Vec<T>,
    pub(super) labels: Vec<usize>,
    probabilities: Vec<T>,
    pub(super) weights: Vec<T>,
    pub(super) smoothing: T,
    pub(super) reduction: Reduction,
    pub(super) ignored: Option<usize>,
}

/// All results of one batch.
struct Results<T> {
    losses: [T; 2],
    rows: Vec<T>,
    gradient: Vec<T>,
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let operands = operands::<T>(case);
    let all = one_result(isa, case.shift, |exec, shift| run(case, &operands, exec, shift))?;
    let got = Results {
        losses: [all[0], all[1]],
        rows: all[2..2 + case.rows].to_vec(),
        gradient: all[2 + case.rows..].to_vec(),
    };
    let everything = 0..case.rows;
    let (want, want_gradient) = reference(case, &operands, everything, operands.reduction)?;
    let bounds: Vec<_> = (0..case.rows).map(|i| RowBounds::new(case, &operands, i)).collect();
    for (i, bounds) in bounds.iter().enumerate() {
        let (want, _) = reference(case, &operands, i..i + 1, Reduction::Sum)?;
        bounds.loss.expect("row loss", i, got.rows[i], want.value)?;
        for j in 0..case.classes {
            let at = i * case.classes + j;
            bounds.gradient[j].expect("dlogits", [i, j], got.gradient[at], want_gradient[at])?;
        }
    }
    let bound = total_bound(&bounds, scale(case, &operands));
    got.losses.iter().try_for_each(|&loss| expect("loss", "mean or sum", loss, want.value, bound))
}

pub(super) fn operands<T: Real>(case: &Case) -> Operands<T> {
    let rng = &mut Rng::new(case.seed, 1);
    let Case { rows, classes, .. } = *case;
    let positive = |rng: &mut Rng| T::from_f64(if rng.below(4) == 0 { 0.0 } else { rng.unit() });
    Operands {
        logits: case.logits.fill(rows * classes, &mut Rng::new(case.seed, 0)),
        labels: (0..rows).map(|_| rng.below(classes)).collect(),
        probabilities: (0..rows * classes).map(|_| positive(rng)).collect(),
        weights: (0..classes).map(|_| positive(rng)).collect(),
        smoothing: T::from_f64(case.smoothing),
        reduction: if case.sum { Reduction::Sum } else { Reduction::Mean },
        ignored: (case.ignores_first && !case.probabilities).then_some(0),
    }
}

fn run<T: Real>(
    case: &Case,
    operands: &Operands<T>,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let shape = [case.rows, case.classes];
    let [input, output] = case.layouts.map(|layout| layout.rowwise().shifted(shift));
    let logits = Field::new(input, shape, &operands.logits);
    let probabilities = Field::new(output, shape, &operands.probabilities);
    let targets = match case.probabilities {
        true => Targets::Probabilities(probabilities.view()),
        false => Targets::Classes(&operands.labels),
    };
    let weights = Field::vector(shift, &operands.weights);
    let weights = case.weighted.then(|| weights.slice());
    let op = SoftmaxCrossEntropy::new(logits.view(), targets).map_err(unexpected)?;
    let op = with_options(op, operands, weights);
    let mut dlogits = Field::output(output, shape);
    let mut losses = Field::output_vector(shift, case.rows);
    let fused = op.loss_and_gradient(dlogits.view_mut(), exec).map_err(unexpected)?;
    let alone = op.loss(exec).map_err(unexpected)?;
    op.losses(losses.slice_mut(), exec).map_err(unexpected)?;
    dlogits.intact("dlogits")?;
    losses.intact("losses")?;
    let counted = (0..case.rows).filter(|&i| !ignores(operands, i)).count();
    if [fused.counted, alone.counted] != [counted; 2] {
        return Err(format!("counted {} and {} of {counted} rows", fused.counted, alone.counted));
    }
    let mut over = Field::new(output, shape, &operands.logits);
    let op = SoftmaxCrossEntropy::in_place(over.view_mut(), targets).map_err(unexpected)?;
    let loss = with_options(op, operands, weights).replace_by_gradient(exec).map_err(unexpected)?;
    over.intact("logits replaced by their gradient")?;
    // One kind of NaN is as good as another.
    let bits = |value: T| if value.is_nan() { f64::NAN } else { value.to_f64() }.to_bits();
    if bits(loss.value) != bits(fused.value)
        || !over.values().into_iter().map(bits).eq(dlogits.values().into_iter().map(bits))
    {
        return Err("in place, the loss or its gradient has other bits".to_owned());
    }
    Ok([vec![fused.value, alone.value], losses.values(), dlogits.values()].concat())
}

fn with_options<'a, T: Real, Z>(
    op: SoftmaxCrossEntropy<'a, T, Z>,
    operands: &Operands<T>,
    weights: Option<&'a [T]>,
) -> SoftmaxCrossEntropy<'a, T, Z> {
    let mut op = op.reduction(operands.reduction).label_smoothing(operands.smoothing);
    if let Some(weights) = weights {
        op = op.class_weights(weights);
    }
    if let Some(label) = operands.ignored {
        op = op.ignore_index(label);
    }
    op
}

pub(super) fn ignores<T>(operands: &Operands<T>, row: usize) -> bool {
    operands.ignored == Some(operands.labels[row])
}

/// The twin in f64 on some of the rows.
fn reference<T: Real>(
    case: &Case,
    operands: &Operands<T>,
    rows: std::ops::Range<usize>,
    reduction: Reduction,
) -> Result<(Loss<f64>, Vec<f64>), String> {
    let places = rows.start * case.classes..rows.end * case.classes;
    let shape = [rows.len(), case.classes];
    let logits = widen(&operands.logits[places.clone()]);
    let probabilities = widen(&operands.probabilities[places]);
    let weights = widen(&operands.weights);
    let view = |data| MatRef::new(data, shape[0], shape[1]).map_err(unexpected);
    let targets = match case.probabilities {
        true => Targets::Probabilities(view(&probabilities)?),
        false => Targets::Classes(&operands.labels[rows]),
    };
    let options = naive::CrossEntropyOptions {
        reduction,
        ignore_index: operands.ignored,
        label_smoothing: operands.smoothing.to_f64(),
        class_weights: case.weighted.then_some(&weights[..]),
    };
    let mut gradient = vec![0.0; logits.len()];
    let out = MatMut::new(&mut gradient, shape[0], shape[1]).map_err(unexpected)?;
    let loss = naive::softmax_cross_entropy(view(&logits)?, targets, options, out);
    Ok((loss, gradient))
}

/// The factor of the reduction: exact in f64, then rounded once for the gradient.
pub(super) fn scale<T: Real>(case: &Case, operands: &Operands<T>) -> f64 {
    let weight = |i: usize| match case.probabilities || !case.weighted {
        true => 1.0,
        false => operands.weights[operands.labels[i]].to_f64(),
    };
    let total: f64 = (0..case.rows).filter(|&i| !ignores(operands, i)).map(weight).sum();
    match operands.reduction {
        Reduction::Mean if total == 0.0 => 0.0,
        Reduction::Mean => 1.0 / total,
        Reduction::Sum => 1.0,
    }
}

/// Row losses are added in f64 and the result is rounded once; the reference adds the classes of all
/// rows in one chain of f64.
pub(super) fn total_bound<T: Real>(rows: &[RowBounds<T>], scale: f64) -> f64 {
    if scale == 0.0 {
        return 0.0;
    }
    let finite = rows.iter().filter(|row| row.loss.value.is_finite());
    let (mut total, mut error, mut additions) = (0.0, 0.0, 0.0);
    for RowBounds { loss, gradient } in finite {
        total += loss.value;
        error += loss.error;
        additions += 1.0 + gradient.len() as f64;
    }
    error += gamma::<f64>(additions) * total;
    Tracked::<T>::new(total * scale, error * scale).error + T::STEP * total * scale + T::LEAST
}

/// The formulas of one row with their errors.
pub(super) struct RowBounds<T> {
    pub(super) loss: Tracked<T>,
    pub(super) gradient: Vec<Tracked<T>>,
}

impl<T: Real> RowBounds<T> {
    fn new(case: &Case, operands: &Operands<T>, i: usize) -> Self {
        let shifted = shifted(&operands.logits[i * case.classes..][..case.classes]);
        let sum = Tracked::sum(shifted.iter().map(|d| d.decay()));
        Self::of((case, operands), i, &shifted, sum)
    }

    /// Of a row i with the logits z - max and the sum S of their exponentials. The target weights are
    /// a = w (keep t + floor), for a label plus w keep at its class; the loss is sum a (ln S + (max - z))
    /// and the gradient exp(z - max) (scale sum a / S) - a scale.
    pub(super) fn of(
        (case, operands): (&Case, &Operands<T>),
        i: usize,
        shifted: &[Tracked<T>],
        sum: Tracked<T>,
    ) -> Self {
        let zero = Tracked::exact(T::ZERO);
        if ignores(operands, i) {
            return Self { loss: zero, gradient: vec![zero; case.classes] };
        }
        let one = Tracked::exact(T::ONE);
        let keep = one - Tracked::exact(operands.smoothing);
        let floor = Tracked::constant(operands.smoothing.to_f64() / case.classes as f64);
        let weight = |j: usize| if case.weighted { operands.weights[j] } else { T::ONE };
        let spread: Vec<_> = (0..case.classes)
            .map(|j| {
                let t = operands.probabilities[i * case.classes + j];
                let t = if case.probabilities { Tracked::exact(t) } else { zero };
                Tracked::exact(weight(j)) * (keep * t + floor)
            })
            .collect();
        let label = (!case.probabilities).then(|| operands.labels[i]);
        let peak = |j: usize| match label == Some(j) {
            true => keep * Tracked::exact(weight(j)),
            false => zero,
        };
        // A class without weight counts for nothing, even where its loss is infinite.
        let term = |a: Tracked<T>, j: usize| match a.value == 0.0 {
            true => zero,
            false => a * (sum.ln(LN_ULPS) - shifted[j]),
        };
        let classes = 0..case.classes;
        let terms = classes.clone().flat_map(|j| [term(spread[j], j), term(peak(j), j)]);
        let mass = Tracked::sum(classes.clone().flat_map(|j| [spread[j], peak(j)]));
        let scale = Tracked::constant(scale(case, operands));
        let share = mass * scale / sum;
        let gradient = classes
            .map(|j| shifted[j].decay() * share - spread[j] * scale - peak(j) * scale)
            .collect();
        Self { loss: Tracked::sum(terms), gradient }
    }
}

/// z - max; zeros for a row of only -inf, which is uniform.
fn shifted<T: Real>(row: &[T]) -> Vec<Tracked<T>> {
    let all = row.iter().map(|x| x.to_f64());
    let max = all.fold(f64::NEG_INFINITY, |max, x| if x.is_nan() || x > max { x } else { max });
    let max = if max == f64::NEG_INFINITY { None } else { Some(Tracked::exact(T::from_f64(max))) };
    let shift = |&z: &T| max.map_or(Tracked::exact(T::ZERO), |max| Tracked::exact(z) - max);
    row.iter().map(shift).collect()
}
