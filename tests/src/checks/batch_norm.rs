//! Batch normalisation: training forward and backward, inference, with and without ReLU and residual.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Affine, BatchNormDims, BatchNormForward, BatchNormGrads, BatchStats, ErrorKind, Exec, Isa,
    Running, naive,
};

use super::batch_norm_runs::{Operands, run_backward, run_forward, run_inference};
use crate::compare::same_bits;
use crate::data::{Rng, Values, size};
use crate::laws::one_result;
use crate::moments::Moments;
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// Additions in one chain: 64 pairs of rows and a pivot where channels are adjacent, else a block of
/// 4096 whose short runs may all end in one slot.
const CHAIN: usize = 4096;

/// One batch.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Examples, channels and positions.
    #[arbitrary(with = dims)]
    pub dims: [usize; 3],
    /// The kind of x.
    pub x: Values,
    /// The kind of dy, and of the residual.
    pub dy: Values,
    /// The kind of gamma and beta.
    #[arbitrary(with = |u: &mut Unstructured<'_>| {
        u.choose(&[Values::Normal, Values::Positive, Values::Zeros]).copied()
    })]
    pub affine: Values,
    /// What keeps the variance away from zero.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1e-5, 1e-3, 1.0]).copied())]
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Whether a residual is added.
    pub residual: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// Rows of features, or images.
fn dims(u: &mut Unstructured<'_>) -> arbitrary::Result<[usize; 3]> {
    if u.arbitrary::<bool>()? {
        return Ok([size(u, 9)?, size(u, 9)?, size(u, 130)?]);
    }
    let outer = if u.ratio(7u8, 8)? { size(u, 50)? } else { u.int_in_range(100..=300)? };
    Ok([outer, size(u, 140)?, 1])
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
    let [outer, channels, inner] = case.dims;
    let operands = Operands::<T>::new(case);
    inference(isa, case, &operands)?;
    if channels > 0 && outer * inner < 2 {
        let Operands { x, dims, epsilon, .. } = &operands;
        let refused = BatchNormForward::new(x, *dims, operands.affine(), *epsilon);
        return match refused.map_err(|error| error.kind()) {
            Err(ErrorKind::Value) => Ok(()),
            other => Err(format!("a batch of one in training: {other:?}")),
        };
    }
    forward(isa, case, &operands)?;
    backward(isa, case, &operands)
}

fn forward<T: Real>(isa: Isa, case: &Case, operands: &Operands<T>) -> Result<(), String> {
    let all = one_result(isa, case.shift, |exec, shift| run_forward(case, operands, exec, shift))?;
    let Operands { x, dims, epsilon, gamma, beta, .. } = operands;
    let channels = dims.channels;
    let (y, stats) = all.split_at(x.len());
    let stats: Vec<&[T]> = stats.chunks_exact(channels.max(1)).collect();
    let (gamma64, beta64) = (widen(gamma), widen(beta));
    let affine = Affine { gamma: &gamma64, beta: &beta64 };
    let mut want = vec![0.0; x.len()];
    let mut want_stats = BatchStats::new(channels);
    let wide = widen(x);
    naive::batch_norm_forward(&wide, *dims, affine, epsilon.to_f64(), &mut want, &mut want_stats);
    operands.ended(case, &mut want);
    for c in 0..channels {
        let places = operands.places(c);
        let values: Vec<T> = places.iter().map(|&at| x[at]).collect();
        let moments = Moments::of(&values, CHAIN);
        moments.rounded_mean().expect("mean", c, stats[0][c], want_stats.mean[c])?;
        moments.var.expect("var", c, stats[2][c], want_stats.var[c])?;
        let inv_std = inverse_std(moments.var, *epsilon);
        inv_std.expect("inv_std", c, stats[3][c], want_stats.inv_std[c])?;
        // A channel with an infinity has no mean, hence NaN, even if all its values are equal.
        let constant = values.iter().all(|&x| x == values[0] && x.is_finite());
        for &at in &places {
            let mut bound = output(x[at], &moments, [gamma[c], beta[c]], inv_std);
            let mut exact = beta[c];
            if case.residual {
                bound = bound + Tracked::exact(operands.residual[at]);
                exact += operands.residual[at];
            }
            bound.expect("y", at, y[at], want[at])?;
            let exact = if case.relu && exact < T::ZERO { T::ZERO } else { exact };
            if constant && y[at] != exact && !exact.is_nan() {
                return Err(format!("y[{at}]: {} for a constant channel, not {exact}", y[at]));
            }
        }
    }
    Ok(())
}

