//! Training backward: gradients of the input, scale and shift.
//!
//! With `x_hat = (x - mean) inv_std` and sums over a channel's `m` values,
//! `dbeta = sum dy`, `dgamma = sum dy x_hat` and
//! `dx = gamma inv_std (dy - dbeta / m - x_hat dgamma / m)`.

use super::ending::{Added, After, Ending, Kind, Nothing, Relu};
use super::gradient::{Gradient, StripSums, channel_sums};
use super::normalise::{BatchLines, Channel};
use super::outputs::Outputs;
use super::slope::{GradientColumns, GradientRows, gradient_run};
use super::tall::{Block, ChunkPlan, ChunkSums, Chunks};
use super::{Affine, BatchNormDims, BatchStats, GRAIN, Share, strips};
use crate::buffer::with_zeros;
use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::ops::reduce::columns::Panel;
use crate::ops::reduce::runs::Runs;
use crate::ops::storage::Storage;
use crate::parallel::{ColumnsMut, Split};
use crate::simd::{Float, Kernel, LINE, Simd, Streaming};

/// Where the backward pass writes.
#[derive(Debug)]
pub struct BatchNormGrads<'a, T, E = T> {
    /// Gradient of the input, of its shape.
    pub dx: &'a mut [E],
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
pub struct BatchNormBackward<'a, T, E = T> {
    x: &'a [E],
    dims: BatchNormDims,
    lines: BatchLines<'a, T>,
    ending: Ending<'a, E>,
    dresidual: Option<&'a mut [E]>,
}

impl<'a, T: Float, E: Storage<T>> BatchNormBackward<'a, T, E> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or a channel has fewer than two values.
    pub fn new(
        x: &'a [E],
        dims: BatchNormDims,
        affine: Affine<'a, T>,
        stats: &'a BatchStats<T>,
    ) -> Result<Self> {
        dims.check("batch norm input", x.len())?;
        dims.check_training()?;
        affine.check(dims.channels)?;
        stats.check(dims.channels)?;
        let BatchStats { mean, mean_low, inv_std, .. } = stats;
        let lines = BatchLines { mean, mean_low, inv_std, affine, floor: T::ZERO };
        Ok(Self { x, dims, lines, ending: Ending::plain(), dresidual: None })
    }

    /// Whether the forward pass ended in a ReLU. Its mask is worked out again from `x`, with the
    /// same instructions.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { ending: Ending { relu, ..self.ending }, ..self }
    }

    /// The residual that the forward pass added, and where its gradient goes: what comes through the
    /// ReLU, whose mask is worked out again from `x` and the residual. One more read and one more write
    /// per element. (Without a ReLU that gradient is `dy` itself, and nothing needs to be done.)
    #[must_use]
    pub fn residual(self, residual: &'a [E], dresidual: &'a mut [E]) -> Self {
        let ending = Ending { residual: Some(residual), ..self.ending };
        Self { ending, dresidual: Some(dresidual), ..self }
    }

    /// Writes `grads` from the output's gradient `dy`.
    ///
    /// # Errors
    /// If a length does not fit, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, dy: &[E], grads: BatchNormGrads<'_, T, E>, exec: Exec) -> Result<()> {
        (E::batch_norms().backward)(self, dy, grads, exec)
    }

    pub(crate) fn execute(
        self,
        dy: &[E],
        grads: BatchNormGrads<'_, T, E>,
        exec: Exec,
    ) -> Result<()> {
        let Self { x, dims, lines, ending, dresidual: dr } = self;
        ending.check(dims)?;
        if let Some(dr) = &dr {
            dims.check("batch norm gradient of the residual", dr.len())?;
        }
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
        let lines = BatchLines { floor: ending.floor(), ..lines };
        let ([x, r], to, kind) = (ending.with(x), Outputs { dx, dr }, ending.kind());
        let data = [x, dy, r];
        if dims.is_tall::<T>() {
            return Tall { data, dims, lines, kind }.run(to, [dgamma, dbeta], exec);
        }
        let share = Share::of::<E>(dims);
        let streams = outgrows_cache(size_of_val(to.dx));
        let to = to.map(|out| ColumnsMut::new(out, dims.outer, dims.width()));
        let work = Strips { data, dims, first: 0, lines, to, dgamma, dbeta, kind, streams };
        exec.threads().divide(work, share.grain, &|piece| isa.run(piece));
        Ok(())
    }
}

/// Channels from `first` on: all their rows, sums and gradients together.
struct Strips<'a, T, E> {
    /// `x`, `dy` and the residual.
    data: [&'a [E]; 3],
    dims: BatchNormDims,
    first: usize,
    lines: BatchLines<'a, T>,
    to: Outputs<ColumnsMut<'a, E>>,
    dgamma: &'a mut [T],
    dbeta: &'a mut [T],
    kind: Kind,
    streams: bool,
}

impl<T: Float, E: Storage<T>> Split for Strips<'_, T, E> {
    fn units(&self) -> usize {
        Share::of::<E>(self.dims).units(self.dgamma.len())
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = Share::of::<E>(self.dims).channel(mid, self.dgamma.len());
        let inner = self.dims.inner;
        let (to, to_rest) = self.to.split(|out| out.split(mid * inner));
        let (dgamma, dgamma_rest) = self.dgamma.split_at_mut(mid);
        let (dbeta, dbeta_rest) = self.dbeta.split_at_mut(mid);
        let rest = Self {
            first: self.first + mid,
            lines: self.lines.from(mid),
            to: to_rest,
            dgamma: dgamma_rest,
            dbeta: dbeta_rest,
            ..self
        };
        (Self { to, dgamma, dbeta, ..self }, rest)
    }
}

