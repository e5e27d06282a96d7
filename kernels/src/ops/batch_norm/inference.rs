//! Inference: the same normalisation with statistics that training left behind.

use super::normalise::{Channel, Line, Lines, NormaliseRows, Source, lines_of, normalise_run};
use super::{Affine, BatchNormDims, GRAIN, check_epsilon};
use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd, Streaming};

/// Running statistics, one of each per channel.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a, T> {
    /// Mean.
    pub mean: &'a [T],
    /// Variance.
    pub var: &'a [T],
}

/// Normalises `x` with running statistics into `y`; see [`BatchNormInference`].
///
/// # Errors
/// As [`BatchNormInference::new`] and [`BatchNormInference::run`].
pub fn batch_norm_inference<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    running: Running<'_, T>,
    epsilon: T,
    y: &mut [T],
) -> Result<()> {
    BatchNormInference::new(x, dims, affine, running, epsilon)?.run(y, Exec::default())
}

/// The inference pass: `y = gamma (x - mean) / sqrt(var + epsilon) + beta` with given statistics.
/// An element's result depends on nothing but itself: a row alone equals that row in a batch, bit
/// for bit.
#[derive(Debug)]
pub struct BatchNormInference<'a, T> {
    x: &'a [T],
    dims: BatchNormDims,
    lines: RunningLines<'a, T>,
    relu: bool,
}

impl<'a, T: Float> BatchNormInference<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or epsilon is not finite and above 0.
    pub fn new(
        x: &'a [T],
        dims: BatchNormDims,
        affine: Affine<'a, T>,
        running: Running<'a, T>,
        epsilon: T,
    ) -> Result<Self> {
        dims.check("batch norm input", x.len())?;
        affine.check(dims.channels)?;
        check_len("batch norm running mean", dims.channels, running.mean.len())?;
        check_len("batch norm running variance", dims.channels, running.var.len())?;
        check_epsilon(epsilon)?;
        Ok(Self { x, dims, lines: RunningLines { running, affine, epsilon }, relu: false })
    }

    /// Whether negative outputs become 0 in the same pass.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { relu, ..self }
    }

    /// Writes `y`. Traffic: one read and one write per element.
    ///
    /// # Errors
    /// If the length does not fit, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, y: &mut [T], exec: Exec) -> Result<()> {
        (T::compiled().batch_norm_inference)(self, y, exec)
    }

    pub(crate) fn execute(self, y: &mut [T], exec: Exec) -> Result<()> {
        let Self { x, dims, lines, relu } = self;
        dims.check("batch norm output", y.len())?;
        let isa = exec.path()?;
        if x.is_empty() {
            return Ok(());
        }
        let (_, length) = lines_of(dims);
        let streams = outgrows_cache(size_of_val(y));
        let work = Units { x, y, dims, length, first: 0, lines, relu, streams };
        exec.threads().divide(work, GRAIN.div_ceil(length), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Lines from running statistics.
#[derive(Debug, Clone, Copy)]
struct RunningLines<'a, T> {
    running: Running<'a, T>,
    affine: Affine<'a, T>,
    epsilon: T,
}

impl<T: Float> Lines<T> for RunningLines<'_, T> {
    #[inline(always)]
    fn line<S: Simd<T>, F: Source<T, V>, const V: usize>(
        self,
        simd: S,
        source: F,
    ) -> Line<S::V, V> {
        let mut scale = source.fetch(simd, self.affine.gamma);
        let var = source.fetch(simd, self.running.var);
        for k in 0..V {
            let root = simd.sqrt(simd.add(var[k], simd.splat(self.epsilon)));
            scale[k] = simd.mul(scale[k], simd.div(simd.splat(T::ONE), root));
        }
        let mean = source.fetch(simd, self.running.mean);
        Line { mean, scale, shift: source.fetch(simd, self.affine.beta) }
    }
}

/// Rows of channels or, where channels have positions behind them, runs of one channel each.
struct Units<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    dims: BatchNormDims,
    /// Elements per unit.
    length: usize,
    /// The number of the first unit here.
    first: usize,
    lines: RunningLines<'a, T>,
    relu: bool,
    streams: bool,
}

impl<T: Float> Split for Units<'_, T> {
    fn units(&self) -> usize {
        self.x.len() / self.length
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_at(mid * self.length);
        let (y, y_rest) = self.y.split_at_mut(mid * self.length);
        let rest = Self { x: x_rest, y: y_rest, first: self.first + mid, ..self };
        (Self { x, y, ..self }, rest)
    }
}

impl<T: Float> Kernel<T> for Units<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match self.relu {
            false => self.normalise::<S, false>(simd),
            true => self.normalise::<S, true>(simd),
        }
    }
}

impl<T: Float> Units<'_, T> {
    #[inline(always)]
    fn normalise<S: Simd<T>, const RELU: bool>(self, simd: S) {
        let Self { x, y, dims, length, first, lines, .. } = self;
        let leave = self.streams.then(Streaming::new);
        let leave = leave.as_ref();
        if dims.inner == 1 {
            let rows = NormaliseRows { channels: dims.channels, lines, leave };
            return rows.run::<T, S, RELU>(simd, x, y);
        }
        for (i, (x, y)) in x.chunks_exact(length).zip(y.chunks_exact_mut(length)).enumerate() {
            let line = lines.line(simd, Channel((first + i) % dims.channels));
            normalise_run::<T, S, RELU>(simd, line, x, y, leave);
        }
    }
}
