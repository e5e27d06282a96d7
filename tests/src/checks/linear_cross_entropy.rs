//! Cross-entropy behind a linear layer: loss, its rows and all gradients, in tiles of any size.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Exec, Isa, LinearCrossEntropy, LinearCrossEntropyGrads, Loss, MatMut, MatRef, naive,
};

use super::cross_entropy::{self, Operands, RowBounds, ignores, scale, total_bound};
use crate::compare::{expect, gamma};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// The kinds of hidden values and weights: products of larger ones say nothing after an exponential.
const KINDS: [Values; 5] =
    [Values::Normal, Values::Positive, Values::Subnormal, Values::Zeros, Values::Constant];

/// One batch.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 40))]
    pub rows: usize,
    /// Columns of the hidden matrix.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 20))]
    pub depth: usize,
    /// Classes, at least 1.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 70).map(|n| n.max(1)))]
    pub classes: usize,
    /// Rows and classes of a tile.
    #[arbitrary(with = |u: &mut Unstructured<'_>| {
        Ok([*u.choose(&[512, 1, 5, 16])?, *u.choose(&[1024, 1, 7, 16, 33])?])
    })]
    pub tile: [usize; 2],
    /// Where the matrices and their gradients lie.
    pub layouts: [Layout; 4],
    /// The kinds of hidden values and weights.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Ok([*u.choose(&KINDS)?, *u.choose(&KINDS)?]))]
    pub values: [Values; 2],
    /// The bias: none, of any sign, with -inf among its elements, or with nothing else.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=3))]
    pub bias: u8,
    /// Whether the row losses are summed, not averaged.
    pub sum: bool,
    /// Whether label 0 is ignored.
    pub ignores_first: bool,
    /// The share of the uniform distribution.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0.0, 0.1, 1.0]).copied())]
    pub smoothing: f64,
    /// Whether classes have weights, among which are zeros.
    pub weighted: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

impl Case {
    /// The loss as that of a matrix of logits.
    fn loss(&self) -> cross_entropy::Case {
        let &Self { rows, classes, sum, ignores_first, smoothing, weighted, shift, seed, .. } =
            self;
        cross_entropy::Case {
            rows,
            classes,
            layouts: [Layout::DENSE; 2],
            logits: Values::Zeros,
            probabilities: false,
            sum,
            ignores_first,
            smoothing,
            weighted,
            shift,
            seed,
        }
    }

    fn tiles(&self) -> f64 {
        self.classes.div_ceil(self.tile[1]) as f64
    }

    fn blocks(&self) -> f64 {
        self.rows.div_ceil(self.tile[0]) as f64
    }
}

struct Layer<T> {
    hidden: Vec<T>,
    weights: Vec<T>,
    bias: Option<Vec<T>>,
    loss: Operands<T>,
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
    let layer = layer::<T>(case);
    let got = one_result(isa, case.shift, |exec, shift| run(case, &layer, exec, shift))?;
    let (want, twin) = reference(case, &layer);
    let rows: Vec<_> = (0..case.rows).map(|i| row_bounds(case, &layer, i)).collect();
    let scale = scale(&case.loss(), &layer.loss);
    let bound = total_bound(&rows, scale);
    let [loss, rest @ ..] = &got[..] else { return Err("nothing came".to_owned()) };
    expect("loss", "mean or sum", *loss, want.value, bound)?;
    let (losses, rest) = rest.split_at(case.rows);
    for (i, row) in rows.iter().enumerate() {
        row.loss.expect("row loss", i, losses[i], row.loss.value)?;
    }
    let at = |data: &[T], k: usize| Tracked::exact(data[k]);
    let &Case { depth, classes, .. } = case;
    for place in 0..rest.len() {
        let weights_from = case.rows * depth;
        let bias_from = weights_from + depth * classes;
        let (what, bound) = if place < weights_from {
            let (i, k) = (place / depth, place % depth);
            let term = |j: usize| rows[i].gradient[j] * at(&layer.weights, k * classes + j);
            ("dhidden", summed((0..classes).map(term), case.tiles()))
        } else if place < bias_from {
            let (k, j) = ((place - weights_from) / classes, (place - weights_from) % classes);
            let term = |i: usize| rows[i].gradient[j] * at(&layer.hidden, i * depth + k);
            ("dweights", summed((0..case.rows).map(term), case.blocks()))
        } else {
            let term = |i: usize| rows[i].gradient[place - bias_from];
            ("dbias", summed((0..case.rows).map(term), 0.0))
        };
        bound.expect(what, place, rest[place], twin[place])?;
    }
    Ok(())
}

