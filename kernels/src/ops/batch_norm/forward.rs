//! Training forward: statistics of the batch, then its normalised values.

use super::normalise::{
    BatchLines, Channel, Lines, NormaliseColumns, NormaliseRows, normalise_run,
};
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
pub struct BatchNormForward<'a, T> {
    x: &'a [T],
    dims: BatchNormDims,
    affine: Affine<'a, T>,
    epsilon: T,
    relu: bool,
    moments: Option<&'a ColumnMoments>,
}

impl<'a, T: Float> BatchNormForward<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, a channel has fewer than two values, or epsilon is not
    /// finite and above 0.
    pub fn new(x: &'a [T], dims: BatchNormDims, affine: Affine<'a, T>, epsilon: T) -> Result<Self> {
        dims.check("batch norm input", x.len())?;
        dims.check_training()?;
        affine.check(dims.channels)?;
        check_epsilon(epsilon)?;
        Ok(Self { x, dims, affine, epsilon, relu: false, moments: None })
    }

    /// Whether negative outputs become 0 in the same pass.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { relu, ..self }
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
    pub fn run(self, y: &mut [T], stats: &mut BatchStats<T>, exec: Exec) -> Result<()> {
        (T::compiled().batch_norm_forward)(self, y, stats, exec)
    }

    pub(crate) fn execute(self, y: &mut [T], stats: &mut BatchStats<T>, exec: Exec) -> Result<()> {
        let Self { x, dims, affine, epsilon, relu, moments } = self;
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
            return Tall { x, dims, affine, relu }.normalise(y, &stats, exec);
        }
        let dims = dims.flattened();
        let stats = StatsMut::new(stats, epsilon);
        if dims.is_tall::<T>() {
            return Tall { x, dims, affine, relu }.run(y, stats, exec);
        }
        let share = Share::of::<T>(dims);
        let streams = outgrows_cache(size_of_val(y));
        let y = ColumnsMut::new(y, dims.outer, dims.width());
        let work = Strips { x, dims, first: 0, affine, y, stats, relu, streams };
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
    fn lines<'b>(&'b self, affine: Affine<'b, T>) -> BatchLines<'b, T> {
        BatchLines { mean: self.mean, mean_low: self.mean_low, inv_std: self.inv_std, affine }
    }
}

/// Channels from `first` on: all their rows, statistics and output together.
struct Strips<'a, T> {
    x: &'a [T],
    dims: BatchNormDims,
    first: usize,
    affine: Affine<'a, T>,
    y: ColumnsMut<'a, T>,
    stats: StatsMut<'a, T>,
    relu: bool,
    streams: bool,
}

impl<T: Float> Split for Strips<'_, T> {
    fn units(&self) -> usize {
        Share::of::<T>(self.dims).units(self.affine.gamma.len())
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = Share::of::<T>(self.dims).channel(mid, self.affine.gamma.len());
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

impl<T: Float> Kernel<T> for Strips<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match (self.dims.inner, self.relu) {
            (1, false) => self.columns::<S, false>(simd),
            (1, true) => self.columns::<S, true>(simd),
            (_, false) => self.runs::<S, false>(simd),
            (_, true) => self.runs::<S, true>(simd),
        }
    }
}

impl<T: Float> Strips<'_, T> {
    #[inline(always)]
    fn columns<S: Simd<T>, const RELU: bool>(mut self, simd: S) {
        let (channels, stride) = (self.affine.gamma.len(), self.dims.channels);
        // Strips of whole lines of the output, if its rows have them at the same channels.
        let lead = if self.streams { self.y.before_lines(LINE) } else { None };
        let leave = lead.map(|_| Streaming::new());
        for (at, width) in strips::<T>(channels, lead.unwrap_or(0)) {
            let x = Panel::new(&self.x[self.first + at..], self.dims.outer, width, stride);
            let moments = StripMoments::of(simd, x);
            self.stats.write(simd, at, &moments.channels[..width], moments.count);
            let lines = self.stats.lines(self.affine).from(at);
            let y = self.y.part(at, width);
            let leave = leave.as_ref().filter(|_| Some(at) >= lead);
            NormaliseColumns::<_, _, RELU> { x, y, lines, turn: 0, leave }.run(simd);
        }
    }

    #[inline(always)]
    fn runs<S: Simd<T>, const RELU: bool>(mut self, simd: S) {
        let BatchNormDims { outer, inner, .. } = self.dims;
        let leave = self.streams.then(Streaming::new);
        for c in 0..self.affine.gamma.len() {
            let at = (self.first + c) * inner;
            let x = Runs::new(&self.x[at..], outer, inner, self.dims.width());
            let (moment, count) = moment(simd, x);
            self.stats.write(simd, c, &[moment], count);
            let line = self.stats.lines(self.affine).line(simd, Channel(c));
            let mut y = self.y.part(c * inner, inner);
            for o in 0..outer {
                normalise_run::<T, S, RELU>(simd, line, x.run(o), y.row(o), leave.as_ref());
            }
        }
    }
}

/// A batch larger than a cache: read once for the statistics and once more.
#[derive(Clone, Copy)]
struct Tall<'a, T> {
    x: &'a [T],
    dims: BatchNormDims,
    affine: Affine<'a, T>,
    relu: bool,
}

impl<T: Float> Tall<'_, T> {
    fn run(self, y: &mut [T], mut stats: StatsMut<'_, T>, exec: Exec) -> Result<()> {
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
    fn normalise(self, y: &mut [T], stats: &StatsMut<'_, T>, exec: Exec) -> Result<()> {
        let Self { x, dims, affine, relu } = self;
        let isa = exec.path()?;
        let (streams, lines) = (outgrows_cache(size_of_val(y)), stats.lines(affine));
        let work = Rows { x, y, channels: dims.channels, lines, relu, streams };
        exec.threads().divide(work, GRAIN.div_ceil(dims.channels), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Numbers per channel and chunk: those of a [`Moment`].
const PARTIAL: usize = 3;

impl<T: Float> ChunkSums<T> for Tall<'_, T> {
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

/// Rows to be normalised with known statistics.
struct Rows<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    channels: usize,
    lines: BatchLines<'a, T>,
    relu: bool,
    streams: bool,
}

impl<T: Float> Split for Rows<'_, T> {
    fn units(&self) -> usize {
        self.x.len() / self.channels
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_at(mid * self.channels);
        let (y, y_rest) = self.y.split_at_mut(mid * self.channels);
        (Self { x, y, ..self }, Self { x: x_rest, y: y_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { x, y, channels, lines, relu, streams } = self;
        let leave = streams.then(Streaming::new);
        let rows = NormaliseRows { channels, lines, leave: leave.as_ref() };
        match relu {
            false => rows.run::<T, S, false>(simd, x, y),
            true => rows.run::<T, S, true>(simd, x, y),
        }
    }
}
