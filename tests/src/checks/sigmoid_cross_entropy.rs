//! Sigmoid cross-entropy, loss and gradient.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Exec, Isa, Reduction, SigmoidCrossEntropy, naive};

use super::vector_math::LN_ULPS;
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
    /// The kind of the logits.
    pub logits: Values,
    /// A factor of the logits: the tails are reached at 30.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1.0, 0.01, 30.0]).copied())]
    pub scale: f64,
    /// Whether the losses are summed, not averaged.
    pub sum: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

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
    let z: Vec<f64> = case.logits.fill(case.len, &mut Rng::new(case.seed, 0));
    let z: Vec<T> = z.iter().map(|z| T::from_f64(z * case.scale)).collect();
    let rng = &mut Rng::new(case.seed, 1);
    // The ends of the interval, where a term of the loss vanishes, are the common targets.
    let target = |rng: &mut Rng| [0.0, 1.0, rng.unit()][rng.below(3)];
    let t: Vec<T> = (0..case.len).map(|_| T::from_f64(target(rng))).collect();
    let reduction = if case.sum { Reduction::Sum } else { Reduction::Mean };
    let got = one_result(isa, case.shift, |exec, shift| run([&z, &t], reduction, exec, shift))?;
    let mut gradient = vec![0.0; case.len];
    let want = naive::sigmoid_cross_entropy(&widen(&z), &widen(&t), reduction, &mut gradient);
    let divisor = if case.sum || case.len == 0 { 1.0 } else { case.len as f64 };
    let scale = Tracked::constant(1.0 / divisor);
    let bounds: Vec<_> = z.iter().zip(&t).map(|(&z, &t)| element(z, t)).collect();
    for (i, (_, bound)) in bounds.iter().enumerate() {
        (*bound * scale).expect("dlogits", i, got[2 + i], gradient[i])?;
    }
    // Inside a block in T, over blocks in f64, which rounds less.
    let total = Tracked::sum(bounds.into_iter().map(|(loss, _)| loss)) * scale;
    total.expect("loss with gradient", "", got[0], want.value)?;
    total.expect("loss alone", "", got[1], want.value)
}

/// Loss and gradient of one element with their errors. With u = e^-|z| and the distance d of the
/// target from the side that z is on: |z| d + ln(1 + u), and u / (1 + u) - d up to sign.
fn element<T: Real>(z: T, t: T) -> (Tracked<T>, Tracked<T>) {
    let one = Tracked::exact(T::ONE);
    let u = Tracked::exact(-z.abs()).decay();
    let t = Tracked::exact(t);
    let distance = if z < T::ZERO { t } else { one - t };
    let far = match distance.value == 0.0 {
        true => distance,
        false => Tracked::exact(z.abs()) * distance,
    };
    // ln(1 + u) by a function of u: no rounding of 1 + u, relative accuracy for small u.
    let ln_1p = Tracked::new(u.value.ln_1p(), u.error + LN_ULPS * 2.0 * T::STEP * u.value.ln_1p());
    (far + ln_1p, u / (one + u) - distance)
}

fn run<T: Real>(
    [z, t]: [&[T]; 2],
    reduction: Reduction,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let (z, t) = (Field::vector(shift, z), Field::vector(shift / 2, t));
    let mut dz = Field::output_vector(shift / 3, z.slice().len());
    let op =
        SigmoidCrossEntropy::new(z.slice(), t.slice()).map_err(unexpected)?.reduction(reduction);
    let fused = op.loss_and_gradient(dz.slice_mut(), exec).map_err(unexpected)?;
    let alone = op.loss(exec).map_err(unexpected)?;
    dz.intact("dlogits")?;
    Ok([vec![fused.value, alone.value], dz.values()].concat())
}