fn inverse_std<T: Real>(var: Tracked<T>, epsilon: T) -> Tracked<T> {
    Tracked::exact(T::ONE) / (var + Tracked::exact(epsilon)).sqrt()
}

/// (x - high) scale + (beta - low scale), where high + low is the mean in twice the precision: the
/// low part is at most u |mean|, and its products round relative to that. A residual is one addition
/// more, a ReLU adds no error.
fn output<T: Real>(
    x: T,
    moments: &Moments<T>,
    [gamma, beta]: [T; 2],
    inv_std: Tracked<T>,
) -> Tracked<T> {
    let scale = Tracked::exact(gamma) * inv_std;
    let (value, low) = (x.to_f64() - moments.mean, T::STEP * moments.mean.abs());
    let rounding = T::STEP * (value.abs() + 4.0 * low);
    let centred = Tracked::new(value, moments.mean_error + rounding + 2.0 * T::LEAST);
    let moved = T::STEP * (beta.to_f64().abs() + 3.0 * low * scale.value.abs());
    centred * scale + Tracked::exact(beta).widened(if moved.is_finite() { moved } else { 0.0 })
}

fn inference<T: Real>(isa: Isa, case: &Case, operands: &Operands<T>) -> Result<(), String> {
    let Operands { x, dims, gamma, beta, epsilon, .. } = operands;
    let rng = &mut Rng::new(case.seed, 4);
    let mean: Vec<T> = case.affine.fill(dims.channels, rng);
    let var: Vec<T> = Values::Positive.fill(dims.channels, rng);
    let running = Running { mean: &mean, var: &var };
    let whole = 0..x.len();
    let run =
        |dims, part, exec, shift| run_inference(case, operands, (running, dims, part), exec, shift);
    let y = one_result(isa, case.shift, |exec, shift| run(*dims, whole.clone(), exec, shift))?;
    let wide = [x, gamma, beta, &mean, &var].map(|values| widen(values));
    let [wide_x, wide_gamma, wide_beta, wide_mean, wide_var] = &wide;
    let affine = Affine { gamma: wide_gamma, beta: wide_beta };
    let wide_running = Running { mean: wide_mean, var: wide_var };
    let mut want = vec![0.0; x.len()];
    naive::batch_norm_inference(wide_x, *dims, affine, wide_running, epsilon.to_f64(), &mut want);
    operands.ended(case, &mut want);
    for c in 0..dims.channels {
        let scale = Tracked::exact(gamma[c]) * inverse_std(Tracked::exact(var[c]), *epsilon);
        for at in operands.places(c) {
            let bound = (Tracked::exact(x[at]) - Tracked::exact(mean[c])) * scale;
            let mut bound = bound + Tracked::exact(beta[c]);
            if case.residual {
                bound = bound + Tracked::exact(operands.residual[at]);
            }
            bound.expect("inference", at, y[at], want[at])?;
        }
    }
    if dims.outer == 0 {
        return Ok(());
    }
    // An example alone gets the bits that it gets in a batch.
    let width = dims.channels * dims.inner;
    let first = rng.below(dims.outer) * width;
    let place = first..first + width;
    let alone = BatchNormDims { outer: 1, ..*dims };
    let single = run(alone, place.clone(), Exec::serial().isa(isa), 0)?;
    same_bits("an example alone", &single, &y[place])
}

