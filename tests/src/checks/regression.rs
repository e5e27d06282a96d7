//! Losses of regressions, loss and gradient.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Distance, Exec, Isa, Reduction, RegressionLoss, naive};

use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One batch.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of elements.
    #[arbitrary(with = |u: &mut Unstructured<'_>| len(u))]
    pub len: usize,
    /// Squared, absolute, or Huber's with this delta.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&DISTANCES).copied())]
    pub distance: Distance,
    /// The kind of the outputs.
    pub outputs: Values,
    /// The kind of the targets.
    pub targets: Values,
    /// Whether the losses are summed, not averaged.
    pub sum: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// All distances; the deltas are exact in both types.
pub const DISTANCES: [Distance; 4] = [
    Distance::Squared,
    Distance::Absolute,
    Distance::Huber { delta: 1.0 },
    Distance::Huber { delta: 0.015625 },
];

/// Mostly short; now and then around the 1024 elements of a block.
fn len(u: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    if u.ratio(7u8, 8)? { size(u, 130) } else { u.int_in_range(1020..=2100) }
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
    let x: Vec<T> = case.outputs.fill(case.len, &mut Rng::new(case.seed, 0));
    let t: Vec<T> = case.targets.fill(case.len, &mut Rng::new(case.seed, 1));
    let reduction = if case.sum { Reduction::Sum } else { Reduction::Mean };
    let got = one_result(isa, case.shift, |exec, shift| run([&x, &t], case, exec, shift))?;
    let mut gradient = vec![0.0; case.len];
    let (wide_x, wide_t) = (widen(&x), widen(&t));
    let want = naive::regression_loss(&wide_x, &wide_t, case.distance, reduction, &mut gradient);
    let divisor = if case.sum || case.len == 0 { 1.0 } else { case.len as f64 };
    let scale = Tracked::constant(1.0 / divisor);
    let bounds: Vec<_> = x.iter().zip(&t).map(|(&x, &t)| element(case.distance, x, t)).collect();
    for (i, (_, bound)) in bounds.iter().enumerate() {
        (*bound * scale).expect("doutputs", i, got[2 + i], gradient[i])?;
    }
    let total = Tracked::sum(bounds.into_iter().map(|(loss, _)| loss)) * scale;
    total.expect("loss with gradient", "", got[0], want.value)?;
    total.expect("loss alone", "", got[1], want.value)
}

/// Loss and gradient of one element with their errors. The sign of a difference is that of the rounded
/// one, and the sides of Huber's corner agree in value and slope where rounding decides between them.
fn element<T: Real>(distance: Distance, x: T, t: T) -> (Tracked<T>, Tracked<T>) {
    let d = Tracked::exact(x) - Tracked::exact(t);
    let constant = |value| Tracked::exact(T::from_f64(value));
    match distance {
        Distance::Huber { delta } if d.value.abs() <= delta => {
            let cut = if d.value == 0.0 { constant(0.0) } else { d };
            (cut * (d - constant(0.5) * cut), cut)
        }
        Distance::Huber { delta } => {
            let cut = if d.value.is_nan() { d } else { constant(delta.copysign(d.value)) };
            // Near the corner a rounded difference may fall on the other side of it.
            let near = if d.value.abs() - d.error <= delta { 2.0 * d.error } else { 0.0 };
            let loss = cut * (d - constant(0.5) * cut);
            (loss.widened(near * delta), cut.widened(near))
        }
        Distance::Absolute if d.value == 0.0 => (d, constant(0.0)),
        Distance::Absolute => {
            let sign = if d.value.is_nan() { d } else { constant(d.value.signum()) };
            (if d.value < 0.0 { -d } else { d }, sign)
        }
        _ => (d * d, d + d),
    }
}

fn run<T: Real>(
    [x, t]: [&[T]; 2],
    case: &Case,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let (x, t) = (Field::vector(shift, x), Field::vector(shift / 2, t));
    let mut dx = Field::output_vector(shift / 3, x.slice().len());
    let reduction = if case.sum { Reduction::Sum } else { Reduction::Mean };
    let op = RegressionLoss::new(x.slice(), t.slice(), case.distance).map_err(unexpected)?;
    let op = op.reduction(reduction);
    let fused = op.loss_and_gradient(dx.slice_mut(), exec).map_err(unexpected)?;
    let alone = op.loss(exec).map_err(unexpected)?;
    dx.intact("doutputs")?;
    Ok([vec![fused.value, alone.value], dx.values()].concat())
}