/// The sum of products that are added in `parts`: each part adds a rounding, and the product's factor
/// and its own end three.
fn summed<T: Real>(terms: impl Iterator<Item = Tracked<T>> + Clone, parts: f64) -> Tracked<T> {
    let finite = terms.clone().filter(|term| term.value.is_finite());
    let magnitude: f64 = finite.map(|term| term.value.abs() + term.error).sum();
    let more = gamma::<T>(parts + 3.0) * magnitude;
    Tracked::sum(terms).widened(if more.is_nan() { 0.0 } else { more })
}

fn layer<T: Real>(case: &Case) -> Layer<T> {
    let stream = |i: u64| Rng::new(case.seed, 10 + i);
    let &Case { rows, depth, classes, values, .. } = case;
    let minus_infinity = |rng: &mut Rng| match case.bias {
        3 => true,
        2 => rng.below(3) == 0,
        _ => false,
    };
    let bias = (case.bias > 0).then(|| {
        let rng = &mut stream(2);
        let draw = |_| {
            let value = Values::Normal.draw(rng);
            if minus_infinity(rng) { T::NEG_INFINITY } else { value }
        };
        (0..classes).map(draw).collect()
    });
    Layer {
        hidden: values[0].fill(rows * depth, &mut stream(0)),
        weights: values[1].fill(depth * classes, &mut stream(1)),
        bias,
        loss: cross_entropy::operands(&case.loss()),
    }
}

fn run<T: Real>(case: &Case, layer: &Layer<T>, exec: Exec, shift: usize) -> Result<Vec<T>, String> {
    let &Case { rows, depth, classes, layouts, .. } = case;
    let place = |i: usize| layouts[i].shifted(shift).apart();
    let hidden = Field::new(place(0), [rows, depth], &layer.hidden);
    let weights = Field::new(place(1), [depth, classes], &layer.weights);
    let loss = &layer.loss;
    let op = LinearCrossEntropy::new(hidden.view(), weights.view(), &loss.labels);
    let mut op = op.map_err(unexpected)?.tile(case.tile).reduction(loss.reduction);
    op = op.label_smoothing(loss.smoothing);
    if let Some(bias) = &layer.bias {
        op = op.bias(bias);
    }
    if case.weighted {
        op = op.class_weights(&loss.weights);
    }
    if let Some(label) = loss.ignored {
        op = op.ignore_index(label);
    }
    let mut room = Field::output_vector(shift, op.workspace().map_err(unexpected)?);
    let mut dhidden = Field::output(place(2), [rows, depth]);
    let mut dweights = Field::output(place(3), [depth, classes]);
    let mut dbias = Field::output_vector(shift / 2, classes);
    let grads = LinearCrossEntropyGrads {
        dhidden: dhidden.view_mut(),
        dweights: dweights.view_mut(),
        dbias: Some(dbias.slice_mut()),
    };
    let fused = op.loss_and_gradients(grads, room.slice_mut(), exec).map_err(unexpected)?;
    let mut losses = Field::output_vector(shift, rows);
    op.losses(losses.slice_mut(), room.slice_mut(), exec).map_err(unexpected)?;
    let alone = op.loss(room.slice_mut(), exec).map_err(unexpected)?;
    if alone.value.bits() != fused.value.bits() && !fused.value.is_nan() {
        return Err(format!("the loss is {} alone, {} with gradients", alone.value, fused.value));
    }
    let counted = (0..rows).filter(|&i| !ignores(loss, i)).count();
    if [fused.counted, alone.counted] != [counted; 2] {
        return Err(format!("counted {} and {} of {counted} rows", fused.counted, alone.counted));
    }
    let fields = [("dhidden", &dhidden), ("dweights", &dweights), ("dbias", &dbias)];
    fields.iter().try_for_each(|(name, field)| field.intact(name))?;
    [("workspace", &room), ("losses", &losses)].iter().try_for_each(|(name, f)| f.intact(name))?;
    let all = [losses.values(), dhidden.values(), dweights.values(), dbias.values()].concat();
    Ok([vec![fused.value], all].concat())
}

