//! Training forward: statistics of the batch, then its normalised values.

use super::ending::{Added, After, Ending, Kind, Nothing, Relu};
use super::normalise::{BatchLines, Channel, Lines, NormaliseColumns, Rows, normalise_run};
use super::tall::{Block, ChunkPlan, ChunkSums, Chunks};
use super::{Affine, BatchNormDims, BatchStats, GRAIN, Share, check_epsilon, strips};
use crate::buffer::with_zeros;
use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::gemm::ColumnMoments;
use crate::ops::reduce::columns::Panel;
use crate::ops::reduce::moments::{BlockSums, Moment, StripMoments};
use crate::ops::reduce::runs::{Runs, moment};
use crate::ops::storage::Storage;
use crate::parallel::{ColumnsMut, Split};
use crate::simd::{Float, Kernel, LINE, Simd, Streaming};

/// Normalises `x` with its own statistics into `y` and keeps the statistics; see
/// [`BatchNormForward`].
///
/// # Errors
/// As [`BatchNormForward::new`] and [`BatchNormForward::run`].
pub fn batch_norm_forward<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    epsilon: T,
    y: &mut [T],
    stats: &mut BatchStats<T>,
) -> Result<()> {
    BatchNormForward::new(x, dims, affine, epsilon)?.run(y, stats, Exec::default())
}

/// The training forward pass: `y = gamma (x - mean) / sqrt(var + epsilon) + beta` with the mean and
/// the biased variance of the batch itself.
#[derive(Debug)]
pub struct BatchNormForward<'a, T, E = T> {
    x: &'a [E],
    dims: BatchNormDims,
    affine: Affine<'a, T>,
    epsilon: T,
    ending: Ending<'a, E>,
    moments: Option<&'a ColumnMoments>,
}

impl<'a, T: Float, E: Storage<T>> BatchNormForward<'a, T, E> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, a channel has fewer than two values, or epsilon is not
    /// finite and above 0.
    pub fn new(x: &'a [E], dims: BatchNormDims, affine: Affine<'a, T>, epsilon: T) -> Result<Self> {
        dims.check("batch norm input", x.len())?;
        dims.check_training()?;
        affine.check(dims.channels)?;
        check_epsilon(epsilon)?;
        Ok(Self { x, dims, affine, epsilon, ending: Ending::plain(), moments: None })
    }

    /// Whether negative outputs become 0 in the same pass.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { ending: Ending { relu, ..self.ending }, ..self }
    }

    /// Adds `residual`, of the shape of `x`, to the normalised values, before a ReLU, in the same pass:
    /// one more read per element.
    #[must_use]
    pub fn residual(self, residual: &'a [E]) -> Self {
        Self { ending: Ending { residual: Some(residual), ..self.ending }, ..self }
    }

    /// Takes the statistics from the product that wrote `x`
    /// ([`run_with_moments`](crate::Gemm::run_with_moments)) instead of reading `x` for them: rows of
    /// features only, and the `moments` of exactly these. The bits are those of statistics taken here, but
    /// for a single channel and for batches beyond a megabyte, whose values are merged in another order.
    #[must_use]
    pub fn moments(self, moments: &'a ColumnMoments) -> Self {
        Self { moments: Some(moments), ..self }
    }

    /// Writes `y` and `stats`.
    ///
    /// # Errors
    /// If a length does not fit, there are [`moments`](Self::moments) of other columns or of images, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, y: &mut [E], stats: &mut BatchStats<T>, exec: Exec) -> Result<()> {
        (E::batch_norms().forward)(self, y, stats, exec)
    }

    pub(crate) fn execute(self, y: &mut [E], stats: &mut BatchStats<T>, exec: Exec) -> Result<()> {
        let Self { x, dims, affine, epsilon, ending, moments } = self;
        ending.check(dims)?;
        dims.check("batch norm output", y.len())?;
        stats.check(dims.channels)?;
        let isa = exec.path()?;
        if let Some(moments) = moments {
            check_len("batch norm moments: channels", dims.channels, moments.mean().len())?;
            check_len("batch norm moments: positions", 1, dims.inner)?;
        }
        if dims.channels == 0 {
            return Ok(());
        }
        if let Some(moments) = moments {
            let (count, mut stats) = (dims.outer as f64, StatsMut::new(stats, epsilon));
            isa.run(Known { moments, count, stats: &mut stats });
            return Tall { x, dims, affine, ending }.normalise(y, &stats, exec);
        }
        let dims = dims.flattened();
        let stats = StatsMut::new(stats, epsilon);
        if dims.is_tall::<T>() {
            return Tall { x, dims, affine, ending }.run(y, stats, exec);
        }
        let share = Share::of::<E>(dims);
        let streams = outgrows_cache(size_of_val(y));
        let y = ColumnsMut::new(y, dims.outer, dims.width());
        let work = Strips { x, dims, first: 0, affine, y, stats, ending, streams };
        exec.threads().divide(work, share.grain, &|piece| isa.run(piece));
        Ok(())
    }
}

