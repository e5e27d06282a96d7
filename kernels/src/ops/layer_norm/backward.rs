//! The backward passes. With x̂ the normalised row and g = dy·γ, the gradient of the input is
//! `dx = inv_std·(g - mean(g) - x̂·mean(g·x̂))`, without `mean(g)` where rows are not centred;
//! `dγ = Σ dy·x̂` and `dβ = Σ dy` over the rows.

use super::{Normalise, Product, RowStats};
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::ops::elementwise::Unary;
use crate::ops::rows::{check_rows, check_shape, row_grain, row_zip_sum};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// Columns of a strip: what stays in registers while rows go by, and whole cache lines.
const STRIP: usize = 64;

/// Elements of columns below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 15;

/// Where the gradients go.
#[derive(Debug)]
pub struct NormGrads<'a, T> {
    /// By the input.
    pub dx: MatMut<'a, T>,
    /// By the scale.
    pub dgamma: &'a mut [T],
    /// By the shift; nothing without one.
    pub dbeta: &'a mut [T],
}

/// The gradients of [`layer_norm`](super::layer_norm), from its input and statistics.
///
/// # Errors
/// If shapes differ or rows are not contiguous.
pub fn layer_norm_backward<T: Float>(
    x: MatRef<'_, T>,
    gamma: &[T],
    stats: &RowStats<T>,
    dy: MatRef<'_, T>,
    grads: NormGrads<'_, T>,
) -> Result<()> {
    RowNormBackward::layer(x, gamma, stats)?.run(dy, grads, Exec::default())
}

/// The gradients of [`rms_norm`](super::rms_norm), from its input and statistics; `dbeta` must be empty.
///
/// # Errors
/// If shapes differ or rows are not contiguous.
pub fn rms_norm_backward<T: Float>(
    x: MatRef<'_, T>,
    gamma: &[T],
    stats: &RowStats<T>,
    dy: MatRef<'_, T>,
    grads: NormGrads<'_, T>,
) -> Result<()> {
    RowNormBackward::rms(x, gamma, stats)?.run(dy, grads, Exec::default())
}

/// The backward pass of row normalisation; see [`layer_norm_backward`] and [`rms_norm_backward`].
#[derive(Debug, Clone, Copy)]
pub struct RowNormBackward<'a, T> {
    x: MatRef<'a, T>,
    gamma: &'a [T],
    stats: &'a RowStats<T>,
    centred: bool,
}

impl<'a, T: Float> RowNormBackward<'a, T> {
    /// Of layer normalisation; checks the arguments.
    ///
    /// # Errors
    /// If γ has not one value per column, `stats` not one per row, or rows are not contiguous.
    pub fn layer(x: MatRef<'a, T>, gamma: &'a [T], stats: &'a RowStats<T>) -> Result<Self> {
        let op = Self { x, gamma, stats, centred: true };
        op.checked().map_err(|error| error.within("layer norm backward"))
    }

    /// Of normalisation by the root mean square; checks the arguments.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn rms(x: MatRef<'a, T>, gamma: &'a [T], stats: &'a RowStats<T>) -> Result<Self> {
        let op = Self { x, gamma, stats, centred: false };
        op.checked().map_err(|error| error.within("rms norm backward"))
    }

    fn checked(self) -> Result<Self> {
        check_len("gamma", self.x.cols(), self.gamma.len())?;
        check_rows("input", self.x.has_contiguous_rows(), self.x.col_stride())?;
        self.stats.check(self.x.rows())?;
        Ok(self)
    }

    /// Writes the gradients.
    ///
    /// # Errors
    /// If shapes differ, rows are not contiguous or `TILEWISE_MAX_ISA` holds an unknown name. Nothing is
    /// written then.
    pub fn run(self, dy: MatRef<'_, T>, grads: NormGrads<'_, T>, exec: Exec) -> Result<()> {
        let check = || -> Result<(), Error> {
            let NormGrads { dx, dgamma, dbeta } = &grads;
            check_shape("dy", &self.x, [dy.rows(), dy.cols()])?;
            check_rows("dy", dy.has_contiguous_rows(), dy.col_stride())?;
            check_shape("dx", &self.x, [dx.rows(), dx.cols()])?;
            check_rows("dx", dx.has_contiguous_rows(), dx.col_stride())?;
            check_len("dgamma", self.x.cols(), dgamma.len())?;
            check_len("dbeta", if self.centred { self.x.cols() } else { 0 }, dbeta.len())
        };
        check().map_err(|error| error.within("row norm backward"))?;
        (T::compiled().row_norm_backward)(self, dy, grads, exec)
    }

    pub(crate) fn execute(
        self,
        dy: MatRef<'_, T>,
        grads: NormGrads<'_, T>,
        exec: Exec,
    ) -> Result<()> {
        let isa = exec.path()?;
        let NormGrads { dx, dgamma, dbeta } = grads;
        let work = Rows { op: self, first: 0, dy, dx };
        exec.threads().divide(work, row_grain(self.x.cols()), &|piece| isa.run(piece));
        let work = Columns { op: self, first: 0, dy, dgamma, dbeta };
        let grain = (GRAIN / (STRIP * self.x.rows()).max(1)).max(1);
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }

    /// x̂ as a function of row `i`.
    fn normalise(&self, i: usize) -> Normalise<T> {
        Normalise { centre: self.stats.row(i), inv_std: self.stats.inv_std[i] }
    }
}

/// Rows of dx.
struct Rows<'a, T> {
    op: RowNormBackward<'a, T>,
    /// The row of the whole matrix that this part begins with.
    first: usize,
    dy: MatRef<'a, T>,
    dx: MatMut<'a, T>,
}