/// The twin in f64: the loss, then the gradients by hidden matrix, weights and bias.
fn reference<T: Real>(case: &Case, layer: &Layer<T>) -> (Loss<f64>, Vec<f64>) {
    let &Case { rows, depth, classes, .. } = case;
    let (hidden, weights) = (widen(&layer.hidden), widen(&layer.weights));
    let bias = layer.bias.as_deref().map(widen);
    let class_weights = widen(&layer.loss.weights);
    let options = naive::CrossEntropyOptions {
        reduction: layer.loss.reduction,
        ignore_index: layer.loss.ignored,
        label_smoothing: layer.loss.smoothing.to_f64(),
        class_weights: case.weighted.then_some(&class_weights[..]),
    };
    let view = |data, rows, cols| MatRef::new(data, rows, cols).expect("a matrix of this shape");
    let mut out = vec![0.0; rows * depth + depth * classes + classes];
    let (dhidden, rest) = out.split_at_mut(rows * depth);
    let (dweights, dbias) = rest.split_at_mut(depth * classes);
    let grads = LinearCrossEntropyGrads {
        dhidden: MatMut::new(dhidden, rows, depth).expect("a matrix of this shape"),
        dweights: MatMut::new(dweights, depth, classes).expect("a matrix of this shape"),
        dbias: Some(dbias),
    };
    let (hidden, weights) = (view(&hidden, rows, depth), view(&weights, depth, classes));
    let loss = naive::linear_cross_entropy(
        hidden,
        weights,
        bias.as_deref(),
        &layer.loss.labels,
        options,
        grads,
    );
    (loss, out)
}

/// The formulas of one row: logits with the error of their products, then cross-entropy, whose sum is
/// multiplied where a tile brings a larger logit.
fn row_bounds<T: Real>(case: &Case, layer: &Layer<T>, i: usize) -> RowBounds<T> {
    let &Case { depth, classes, .. } = case;
    let logit = |j: usize| {
        let bias = layer.bias.as_ref().map_or(0.0, |bias| bias[j].to_f64());
        let products = (0..depth).map(|k| {
            layer.hidden[i * depth + k].to_f64() * layer.weights[k * classes + j].to_f64()
        });
        let (sum, magnitude) = products.fold((0.0, 0.0), |(s, m), x| (s + x, m + x.abs()));
        let roundings = depth as f64 + 4.0;
        let size = magnitude + if bias.is_finite() { bias.abs() } else { 0.0 };
        (sum + bias, gamma::<T>(roundings) * size + roundings * T::LEAST)
    };
    let logits: Vec<(f64, f64)> = (0..classes).map(logit).collect();
    let max = logits.iter().fold(f64::NEG_INFINITY, |max, z| max.max(z.0));
    let off = logits.iter().fold(0.0, |off: f64, z| off.max(z.1));
    let shift = |&(z, error): &(f64, f64)| match max == f64::NEG_INFINITY {
        true => Tracked::exact(T::ZERO),
        false => Tracked::new(z, error) - Tracked::new(max, off),
    };
    let shifted: Vec<Tracked<T>> = logits.iter().map(shift).collect();
    let tiles = case.tiles();
    let powers = shifted.iter().map(|d| {
        // From tile to tile: an exponential of 1.1 ulp, a product and a sum, and the rounding of the
        // distances of maxima, which together are no farther than d. What is flushed on the way is
        // below the least normal number.
        let power = d.decay();
        let distance = if d.value.is_finite() { d.value.abs() } else { 0.0 };
        let factors = gamma::<T>(6.0 * tiles) + 2.0 * T::STEP * distance;
        power.widened(power.value * factors + 2.0 * tiles * T::MIN_POSITIVE.to_f64())
    });
    let sum = Tracked::sum(powers);
    let mut bounds = RowBounds::of((&case.loss(), &layer.loss), i, &shifted, sum);
    // The part of the loss that all classes have is moved from maximum to maximum as well.
    if bounds.loss.value.is_finite() {
        bounds.loss = bounds.loss.widened(gamma::<T>(4.0 * tiles + 4.0) * bounds.loss.value.abs());
    }
    bounds
}
