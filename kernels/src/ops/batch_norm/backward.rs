//! Training backward: gradients of the input, scale and shift.
//!
//! With `x_hat = (x - mean) inv_std` and sums over a channel's `m` values,
//! `dbeta = sum dy`, `dgamma = sum dy x_hat` and
//! `dx = gamma inv_std (dy - dbeta / m - x_hat dgamma / m)`.

use super::gradient::{
    Gradient, GradientColumns, GradientRows, StripSums, channel_sums, gradient_run,
};
use super::normalise::{BatchLines, Channel};
use super::tall::{Block, ChunkPlan, ChunkSums, Chunks};
use super::{Affine, BatchNormDims, BatchStats, GRAIN, Share, strips};
use crate::buffer::with_zeros;
use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::ops::reduce::columns::Panel;
use crate::ops::reduce::runs::Runs;
use crate::parallel::{ColumnsMut, Split};
use crate::simd::{Float, Kernel, LINE, Simd, Streaming};

/// Where the backward pass writes.
#[derive(Debug)]
pub struct BatchNormGrads<'a, T> {
    /// Gradient of the input, of its shape.
    pub dx: &'a mut [T],
    /// Gradient of the scale, one per channel.
    pub dgamma: &'a mut [T],
    /// Gradient of the shift, one per channel.
    pub dbeta: &'a mut [T],
}

/// The gradients of [`batch_norm_forward`](super::batch_norm_forward); see [`BatchNormBackward`].
///
/// # Errors
/// As [`BatchNormBackward::new`] and [`BatchNormBackward::run`].
pub fn batch_norm_backward<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    stats: &BatchStats<T>,
    dy: &[T],
    grads: BatchNormGrads<'_, T>,
) -> Result<()> {
    BatchNormBackward::new(x, dims, affine, stats)?.run(dy, grads, Exec::default())
}

/// The training backward pass, from the forward pass' input and the statistics that it wrote. The
/// statistics depend on the input, and the gradient accounts for it: a channel of `dx` sums to
/// zero.
#[derive(Debug)]
pub struct BatchNormBackward<'a, T> {
    x: &'a [T],
    dims: BatchNormDims,
    lines: BatchLines<'a, T>,
    relu: bool,
}

impl<'a, T: Float> BatchNormBackward<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or a channel has fewer than two values.
    pub fn new(
        x: &'a [T],
        dims: BatchNormDims,
        affine: Affine<'a, T>,
        stats: &'a BatchStats<T>,
    ) -> Result<Self> {
        dims.check("batch norm input", x.len())?;
        dims.check_training()?;
        affine.check(dims.channels)?;
        stats.check(dims.channels)?;
        let BatchStats { mean, mean_low, inv_std, .. } = stats;
        let lines = BatchLines { mean, mean_low, inv_std, affine };
        Ok(Self { x, dims, lines, relu: false })
    }

    /// Whether the forward pass ended in a ReLU. Its mask is worked out again from `x`, with the
    /// same instructions.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { relu, ..self }
    }

    /// Writes `grads` from the output's gradient `dy`.
    ///
    /// # Errors
    /// If a length does not fit, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, dy: &[T], grads: BatchNormGrads<'_, T>, exec: Exec) -> Result<()> {
        (T::compiled().batch_norm_backward)(self, dy, grads, exec)
    }

    pub(crate) fn execute(self, dy: &[T], grads: BatchNormGrads<'_, T>, exec: Exec) -> Result<()> {
        let Self { x, dims, lines, relu } = self;
        let BatchNormGrads { dx, dgamma, dbeta } = grads;
        dims.check("batch norm gradient dy", dy.len())?;
        dims.check("batch norm gradient dx", dx.len())?;
        check_len("batch norm gradient dgamma", dims.channels, dgamma.len())?;
        check_len("batch norm gradient dbeta", dims.channels, dbeta.len())?;
        let isa = exec.path()?;
        if dims.channels == 0 {
            return Ok(());
        }
        let dims = dims.flattened();
        if dims.is_tall::<T>() {
            return Tall { x, dy, dims, lines, relu }.run(dx, dgamma, dbeta, exec);
        }
        let share = Share::of::<T>(dims);
        let streams = outgrows_cache(size_of_val(dx));
        let dx = ColumnsMut::new(dx, dims.outer, dims.width());
        let work = Strips { x, dy, dims, first: 0, lines, dx, dgamma, dbeta, relu, streams };
        exec.threads().divide(work, share.grain, &|piece| isa.run(piece));
        Ok(())
    }
}

/// Channels from `first` on: all their rows, sums and gradients together.
struct Strips<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dims: BatchNormDims,
    first: usize,
    lines: BatchLines<'a, T>,
    dx: ColumnsMut<'a, T>,
    dgamma: &'a mut [T],
    dbeta: &'a mut [T],
    relu: bool,
    streams: bool,
}