impl<T: Float> Split for Rows<'_, T> {
    fn units(&self) -> usize {
        self.dx.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (dx, rest) = self.dx.split_rows(mid);
        (Self { dx, ..self }, Self { first: self.first + mid, dx: rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let share = T::ONE / T::from_usize(self.dx.cols().max(1));
        for i in 0..self.dx.rows() {
            let at = self.first + i;
            let (x, dy) = (self.op.x.row(at), self.dy.row(at));
            let (gamma, normalise) = (self.op.gamma, self.op.normalise(at));
            let mean = match self.op.centred {
                true => row_zip_sum(simd, Product, dy, gamma) * share,
                false => T::ZERO,
            };
            let along = weighted_sum(simd, normalise, [x, dy, gamma]) * share;
            let row = Gradient { normalise, mean, along };
            row.write(simd, [x, dy, gamma], self.dx.row_mut(i));
        }
    }
}

/// Σ dy·γ·x̂, in as many streams as sums of rows are.
#[inline(always)]
fn weighted_sum<T: Float, S: Simd<T>>(
    simd: S,
    normalise: Normalise<T>,
    [x, dy, gamma]: [&[T]; 3],
) -> T {
    let mut sums = [simd.zero(); 4];
    for at in (0..x.len()).step_by(4 * S::LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let from = (at + lane * S::LANES).min(x.len());
            let to = (from + S::LANES).min(x.len());
            // Beyond the row's end dy and γ are 0, and x is near the mean, so that nothing overflows.
            let g = simd.mul(simd.load_partial(&dy[from..to]), simd.load_partial(&gamma[from..to]));
            let x = simd.load_or(&x[from..to], normalise.centre.mean);
            let scaled = normalise.apply(simd, x);
            *sum = simd.mul_add(g, scaled, *sum);
        }
    }
    let [a, b, c, d] = sums;
    simd.sum_lanes(simd.add(simd.add(a, b), simd.add(c, d)))
}

/// The gradient along one row.
#[derive(Clone, Copy)]
struct Gradient<T> {
    normalise: Normalise<T>,
    /// mean(g)
    mean: T,
    /// mean(g·x̂)
    along: T,
}

impl<T: Float> Gradient<T> {
    #[inline(always)]
    fn write<S: Simd<T>>(self, simd: S, [x, dy, gamma]: [&[T]; 3], dx: &mut [T]) {
        let (mean, along) = (simd.splat(self.mean), simd.splat(self.along));
        let inv_std = simd.splat(self.normalise.inv_std);
        let mut at = 0;
        while at < dx.len() {
            let end = dx.len().min(at + S::LANES);
            let load = |from: &[T]| simd.load_partial(&from[at..end]);
            let g = simd.mul(load(dy), load(gamma));
            let scaled = self.normalise.apply(simd, load(x));
            let rest = simd.neg_mul_add(scaled, along, simd.sub(g, mean));
            simd.store_partial(simd.mul(rest, inv_std), &mut dx[at..end]);
            at = end;
        }
    }
}

/// Strips of columns of dγ and dβ.
struct Columns<'a, T> {
    op: RowNormBackward<'a, T>,
    /// The column of the whole matrix that this part begins with.
    first: usize,
    dy: MatRef<'a, T>,
    dgamma: &'a mut [T],
    /// Empty where rows are not centred.
    dbeta: &'a mut [T],
}

impl<T: Float> Split for Columns<'_, T> {
    fn units(&self) -> usize {
        self.dgamma.len().div_ceil(STRIP)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let columns = (mid * STRIP).min(self.dgamma.len());
        let (dgamma, dgamma_rest) = self.dgamma.split_at_mut(columns);
        let (dbeta, dbeta_rest) = self.dbeta.split_at_mut(columns.min(self.dbeta.len()));
        let first = self.first + columns;
        (
            Self { dgamma, dbeta, ..self },
            Self { first, dgamma: dgamma_rest, dbeta: dbeta_rest, ..self },
        )
    }
}

impl<T: Float> Kernel<T> for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let centred = self.op.centred;
        for (strip, dgamma) in self.dgamma.chunks_mut(STRIP).enumerate() {
            let from = strip * STRIP;
            let dbeta = if centred { &mut self.dbeta[from..][..dgamma.len()] } else { &mut [] };
            dgamma.fill(T::ZERO);
            dbeta.fill(T::ZERO);
            let columns = self.first + from..self.first + from + dgamma.len();
            for i in 0..self.dy.rows() {
                let x = &self.op.x.row(i)[columns.clone()];
                let dy = &self.dy.row(i)[columns.clone()];
                add_product(simd, self.op.normalise(i), [x, dy], dgamma);
                add(simd, dy, dbeta);
            }
        }
    }
}

/// sum += dy·x̂
#[inline(always)]
fn add_product<T: Float, S: Simd<T>>(
    simd: S,
    normalise: Normalise<T>,
    [x, dy]: [&[T]; 2],
    sum: &mut [T],
) {
    let pairs = x.chunks(S::LANES).zip(dy.chunks(S::LANES));
    for ((x, dy), sum) in pairs.zip(sum.chunks_mut(S::LANES)) {
        let scaled = normalise.apply(simd, simd.load_partial(x));
        let total = simd.mul_add(scaled, simd.load_partial(dy), simd.load_partial(sum));
        simd.store_partial(total, sum);
    }
}

/// sum += dy, over as many as there are sums.
#[inline(always)]
fn add<T: Float, S: Simd<T>>(simd: S, dy: &[T], sum: &mut [T]) {
    for (dy, sum) in dy.chunks(S::LANES).zip(sum.chunks_mut(S::LANES)) {
        let total = simd.add(simd.load_partial(sum), simd.load_partial(dy));
        simd.store_partial(total, sum);
    }
}
