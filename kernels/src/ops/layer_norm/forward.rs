//! The forward passes.

use super::{Centre, Normalise, RowStats, check_epsilon};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::ops::elementwise::Unary;
use crate::ops::rows::{check_rows, check_shape, row_grain, row_sum};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// `y = γ·(x - mean) / √(variance + ε) + β` along each row, with the row's mean and biased variance.
///
/// # Errors
/// If shapes differ, rows are not contiguous or ε is not finite and above 0.
pub fn layer_norm<T: Float>(
    x: MatRef<'_, T>,
    [gamma, beta]: [&[T]; 2],
    epsilon: T,
    y: MatMut<'_, T>,
    stats: &mut RowStats<T>,
) -> Result<()> {
    RowNorm::layer(x, [gamma, beta], epsilon)?.run(y, stats, Exec::default())
}

/// `y = γ·x / √(mean of x² + ε)` along each row.
///
/// # Errors
/// If shapes differ, rows are not contiguous or ε is not finite and above 0.
pub fn rms_norm<T: Float>(
    x: MatRef<'_, T>,
    gamma: &[T],
    epsilon: T,
    y: MatMut<'_, T>,
    stats: &mut RowStats<T>,
) -> Result<()> {
    RowNorm::rms(x, gamma, epsilon)?.run(y, stats, Exec::default())
}

/// Normalisation of rows; see [`layer_norm`] and [`rms_norm`]. A row with NaN or an infinity becomes NaN
/// (by the root mean square, an infinity makes NaN of itself and 0 of the others); so does one whose
/// squares overflow. A row without elements has mean and variance 0.
#[derive(Debug, Clone, Copy)]
pub struct RowNorm<'a, T> {
    x: MatRef<'a, T>,
    gamma: &'a [T],
    /// Only where rows are centred.
    beta: Option<&'a [T]>,
    epsilon: T,
}

impl<'a, T: Float> RowNorm<'a, T> {
    /// Layer normalisation; checks the arguments.
    ///
    /// # Errors
    /// If γ or β has not one value per column, rows are not contiguous or ε is not finite and above 0.
    pub fn layer(x: MatRef<'a, T>, [gamma, beta]: [&'a [T]; 2], epsilon: T) -> Result<Self> {
        let check = || {
            check_len("beta", x.cols(), beta.len())?;
            Self { x, gamma, beta: Some(beta), epsilon }.checked()
        };
        check().map_err(|error| error.within("layer norm"))
    }

    /// Normalisation by the root mean square; checks the arguments.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn rms(x: MatRef<'a, T>, gamma: &'a [T], epsilon: T) -> Result<Self> {
        let op = Self { x, gamma, beta: None, epsilon };
        op.checked().map_err(|error| error.within("rms norm"))
    }

    fn checked(self) -> Result<Self> {
        check_len("gamma", self.x.cols(), self.gamma.len())?;
        check_rows("input", self.x.has_contiguous_rows(), self.x.col_stride())?;
        check_epsilon(self.epsilon)?;
        Ok(self)
    }

    /// Writes `y` and the statistics.
    ///
    /// # Errors
    /// If `y` or `stats` has another shape, or `TILEWISE_MAX_ISA` holds an unknown name. Nothing is
    /// written then.
    pub fn run(self, y: MatMut<'_, T>, stats: &mut RowStats<T>, exec: Exec) -> Result<()> {
        let check = || {
            check_shape("output", &self.x, [y.rows(), y.cols()])?;
            check_rows("output", y.has_contiguous_rows(), y.col_stride())?;
            stats.check(self.x.rows())
        };
        check().map_err(|error| error.within("row norm"))?;
        (T::compiled().row_norm)(self, y, stats, exec)
    }

    pub(crate) fn execute(
        self,
        y: MatMut<'_, T>,
        stats: &mut RowStats<T>,
        exec: Exec,
    ) -> Result<()> {
        let isa = exec.path()?;
        let grain = row_grain(self.x.cols());
        let stats = [&mut stats.mean[..], &mut stats.mean_low, &mut stats.inv_std];
        let work = Rows { op: self, y, stats };
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }
}