impl<T: Float> Split for Strips<'_, T> {
    fn units(&self) -> usize {
        Share::of::<T>(self.dims).units(self.dgamma.len())
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = Share::of::<T>(self.dims).channel(mid, self.dgamma.len());
        let (dx, dx_rest) = self.dx.split(mid * self.dims.inner);
        let (dgamma, dgamma_rest) = self.dgamma.split_at_mut(mid);
        let (dbeta, dbeta_rest) = self.dbeta.split_at_mut(mid);
        let rest = Self {
            first: self.first + mid,
            lines: self.lines.from(mid),
            dx: dx_rest,
            dgamma: dgamma_rest,
            dbeta: dbeta_rest,
            ..self
        };
        (Self { dx, dgamma, dbeta, ..self }, rest)
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
        let BatchNormDims { outer, channels: stride, .. } = self.dims;
        let channels = self.dgamma.len();
        // Strips of whole lines of the output, if its rows have them at the same channels.
        let lead = if self.streams { self.dx.before_lines(LINE) } else { None };
        let leave = lead.map(|_| Streaming::new());
        for (at, width) in strips::<T>(channels, lead.unwrap_or(0)) {
            let x = Panel::new(&self.x[self.first + at..], outer, width, stride);
            let dy = Panel::new(&self.dy[self.first + at..], outer, width, stride);
            let lines = self.lines.from(at);
            let sums = StripSums::of::<T, S, RELU>(simd, [x, dy], lines);
            let (dgamma, dbeta) = (&mut self.dgamma[at..], &mut self.dbeta[at..]);
            for c in 0..width {
                (dgamma[c], dbeta[c]) = lines.gradients(c, sums.sum[c], sums.dot[c]);
            }
            let gradient = Gradient { lines, dgamma, dbeta, count: outer };
            let dx = self.dx.part(at, width);
            let leave = leave.as_ref().filter(|_| Some(at) >= lead);
            GradientColumns::<_, RELU> { x, dy, dx, gradient, turn: 0, leave }.run(simd);
        }
    }

    #[inline(always)]
    fn runs<S: Simd<T>, const RELU: bool>(mut self, simd: S) {
        let BatchNormDims { outer, inner, .. } = self.dims;
        let leave = self.streams.then(Streaming::new);
        for c in 0..self.dgamma.len() {
            let at = (self.first + c) * inner;
            let x = Runs::new(&self.x[at..], outer, inner, self.dims.width());
            let dy = Runs::new(&self.dy[at..], outer, inner, self.dims.width());
            let [sum, dot] = channel_sums::<T, S, RELU>(simd, [x, dy], self.lines, c);
            (self.dgamma[c], self.dbeta[c]) = self.lines.gradients(c, sum, dot);
            let count = self.dims.count();
            let (dgamma, dbeta) = (&*self.dgamma, &*self.dbeta);
            let slope =
                Gradient { lines: self.lines, dgamma, dbeta, count }.slope(simd, Channel(c));
            let mut dx = self.dx.part(c * inner, inner);
            for o in 0..outer {
                let runs = [x.run(o), dy.run(o)];
                gradient_run::<T, S, RELU>(simd, &slope, runs, dx.row(o), leave.as_ref());
            }
        }
    }
}

/// A batch larger than a cache: read once for the sums and once more.
#[derive(Clone, Copy)]
struct Tall<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dims: BatchNormDims,
    lines: BatchLines<'a, T>,
    relu: bool,
}

impl<T: Float> Tall<'_, T> {
    fn run(self, dx: &mut [T], dgamma: &mut [T], dbeta: &mut [T], exec: Exec) -> Result<()> {
        let Self { x, dy, dims, lines, relu } = self;
        let isa = exec.path()?;
        let (size, plan) = (dims.channels * PARTIAL, ChunkPlan::new(dims.outer));
        with_zeros(plan.count() * size, |partials: &mut [f64]| {
            let work = Chunks { sums: self, dims, plan, first: 0, size, partials };
            exec.threads().divide(work, plan.grain(dims.channels), &|piece| isa.run(piece));
            for c in 0..dims.channels {
                let (mut sum, mut dot) = (0.0, 0.0);
                for chunk in partials.chunks_exact(size) {
                    sum += chunk[c * PARTIAL];
                    dot += chunk[c * PARTIAL + 1];
                }
                (dgamma[c], dbeta[c]) = lines.gradients(c, sum, dot);
            }
        });
        let gradient = Gradient { lines, dgamma, dbeta, count: dims.outer };
        let streams = outgrows_cache(size_of_val(dx));
        let work = Rows { x, dy, dx, channels: dims.channels, gradient, relu, streams };
        exec.threads().divide(work, GRAIN.div_ceil(dims.channels), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Numbers per channel and chunk: the sum and the dot product.
const PARTIAL: usize = 2;

impl<T: Float> ChunkSums<T> for Tall<'_, T> {
    const PARTIAL: usize = PARTIAL;

    #[inline(always)]
    fn add<S: Simd<T>>(self, simd: S, block: Block, _: usize, to: &mut [f64]) {
        let channels = self.dims.channels;
        let panels = [block.panel(self.x, channels), block.panel(self.dy, channels)];
        let lines = self.lines.from(block.columns.start);
        let sums = match self.relu {
            false => StripSums::of::<T, S, false>(simd, panels, lines),
            true => StripSums::of::<T, S, true>(simd, panels, lines),
        };
        for (c, to) in to.chunks_exact_mut(PARTIAL).enumerate() {
            to[0] += sums.sum[c];
            to[1] += sums.dot[c];
        }
    }
}

/// Rows whose gradients are to be written from known sums.
struct Rows<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    channels: usize,
    gradient: Gradient<'a, T>,
    relu: bool,
    streams: bool,
}

impl<T: Float> Split for Rows<'_, T> {
    fn units(&self) -> usize {
        self.x.len() / self.channels
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_at(mid * self.channels);
        let (dy, dy_rest) = self.dy.split_at(mid * self.channels);
        let (dx, dx_rest) = self.dx.split_at_mut(mid * self.channels);
        (Self { x, dy, dx, ..self }, Self { x: x_rest, dy: dy_rest, dx: dx_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { x, dy, dx, channels, gradient, relu, streams } = self;
        let leave = streams.then(Streaming::new);
        let rows = GradientRows { channels, gradient, leave: leave.as_ref() };
        match relu {
            false => rows.run::<S, false>(simd, [x, dy], dx),
            true => rows.run::<S, true>(simd, [x, dy], dx),
        }
    }
}