impl<T: Float, E: Storage<T>> Kernel<T> for Strips<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match self.kind {
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
        let BatchNormDims { outer, channels: stride, .. } = self.dims;
        let channels = self.dgamma.len();
        // Strips of whole lines of the output, if its rows have them at the same channels.
        let lead = if self.streams { self.to.dx.before_lines(LINE) } else { None };
        let leave = lead.map(|_| Streaming::new());
        for (at, width) in strips::<T>(channels, lead.unwrap_or(0)) {
            let panels =
                self.data.map(|data| Panel::new(&data[self.first + at..], outer, width, stride));
            let lines = self.lines.from(at);
            let sums = StripSums::of::<T, S, E, A>(simd, panels, lines);
            let (dgamma, dbeta) = (&mut self.dgamma[at..], &mut self.dbeta[at..]);
            for c in 0..width {
                (dgamma[c], dbeta[c]) = lines.gradients(c, sums.sum[c], sums.dot[c]);
            }
            let gradient = Gradient { lines, dgamma, dbeta, count: outer };
            let to = self.to.each_mut(|out| out.part(at, width));
            let leave = leave.as_ref().filter(|_| Some(at) >= lead);
            GradientColumns { panels, to, gradient, turn: 0, leave }.run::<S, A>(simd);
        }
    }

    #[inline(always)]
    fn runs<S: Simd<T>, A: After>(mut self, simd: S) {
        let BatchNormDims { outer, inner, .. } = self.dims;
        let leave = self.streams.then(Streaming::new);
        for c in 0..self.dgamma.len() {
            let at = (self.first + c) * inner;
            let width = self.dims.width();
            let runs = self.data.map(|data| Runs::new(&data[at..], outer, inner, width));
            let [sum, dot] = channel_sums::<T, S, E, A>(simd, runs, self.lines, c);
            (self.dgamma[c], self.dbeta[c]) = self.lines.gradients(c, sum, dot);
            let count = self.dims.count();
            let (dgamma, dbeta) = (&*self.dgamma, &*self.dbeta);
            let slope =
                Gradient { lines: self.lines, dgamma, dbeta, count }.slope(simd, Channel(c));
            let mut to = self.to.each_mut(|out| out.part(c * inner, inner));
            for o in 0..outer {
                let (runs, to) = (runs.map(|runs| runs.run(o)), to.each_mut(|out| out.row(o)));
                gradient_run::<T, S, E, A>(simd, &slope, runs, to, leave.as_ref());
            }
        }
    }
}

/// A batch larger than a cache: read once for the sums and once more.
#[derive(Clone, Copy)]
struct Tall<'a, T, E> {
    /// `x`, `dy` and the residual.
    data: [&'a [E]; 3],
    dims: BatchNormDims,
    lines: BatchLines<'a, T>,
    kind: Kind,
}

impl<T: Float, E: Storage<T>> Tall<'_, T, E> {
    fn run(self, to: Outputs<&mut [E]>, [dgamma, dbeta]: [&mut [T]; 2], exec: Exec) -> Result<()> {
        let Self { data, dims, lines, kind } = self;
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
        let streams = outgrows_cache(size_of_val(to.dx));
        let work = Rows { data, to, channels: dims.channels, gradient, kind, streams };
        exec.threads().divide(work, GRAIN.div_ceil(dims.channels), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Numbers per channel and chunk: the sum and the dot product.
const PARTIAL: usize = 2;

impl<T: Float, E: Storage<T>> ChunkSums<T> for Tall<'_, T, E> {
    const PARTIAL: usize = PARTIAL;

    #[inline(always)]
    fn add<S: Simd<T>>(self, simd: S, block: Block, _: usize, to: &mut [f64]) {
        let channels = self.dims.channels;
        let panels = self.data.map(|data| block.panel(data, channels));
        let lines = self.lines.from(block.columns.start);
        let sums = match self.kind {
            Kind::Nothing => StripSums::of::<T, S, E, Nothing>(simd, panels, lines),
            Kind::Relu => StripSums::of::<T, S, E, Relu>(simd, panels, lines),
            Kind::Added => StripSums::of::<T, S, E, Added>(simd, panels, lines),
        };
        for (c, to) in to.chunks_exact_mut(PARTIAL).enumerate() {
            to[0] += sums.sum[c];
            to[1] += sums.dot[c];
        }
    }
}

/// Rows whose gradients are to be written from known sums.
struct Rows<'a, T, E> {
    /// `x`, `dy` and the residual.
    data: [&'a [E]; 3],
    to: Outputs<&'a mut [E]>,
    channels: usize,
    gradient: Gradient<'a, T>,
    kind: Kind,
    streams: bool,
}

impl<T: Float, E: Storage<T>> Split for Rows<'_, T, E> {
    fn units(&self) -> usize {
        self.to.dx.len() / self.channels
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = mid * self.channels;
        let (data, rest) = (self.data.map(|data| &data[..mid]), self.data.map(|data| &data[mid..]));
        let (to, to_rest) = self.to.split(|out| out.split_at_mut(mid));
        (Self { data, to, ..self }, Self { data: rest, to: to_rest, ..self })
    }
}

impl<T: Float, E: Storage<T>> Kernel<T> for Rows<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { data, to, channels, gradient, kind, streams } = self;
        let leave = streams.then(Streaming::new);
        let rows = GradientRows { channels, gradient, leave: leave.as_ref() };
        match kind {
            Kind::Nothing => rows.run::<S, E, Nothing>(simd, data, to),
            Kind::Relu => rows.run::<S, E, Relu>(simd, data, to),
            Kind::Added => rows.run::<S, E, Added>(simd, data, to),
        }
    }
}