/// Statistics to be written, of some channels.
struct StatsMut<'a, T> {
    mean: &'a mut [T],
    mean_low: &'a mut [T],
    var: &'a mut [T],
    inv_std: &'a mut [T],
    epsilon: T,
}

impl<'a, T: Float> StatsMut<'a, T> {
    fn new(stats: &'a mut BatchStats<T>, epsilon: T) -> Self {
        let BatchStats { mean, mean_low, var, inv_std } = stats;
        Self { mean, mean_low, var, inv_std, epsilon }
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (mean, mean_rest) = self.mean.split_at_mut(mid);
        let (mean_low, low_rest) = self.mean_low.split_at_mut(mid);
        let (var, var_rest) = self.var.split_at_mut(mid);
        let (inv_std, inv_rest) = self.inv_std.split_at_mut(mid);
        let epsilon = self.epsilon;
        (
            Self { mean, mean_low, var, inv_std, epsilon },
            Self { mean: mean_rest, mean_low: low_rest, var: var_rest, inv_std: inv_rest, epsilon },
        )
    }

    /// Writes the statistics of channels from `first` on.
    #[inline(always)]
    fn write<S: Simd<T>>(&mut self, simd: S, first: usize, moments: &[Moment], count: f64) {
        for (c, moment) in moments.iter().enumerate() {
            (self.mean[first + c], self.mean_low[first + c]) = moment.mean();
            self.var[first + c] = moment.var(count);
        }
        let var = &self.var[first..first + moments.len()];
        let inv_std = &mut self.inv_std[first..first + moments.len()];
        let (one, epsilon) = (simd.splat(T::ONE), simd.splat(self.epsilon));
        for (var, inv_std) in var.chunks(S::LANES).zip(inv_std.chunks_mut(S::LANES)) {
            let root = simd.sqrt(simd.add(simd.load_partial(var), epsilon));
            simd.store_partial(simd.div(one, root), inv_std);
        }
    }

    #[inline(always)]
    fn lines<'b>(&'b self, affine: Affine<'b, T>, floor: T) -> BatchLines<'b, T> {
        let Self { mean, mean_low, inv_std, .. } = self;
        BatchLines { mean, mean_low, inv_std, affine, floor }
    }
}

/// Channels from `first` on: all their rows, statistics and output together.
struct Strips<'a, T, E> {
    x: &'a [E],
    dims: BatchNormDims,
    first: usize,
    affine: Affine<'a, T>,
    y: ColumnsMut<'a, E>,
    stats: StatsMut<'a, T>,
    ending: Ending<'a, E>,
    streams: bool,
}

impl<T: Float, E: Storage<T>> Split for Strips<'_, T, E> {
    fn units(&self) -> usize {
        Share::of::<E>(self.dims).units(self.affine.gamma.len())
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = Share::of::<E>(self.dims).channel(mid, self.affine.gamma.len());
        let (affine, affine_rest) = self.affine.split(mid);
        let (y, y_rest) = self.y.split(mid * self.dims.inner);
        let (stats, stats_rest) = self.stats.split(mid);
        let rest = Self {
            first: self.first + mid,
            affine: affine_rest,
            y: y_rest,
            stats: stats_rest,
            ..self
        };
        (Self { affine, y, stats, ..self }, rest)
    }
}

impl<T: Float, E: Storage<T>> Kernel<T> for Strips<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match self.ending.kind() {
            Kind::Nothing => self.all::<S, Nothing>(simd),
            Kind::Relu => self.all::<S, Relu>(simd),
            Kind::Added => self.all::<S, Added>(simd),
        }
    }
}

