//! Inference: the same normalisation with statistics that training left behind.

use super::ending::{Added, After, Ending, Kind, Nothing, Relu};
use super::normalise::{Channel, Line, Lines, NormaliseRows, Source, lines_of, normalise_run};
use super::{Affine, BatchNormDims, GRAIN, check_epsilon};
use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::ops::storage::Storage;
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
pub struct BatchNormInference<'a, T, E = T> {
    x: &'a [E],
    dims: BatchNormDims,
    lines: RunningLines<'a, T>,
    ending: Ending<'a, E>,
}

impl<'a, T: Float, E: Storage<T>> BatchNormInference<'a, T, E> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or epsilon is not finite and above 0.
    pub fn new(
        x: &'a [E],
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
        let lines = RunningLines { running, affine, epsilon, floor: T::ZERO };
        Ok(Self { x, dims, lines, ending: Ending::plain() })
    }

    /// Whether negative outputs become 0 in the same pass.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { ending: Ending { relu, ..self.ending }, ..self }
    }

    /// Adds `residual`, of the shape of `x`, to the normalised values, before a ReLU, in the same pass.
    #[must_use]
    pub fn residual(self, residual: &'a [E]) -> Self {
        Self { ending: Ending { residual: Some(residual), ..self.ending }, ..self }
    }

    /// Writes `y`. Traffic: one read and one write per element, one more read with a residual.
    ///
    /// # Errors
    /// If a length does not fit, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, y: &mut [E], exec: Exec) -> Result<()> {
        (E::batch_norms().inference)(self, y, exec)
    }

    pub(crate) fn execute(self, y: &mut [E], exec: Exec) -> Result<()> {
        let Self { x, dims, lines, ending } = self;
        ending.check(dims)?;
        dims.check("batch norm output", y.len())?;
        let isa = exec.path()?;
        if x.is_empty() {
            return Ok(());
        }
        let (_, length) = lines_of(dims);
        let streams = outgrows_cache(size_of_val(y));
        let (x, kind) = (ending.with(x), ending.kind());
        let lines = RunningLines { floor: ending.floor(), ..lines };
        let work = Units { x, y, dims, length, first: 0, lines, kind, streams };
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
    /// What outputs below are cut off to.
    floor: T,
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
        let (shift, floor) = (source.fetch(simd, self.affine.beta), simd.splat(self.floor));
        Line { mean, scale, shift, floor }
    }
}

/// Rows of channels or, where channels have positions behind them, runs of one channel each.
struct Units<'a, T, E> {
    /// The input and the residual.
    x: [&'a [E]; 2],
    y: &'a mut [E],
    dims: BatchNormDims,
    /// Elements per unit.
    length: usize,
    /// The number of the first unit here.
    first: usize,
    lines: RunningLines<'a, T>,
    kind: Kind,
    streams: bool,
}

impl<T: Float, E: Storage<T>> Split for Units<'_, T, E> {
    fn units(&self) -> usize {
        self.y.len() / self.length
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let x = self.x.map(|x| &x[..mid * self.length]);
        let x_rest = self.x.map(|x| &x[mid * self.length..]);
        let (y, y_rest) = self.y.split_at_mut(mid * self.length);
        let rest = Self { x: x_rest, y: y_rest, first: self.first + mid, ..self };
        (Self { x, y, ..self }, rest)
    }
}

impl<T: Float, E: Storage<T>> Kernel<T> for Units<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match self.kind {
            Kind::Nothing => self.normalise::<S, Nothing>(simd),
            Kind::Relu => self.normalise::<S, Relu>(simd),
            Kind::Added => self.normalise::<S, Added>(simd),
        }
    }
}

impl<T: Float, E: Storage<T>> Units<'_, T, E> {
    #[inline(always)]
    fn normalise<S: Simd<T>, A: After>(self, simd: S) {
        let Self { x, y, dims, length, first, lines, .. } = self;
        let leave = self.streams.then(Streaming::new);
        let leave = leave.as_ref();
        if dims.inner == 1 {
            let rows = NormaliseRows { channels: dims.channels, lines, leave };
            return rows.run::<T, S, E, A>(simd, x, y);
        }
        for (i, y) in y.chunks_exact_mut(length).enumerate() {
            let line = lines.line(simd, Channel((first + i) % dims.channels));
            let x = x.map(|x| &x[i * length..][..length]);
            normalise_run::<T, S, E, A>(simd, line, x, y, leave);
        }
    }
}