struct Rows<'a, T> {
    op: RowNorm<'a, T>,
    y: MatMut<'a, T>,
    /// Means, their lower parts and inverse deviations.
    stats: [&'a mut [T]; 3],
}

impl<T: Float> Split for Rows<'_, T> {
    fn units(&self) -> usize {
        self.op.x.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.op.x.split_rows(mid);
        let (y, y_rest) = self.y.split_rows(mid);
        let [(a, a_rest), (b, b_rest), (c, c_rest)] = self.stats.map(|s| s.split_at_mut(mid));
        (
            Self { op: RowNorm { x, ..self.op }, y, stats: [a, b, c] },
            Self {
                op: RowNorm { x: x_rest, ..self.op },
                y: y_rest,
                stats: [a_rest, b_rest, c_rest],
            },
        )
    }
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let RowNorm { x, gamma, beta, epsilon } = self.op;
        for i in 0..x.rows() {
            let row = x.row(i);
            let (centre, inv_std) = statistics(simd, row, beta.is_some(), epsilon);
            write(simd, Normalise { centre, inv_std }, [row, gamma], beta, self.y.row_mut(i));
            let [mean, mean_low, inv_stds] = &mut self.stats;
            (mean[i], mean_low[i], inv_stds[i]) = (centre.mean, centre.low, inv_std);
        }
    }
}

/// What a row is centred on and scaled by.
#[inline(always)]
fn statistics<T: Float, S: Simd<T>>(
    simd: S,
    row: &[T],
    centred: bool,
    epsilon: T,
) -> (Centre<T>, T) {
    let share = T::ONE / T::from_usize(row.len().max(1));
    let mut centre = Centre { mean: T::ZERO, low: T::ZERO };
    if centred {
        centre.mean = row_sum(simd, centre, row, T::ZERO) * share;
        // Of what is left around a rounded mean, the mean is what rounding took.
        centre.low = row_sum(simd, centre, row, centre.mean) * share;
    }
    (centre, T::ONE / (squares(simd, centre, row) * share + epsilon).sqrt())
}

/// Vectors summed side by side: enough to hide the latency of a multiply-add.
const STREAMS: usize = 4;

/// Σ (x - centre)². Not by `row_sum`, for whose last vector there is no value at distance 0.
#[inline(always)]
fn squares<T: Float, S: Simd<T>>(simd: S, centre: Centre<T>, row: &[T]) -> T {
    let square = |x: S::V, sum: S::V| {
        let d = centre.apply(simd, x);
        simd.mul_add(d, d, sum)
    };
    let mut sums = [simd.zero(); STREAMS];
    let mut blocks = row.chunks_exact(STREAMS * S::LANES);
    for block in blocks.by_ref() {
        for (sum, x) in sums.iter_mut().zip(block.chunks_exact(S::LANES)) {
            *sum = square(simd.load(x), *sum);
        }
    }
    let [a, b, c, d] = sums;
    let mut sum = simd.add(simd.add(a, b), simd.add(c, d));
    let mut vectors = blocks.remainder().chunks_exact(S::LANES);
    for x in vectors.by_ref() {
        sum = square(simd.load(x), sum);
    }
    let rest = vectors.remainder();
    let last = square(simd.load_partial(rest), simd.zero());
    simd.sum_lanes(simd.add(sum, simd.first_lanes(rest.len(), last, simd.zero())))
}

/// y = x̂·γ + β
#[inline(always)]
fn write<T: Float, S: Simd<T>>(
    simd: S,
    f: Normalise<T>,
    [x, gamma]: [&[T]; 2],
    beta: Option<&[T]>,
    y: &mut [T],
) {
    let mut at = 0;
    while at < y.len() {
        let end = y.len().min(at + S::LANES);
        let load = |from: &[T]| simd.load_or(&from[at..end], T::ZERO);
        let scaled = f.apply(simd, load(x));
        let value = match beta {
            Some(beta) => simd.mul_add(scaled, load(gamma), load(beta)),
            None => simd.mul(scaled, load(gamma)),
        };
        simd.store_partial(value, &mut y[at..end]);
        at = end;
    }
}
