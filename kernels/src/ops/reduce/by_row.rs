//! Reductions of each row.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::along::{Find, slice_max, slice_sum};
use super::{GRAIN, check_rows, nothing};
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::MatRef;

/// The sum of each row of `x`; zeros if there are no columns.
///
/// # Errors
/// As [`RowSums::new`] and [`RowSums::run`].
pub fn row_sums<T: Float>(x: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
    RowSums::new(x, out)?.run(Exec::default())
}

/// The index of the largest element of each row of `x`, the first one of equals.
///
/// # Errors
/// As [`ArgmaxRows::new`] and [`ArgmaxRows::run`].
pub fn argmax_rows<T: Float>(x: MatRef<'_, T>, out: &mut [usize]) -> Result<()> {
    ArgmaxRows::new(x, out)?.run(Exec::default())
}

/// The sum of each row; see [`row_sums`].
#[derive(Debug)]
pub struct RowSums<'a, T> {
    x: MatRef<'a, T>,
    out: &'a mut [T],
}

impl<'a, T: Float> RowSums<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If `out` does not have one element per row, or the rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, out: &'a mut [T]) -> Result<Self> {
        check_rows("row sums input", &x)?;
        check_len("row sums", x.rows(), out.len())?;
        Ok(Self { x, out })
    }

    /// Writes the sums. Traffic: one read per element.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().row_sums)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { x, out } = self;
        let isa = exec.path()?;
        let work = Rows { x, out, task: SumRow };
        exec.threads().divide(work, grain(&x), &|piece| isa.run(piece));
        Ok(())
    }
}

/// The index of the largest element of each row; see [`argmax_rows`].
#[derive(Debug)]
pub struct ArgmaxRows<'a, T> {
    x: MatRef<'a, T>,
    out: &'a mut [usize],
}

impl<'a, T: Float> ArgmaxRows<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If `out` does not have one element per row, the rows are not contiguous, or there are rows
    /// without columns.
    pub fn new(x: MatRef<'a, T>, out: &'a mut [usize]) -> Result<Self> {
        check_rows("argmax input", &x)?;
        check_len("argmax", x.rows(), out.len())?;
        if x.cols() == 0 && x.rows() > 0 {
            return Err(nothing("argmax input"));
        }
        Ok(Self { x, out })
    }

    /// Writes the indices. Traffic: two reads per element, the first one to look for NaN.
    ///
    /// # Errors
    /// If an element is NaN, or `TILEWISE_MAX_ISA` holds an unknown name; nothing is written then.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().argmax_rows)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let Self { x, out } = self;
        let isa = exec.path()?;
        let first_nan = AtomicUsize::new(usize::MAX);
        exec.threads().for_each(x.rows(), grain(&x), &|i| {
            if isa.run(LargestOf(x.row(i))).is_nan() {
                first_nan.fetch_min(i, Ordering::Relaxed);
            }
        });
        let row = first_nan.into_inner();
        if row < x.rows() {
            let column = x.row(row).iter().position(|x| x.is_nan()).unwrap_or(0);
            let got = format!("NaN at row {row}, column {column}");
            return Err(Error::value("argmax", "no NaN", got));
        }
        let work = Rows { x, out, task: ArgmaxRow };
        exec.threads().divide(work, grain(&x), &|piece| isa.run(piece));
        Ok(())
    }
}

/// Rows that are worth a thread.
fn grain<T>(x: &MatRef<'_, T>) -> usize {
    GRAIN.div_ceil(x.cols().max(1))
}

struct LargestOf<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for LargestOf<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> T {
        slice_max(simd, self.0)
    }
}

/// What is worked out for each row.
trait Task<T: Float, R>: Copy + Send + Sync {
    /// The row's result. Mark it `#[inline(always)]`.
    fn row<S: Simd<T>>(self, simd: S, row: &[T]) -> R;
}

#[derive(Clone, Copy)]
struct SumRow;

impl<T: Float> Task<T, T> for SumRow {
    #[inline(always)]
    fn row<S: Simd<T>>(self, simd: S, row: &[T]) -> T {
        slice_sum(simd, row)
    }
}

#[derive(Clone, Copy)]
struct ArgmaxRow;

impl<T: Float> Task<T, usize> for ArgmaxRow {
    #[inline(always)]
    fn row<S: Simd<T>>(self, simd: S, row: &[T]) -> usize {
        // Rows with NaN were turned away before.
        Find { x: row, value: slice_max(simd, row) }.run(simd).unwrap_or(0)
    }
}

struct Rows<'a, T, R, K> {
    x: MatRef<'a, T>,
    out: &'a mut [R],
    task: K,
}

impl<T: Float, R: Send, K: Task<T, R>> Split for Rows<'_, T, R, K> {
    fn units(&self) -> usize {
        self.out.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_rows(mid);
        let (out, rest) = self.out.split_at_mut(mid);
        (Self { x, out, task: self.task }, Self { x: x_rest, out: rest, task: self.task })
    }
}

impl<T: Float, R, K: Task<T, R>> Kernel<T> for Rows<'_, T, R, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        for (i, out) in self.out.iter_mut().enumerate() {
            *out = self.task.row(simd, self.x.row(i));
        }
    }
}
