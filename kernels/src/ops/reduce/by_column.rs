//! Reductions of each column: strips of columns, read row by row.

use super::columns::{Columns, Group, Panel, sweep};
use super::moments::{BLOCK_ROWS, STRIP, StripMoments};
use super::{GRAIN, check_rows, nothing};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::MatRef;

/// The sum of each column of `x`; zeros if there are no rows.
///
/// # Errors
/// As [`ColumnSums::new`] and [`ColumnSums::run`].
pub fn column_sums<T: Float>(x: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
    ColumnSums::new(x, out)?.run(Exec::default())
}

/// The mean and the biased variance of each column of `x`.
///
/// # Errors
/// As [`ColumnMeanVar::new`] and [`ColumnMeanVar::run`].
pub fn column_mean_var<T: Float>(x: MatRef<'_, T>, mean: &mut [T], var: &mut [T]) -> Result<()> {
    ColumnMeanVar::new(x, mean, var)?.run(Exec::default())
}

/// The sum of each column; see [`column_sums`].
#[derive(Debug)]
pub struct ColumnSums<'a, T> {
    x: MatRef<'a, T>,
    out: &'a mut [T],
}

impl<'a, T: Float> ColumnSums<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If `out` does not have one element per column, or the rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, out: &'a mut [T]) -> Result<Self> {
        check_rows("column sums input", &x)?;
        check_len("column sums", x.cols(), out.len())?;
        Ok(Self { x, out })
    }

    /// Writes the sums. Traffic: one read per element.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().column_sums)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { x, out } = self;
        let isa = exec.path()?;
        let grain = grain(&x);
        let work = SumStrips { x, first: 0, out };
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }
}

/// The mean and the biased variance of each column; see [`column_mean_var`]. An offset costs no
/// precision. NaN both in a column with an element that is not finite.
#[derive(Debug)]
pub struct ColumnMeanVar<'a, T> {
    x: MatRef<'a, T>,
    mean: &'a mut [T],
    var: &'a mut [T],
}

impl<'a, T: Float> ColumnMeanVar<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If an output does not have one element per column, the rows are not contiguous, or there are
    /// columns without rows.
    pub fn new(x: MatRef<'a, T>, mean: &'a mut [T], var: &'a mut [T]) -> Result<Self> {
        check_rows("column statistics input", &x)?;
        check_len("column means", x.cols(), mean.len())?;
        check_len("column variances", x.cols(), var.len())?;
        if x.rows() == 0 && x.cols() > 0 {
            return Err(nothing("column statistics input"));
        }
        Ok(Self { x, mean, var })
    }

    /// Writes the means and variances. Traffic: one read per element.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().column_mean_var)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { x, mean, var } = self;
        let isa = exec.path()?;
        let grain = grain(&x);
        let work = MomentStrips { x, first: 0, mean, var };
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }
}

/// Columns per unit: two cache lines of `f32`, so that threads do not share one.
const UNIT: usize = 32;

/// Units of columns that are worth a thread.
fn grain<T>(x: &MatRef<'_, T>) -> usize {
    GRAIN.div_ceil(UNIT * x.rows().max(1))
}

/// `width` columns of `x` from `first` on.
#[inline(always)]
fn panel<'a, T>(x: &MatRef<'a, T>, first: usize, width: usize) -> Panel<'a, T> {
    Panel::new(x.data(), x.rows(), width, x.row_stride()).columns_from(first, width)
}

struct SumStrips<'a, T> {
    x: MatRef<'a, T>,
    first: usize,
    out: &'a mut [T],
}

impl<T: Float> Split for SumStrips<'_, T> {
    fn units(&self) -> usize {
        self.out.len().div_ceil(UNIT)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = (mid * UNIT).min(self.out.len());
        let (out, rest) = self.out.split_at_mut(mid);
        (Self { out, ..self }, Self { first: self.first + mid, out: rest, ..self })
    }
}

impl<T: Float> Kernel<T> for SumStrips<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        for (i, out) in self.out.chunks_mut(STRIP).enumerate() {
            let panel = panel(&self.x, self.first + i * STRIP, out.len());
            let mut totals = [0.0; STRIP];
            let mut first = 0;
            while first < panel.rows() {
                let rows = BLOCK_ROWS.min(panel.rows() - first);
                let mut sums =
                    BlockSums { panel: panel.rows_from(first, rows), sum: [T::ZERO; STRIP] };
                sweep(simd, out.len(), &mut sums);
                for (total, sum) in totals.iter_mut().zip(sums.sum) {
                    *total += sum.to_f64();
                }
                first += rows;
            }
            for (out, total) in out.iter_mut().zip(totals) {
                *out = T::from_f64(total);
            }
        }
    }
}

struct BlockSums<'a, T> {
    panel: Panel<'a, T>,
    sum: [T; STRIP],
}

impl<T: Float> Columns<T> for BlockSums<'_, T> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let mut even = [simd.zero(); V];
        let mut odd = even;
        let rows = self.panel.rows();
        for i in (0..rows - rows % 2).step_by(2) {
            let x = group.load(simd, self.panel.row(i));
            let next = group.load(simd, self.panel.row(i + 1));
            for k in 0..V {
                even[k] = simd.add(even[k], x[k]);
                odd[k] = simd.add(odd[k], next[k]);
            }
        }
        if rows % 2 == 1 {
            let x = group.load(simd, self.panel.row(rows - 1));
            for k in 0..V {
                even[k] = simd.add(even[k], x[k]);
            }
        }
        for k in 0..V {
            even[k] = simd.add(even[k], odd[k]);
        }
        group.store(simd, even, &mut self.sum);
    }
}

struct MomentStrips<'a, T> {
    x: MatRef<'a, T>,
    first: usize,
    mean: &'a mut [T],
    var: &'a mut [T],
}

impl<T: Float> Split for MomentStrips<'_, T> {
    fn units(&self) -> usize {
        self.mean.len().div_ceil(UNIT)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let mid = (mid * UNIT).min(self.mean.len());
        let (mean, mean_rest) = self.mean.split_at_mut(mid);
        let (var, var_rest) = self.var.split_at_mut(mid);
        let first = self.first + mid;
        (Self { mean, var, ..self }, Self { first, mean: mean_rest, var: var_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for MomentStrips<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let strips = self.mean.chunks_mut(STRIP).zip(self.var.chunks_mut(STRIP));
        for (i, (mean, var)) in strips.enumerate() {
            let moments =
                StripMoments::of(simd, panel(&self.x, self.first + i * STRIP, mean.len()));
            for (c, moment) in moments.channels[..mean.len()].iter().enumerate() {
                (mean[c], var[c]) = (moment.mean::<T>().0, moment.var(moments.count));
            }
        }
    }
}