impl<T: Float, E: Storage<T>> Strips<'_, T, E> {
    #[inline(always)]
    fn all<S: Simd<T>, A: After>(self, simd: S) {
        match self.dims.inner {
            1 => self.columns::<S, A>(simd),
            _ => self.runs::<S, A>(simd),
        }
    }

    #[inline(always)]
    fn columns<S: Simd<T>, A: After>(mut self, simd: S) {
        let (channels, stride) = (self.affine.gamma.len(), self.dims.channels);
        // Strips of whole lines of the output, if its rows have them at the same channels.
        let lead = if self.streams { self.y.before_lines(LINE) } else { None };
        let leave = lead.map(|_| Streaming::new());
        for (at, width) in strips::<T>(channels, lead.unwrap_or(0)) {
            let x = self
                .ending
                .with(self.x)
                .map(|data| Panel::new(&data[self.first + at..], self.dims.outer, width, stride));
            let moments = StripMoments::of(simd, x[0]);
            self.stats.write(simd, at, &moments.channels[..width], moments.count);
            let lines = self.stats.lines(self.affine, self.ending.floor()).from(at);
            let y = self.y.part(at, width);
            let leave = leave.as_ref().filter(|_| Some(at) >= lead);
            NormaliseColumns { x, y, lines, turn: 0, leave }.run::<T, S, A>(simd);
        }
    }

    #[inline(always)]
    fn runs<S: Simd<T>, A: After>(mut self, simd: S) {
        let BatchNormDims { outer, inner, .. } = self.dims;
        let leave = self.streams.then(Streaming::new);
        for c in 0..self.affine.gamma.len() {
            let at = (self.first + c) * inner;
            let [x, r] = (self.ending.with(self.x))
                .map(|data| Runs::new(&data[at..], outer, inner, self.dims.width()));
            let (moment, count) = moment(simd, x);
            self.stats.write(simd, c, &[moment], count);
            let lines = self.stats.lines(self.affine, self.ending.floor());
            let line = lines.line(simd, Channel(c));
            let mut y = self.y.part(c * inner, inner);
            for o in 0..outer {
                let x = [x.run(o), r.run(o)];
                normalise_run::<T, S, E, A>(simd, line, x, y.row(o), leave.as_ref());
            }
        }
    }
}

/// A batch larger than a cache: read once for the statistics and once more.
#[derive(Clone, Copy)]
struct Tall<'a, T, E> {
    x: &'a [E],
    dims: BatchNormDims,
    affine: Affine<'a, T>,
    ending: Ending<'a, E>,
}

impl<T: Float, E: Storage<T>> Tall<'_, T, E> {
    fn run(self, y: &mut [E], mut stats: StatsMut<'_, T>, exec: Exec) -> Result<()> {
        let dims = self.dims;
        let isa = exec.path()?;
        let (size, plan) = (dims.channels * PARTIAL, ChunkPlan::new(dims.outer));
        with_zeros(plan.count() * size, |partials: &mut [f64]| {
            let work = Chunks { sums: self, dims, plan, first: 0, size, partials };
            exec.threads().divide(work, plan.grain(dims.channels), &|piece| isa.run(piece));
            isa.run(Merge { plan, partials, stats: &mut stats });
        });
        self.normalise(y, &stats, exec)
    }

    /// Writes the output with known statistics.
    fn normalise(self, y: &mut [E], stats: &StatsMut<'_, T>, exec: Exec) -> Result<()> {
        let Self { x, dims, affine, ending } = self;
        let isa = exec.path()?;
        let streams = outgrows_cache(size_of_val(y));
        let (lines, kind) = (stats.lines(affine, ending.floor()), ending.kind());
        let work = Rows { x: ending.with(x), y, channels: dims.channels, lines, kind, streams };
        exec.threads().divide(work, GRAIN.div_ceil(dims.channels), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Numbers per channel and chunk: those of a [`Moment`].
const PARTIAL: usize = 3;

impl<T: Float, E: Storage<T>> ChunkSums<T> for Tall<'_, T, E> {
    const PARTIAL: usize = PARTIAL;

    #[inline(always)]
    fn add<S: Simd<T>>(self, simd: S, block: Block, done: usize, to: &mut [f64]) {
        let sums = BlockSums::of(simd, block.panel(self.x, self.dims.channels));
        for (c, to) in to.chunks_exact_mut(PARTIAL).enumerate() {
            let all = Moment { pivot: to[0], delta: to[1], m2: to[2] };
            let all = all.merged(done as f64, sums.moment(c), block.rows.len() as f64);
            to.copy_from_slice(&[all.pivot, all.delta, all.m2]);
        }
    }
}

/// The chunks' statistics, merged in order.
struct Merge<'a, 'b, T> {
    plan: ChunkPlan,
    partials: &'a [f64],
    stats: &'a mut StatsMut<'b, T>,
}

impl<T: Float> Kernel<T> for Merge<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let channels = self.stats.mean.len();
        for c in 0..channels {
            let (mut all, mut count) = (Moment::default(), 0.0);
            for (chunk, partials) in self.partials.chunks_exact(PARTIAL * channels).enumerate() {
                let more = self.plan.rows(chunk).len() as f64;
                let place = &partials[c * PARTIAL..][..PARTIAL];
                let moment = Moment { pivot: place[0], delta: place[1], m2: place[2] };
                all = all.merged(count, moment, more);
                count += more;
            }
            self.stats.write(simd, c, &[all], count);
        }
    }
}

/// Statistics that were taken with the product that wrote the batch.
struct Known<'a, 'b, T> {
    moments: &'a ColumnMoments,
    count: f64,
    stats: &'a mut StatsMut<'b, T>,
}

impl<T: Float> Kernel<T> for Known<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        self.stats.write(simd, 0, self.moments.columns(), self.count);
    }
}