fn backward<T: Real>(isa: Isa, case: &Case, operands: &Operands<T>) -> Result<(), String> {
    let Operands { x, dy, dims, epsilon, .. } = operands;
    // Statistics as the twin rounds them: no error of the forward pass.
    let mut stats = BatchStats::new(dims.channels);
    let mut y = vec![T::ZERO; x.len()];
    naive::batch_norm_forward(x, *dims, operands.affine(), *epsilon, &mut y, &mut stats);
    let all = one_result(isa, case.shift, |exec, shift| {
        run_backward(case, operands, &stats, exec, shift)
    })?;
    let channels: Vec<_> =
        (0..dims.channels).map(|c| Channel::new(case, operands, &stats, c)).collect();
    let mut passed = widen(dy);
    for (c, channel) in channels.iter().enumerate() {
        let places = operands.places(c);
        places.iter().zip(&channel.dy).for_each(|(&at, dy)| passed[at] = dy.value);
    }
    let (mut dx, mut dgamma, mut dbeta) =
        (vec![0.0; x.len()], vec![0.0; dims.channels], vec![0.0; dims.channels]);
    let wide_stats = BatchStats {
        mean: widen(&stats.mean),
        mean_low: widen(&stats.mean_low),
        var: widen(&stats.var),
        inv_std: widen(&stats.inv_std),
    };
    let (gamma, beta) = (widen(&operands.gamma), widen(&operands.beta));
    let affine = Affine { gamma: &gamma, beta: &beta };
    let grads = BatchNormGrads { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
    naive::batch_norm_backward(&widen(x), *dims, affine, &wide_stats, &passed, grads);
    for (c, channel) in channels.iter().enumerate() {
        let expect = |what: &str, at: usize, bound: Tracked<T>, got: T, want: f64| {
            // Whether an infinite gradient ends as an infinity or, times a zero or less another one,
            // as NaN depends on the order of operations: finite it must not be.
            let lost = channel.is_infinite() && !want.is_finite() && !got.is_finite();
            if lost { Ok(()) } else { bound.expect(what, at, got, want) }
        };
        let at_c = x.len() + c;
        expect("dgamma", c, channel.dgamma, all[at_c], dgamma[c])?;
        expect("dbeta", c, channel.sum, all[at_c + dims.channels], dbeta[c])?;
        for (i, &at) in operands.places(c).iter().enumerate() {
            expect("dx", at, channel.dx(i), all[at], dx[at])?;
            if case.residual {
                expect(
                    "dr",
                    at,
                    channel.dy[i],
                    all[at_c + 2 * dims.channels - c + at],
                    passed[at],
                )?;
            }
        }
    }
    Ok(())
}

/// The backward pass of one channel with its errors.
struct Channel<T> {
    centred: Vec<Tracked<T>>,
    /// What came through the ReLU: where its input may have either sign, with the whole of dy as
    /// its error.
    dy: Vec<Tracked<T>>,
    low: Tracked<T>,
    scale: Tracked<T>,
    inv_std: Tracked<T>,
    sum: Tracked<T>,
    dgamma: Tracked<T>,
}

impl<T: Real> Channel<T> {
    fn new(case: &Case, operands: &Operands<T>, stats: &BatchStats<T>, c: usize) -> Self {
        let [mean, low, inv_std] =
            [stats.mean[c], stats.mean_low[c], stats.inv_std[c]].map(Tracked::exact);
        let scale = Tracked::exact(operands.gamma[c]) * inv_std;
        let shift = Tracked::exact(operands.beta[c]) - low * scale;
        let places = operands.places(c);
        let centred: Vec<_> =
            places.iter().map(|&at| Tracked::exact(operands.x[at]) - mean).collect();
        let pass = |(&at, &centred): (&usize, &Tracked<T>)| {
            let dy = operands.dy[at];
            let mut y: Tracked<T> = centred * scale + shift;
            if case.residual {
                y = y + Tracked::exact(operands.residual[at]);
            }
            match case.relu {
                false => Tracked::exact(dy),
                // Infinities of dy have no error to widen.
                true if y.value.abs() <= y.error && dy.is_finite() => {
                    let passed = if y.value <= 0.0 { 0.0 } else { dy.to_f64() };
                    Tracked::new(passed, dy.to_f64().abs())
                }
                true if y.value <= 0.0 => Tracked::exact(T::ZERO),
                true => Tracked::exact(dy),
            }
        };
        let dy: Vec<_> = places.iter().zip(&centred).map(pass).collect();
        let sum = Tracked::sum(dy.iter().copied());
        let dot = Tracked::sum(dy.iter().zip(&centred).map(|(&dy, &centred)| dy * centred));
        let dgamma = (dot - low * sum) * inv_std;
        Self { centred, dy, low, scale, inv_std, sum, dgamma }
    }

    /// Whether an infinity comes in as a gradient.
    fn is_infinite(&self) -> bool {
        self.dy.iter().any(|dy| dy.value.is_infinite())
    }

    /// scale dy + tilt (x - high) + base, where tilt = -scale / n inv_std dgamma and
    /// base = -(scale / n dbeta + low tilt).
    fn dx(&self, i: usize) -> Tracked<T> {
        let share = Tracked::constant(1.0 / self.dy.len() as f64);
        let tilt = -(self.scale * share * self.inv_std * self.dgamma);
        let base = -(self.scale * share * self.sum + self.low * tilt);
        let dx = self.scale * self.dy[i] + (tilt * self.centred[i] + base);
        // The reference scales last: what underflows in its three terms is scaled as well.
        dx.widened(3.0 * f64::from_bits(1) * self.scale.value.abs())
    }
}
