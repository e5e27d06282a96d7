//! Log-softmax and log-sum-exp along rows.

use super::{ShiftedExp, check_backward, check_forward, flat_sum};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::ops::elementwise::{
    Ask, Binary, Unary, map_slice, stream_slice, stream_zip, update_slice, zip_slices,
};
use crate::ops::rows::{
    RowZip, check_rows, row_grain, row_max, row_sum, row_sum_asking, rows_stream, zip_rows,
};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd, Streaming, math};
use crate::view::{MatMut, MatRef};

/// `y = x - ln Σ exp(x)` along each row. A row of only -∞ gives -ln columns everywhere; a row with
/// +∞ or NaN gives NaN everywhere.
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn log_softmax<T: Float>(x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
    LogSoftmax::new(x, y)?.run(Exec::default())
}

/// `dx = dy - exp(y) Σ dy` along each row, from the output `y` of [`log_softmax`].
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn log_softmax_backward<T: Float>(
    y: MatRef<'_, T>,
    dy: MatRef<'_, T>,
    dx: MatMut<'_, T>,
) -> Result<()> {
    LogSoftmaxBackward::new(y, dy, dx)?.run(Exec::default())
}

/// `out[i] = ln Σ exp(x[i, ..])`. A row of only -∞, and an empty one, gives -∞; one with +∞ gives
/// +∞; one with NaN gives NaN.
///
/// # Errors
/// If `out` has not one place per row or rows are not contiguous.
pub fn log_sum_exp<T: Float>(x: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
    LogSumExp::new(x, out)?.run(Exec::default())
}

/// Log-softmax along rows; see [`log_softmax`].
#[derive(Debug)]
pub struct LogSoftmax<'a, T> {
    x: MatRef<'a, T>,
    y: MatMut<'a, T>,
    /// Whether `y` is written past the caches.
    streams: bool,
}

impl<'a, T: Float> LogSoftmax<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the shapes differ or rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, y: MatMut<'a, T>) -> Result<Self> {
        check_forward(&x, &y).map_err(|error| error.within("log-softmax"))?;
        let streams = rows_stream(&y);
        Ok(Self { x, y, streams })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().log_softmax)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let isa = exec.path()?;
        let grain = row_grain(self.x.cols());
        exec.threads().divide(self, grain, &|piece| isa.run(piece));
        Ok(())
    }
}

impl<T: Float> Split for LogSoftmax<'_, T> {
    fn units(&self) -> usize {
        self.x.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_rows(mid);
        let (y, y_rest) = self.y.split_rows(mid);
        (Self { x, y, ..self }, Self { x: x_rest, y: y_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for LogSoftmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let leave = self.streams.then(Streaming::new);
        let rows = self.x.rows();
        let step = LogSums::<T>::block(self.x.cols());
        let mut block = LogSums::new();
        for first in (0..rows).step_by(step) {
            let count = step.min(rows - first);
            block.fill(simd, &self.x, first, count);
            for i in 0..count {
                let (max, ln_sum) = (block.max[i], block.ln_sum[i]);
                let (x, y) = (self.x.row(first + i), self.y.row_mut(first + i));
                let f = LogProbability { max, ln_sum };
                match &leave {
                    _ if max == T::NEG_INFINITY => y.fill(-ln_sum),
                    Some(leave) => {
                        let ask =
                            Ask::half_of(simd, self.x.row((first + i + 1).min(rows - 1)), true);
                        stream_slice(simd, f, x, (y, leave), ask);
                    }
                    None => map_slice(simd, f, x, y),
                }
            }
        }
    }
}

/// (x - max) - ln_sum.
#[derive(Clone, Copy)]
struct LogProbability<T> {
    max: T,
    ln_sum: T,
}

impl<T: Float> Unary<T> for LogProbability<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.sub(simd.sub(x, simd.splat(self.max)), simd.splat(self.ln_sum))
    }
}

/// The backward pass of log-softmax; see [`log_softmax_backward`].
#[derive(Debug)]
pub struct LogSoftmaxBackward<'a, T> {
    y: MatRef<'a, T>,
    dy: MatRef<'a, T>,
    dx: MatMut<'a, T>,
}

impl<'a, T: Float> LogSoftmaxBackward<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the shapes differ or rows are not contiguous.
    pub fn new(y: MatRef<'a, T>, dy: MatRef<'a, T>, dx: MatMut<'a, T>) -> Result<Self> {
        check_backward(&y, &dy, &dx).map_err(|error| error.within("log-softmax backward"))?;
        Ok(Self { y, dy, dx })
    }

    /// Writes `dx`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().log_softmax_backward)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        zip_rows(LogSoftmaxGradRow, [self.y, self.dy], self.dx, exec)
    }
}

/// dy - exp(y) total.
#[derive(Clone, Copy)]
struct LogSoftmaxGrad<T> {
    total: T,
}

impl<T: Float> Binary<T> for LogSoftmaxGrad<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.neg_mul_add(math::exp(simd, y), simd.splat(self.total), dy)
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl<T: Float> Unary<T> for Identity {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, _simd: S, x: S::V) -> S::V {
        x
    }
}

#[derive(Clone, Copy)]
struct LogSoftmaxGradRow;

impl<T: Float> RowZip<T> for LogSoftmaxGradRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, [y, dy]: [&[T]; 2], dx: &mut [T]) {
        let total = row_sum(simd, Identity, dy, T::ZERO);
        zip_slices(simd, LogSoftmaxGrad { total }, [y, dy], dx);
    }

    #[inline(always)]
    fn stream<S: Simd<T>>(
        self,
        simd: S,
        [y, dy]: [&[T]; 2],
        dx: (&mut [T], &Streaming),
        next: [&[T]; 2],
    ) {
        // Only dy is read for the sum; y comes with the exponentials.
        let total = row_sum(simd, Identity, dy, T::ZERO);
        let ask = [Ask::ahead_in(simd, y), Ask::whole(simd, next[1])];
        stream_zip(simd, LogSoftmaxGrad { total }, [y, dy], dx, ask);
    }
}

/// Log-sum-exp along rows; see [`log_sum_exp`].
#[derive(Debug)]
pub struct LogSumExp<'a, T> {
    x: MatRef<'a, T>,
    out: &'a mut [T],
}

impl<'a, T: Float> LogSumExp<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If `out` has not one place per row or rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, out: &'a mut [T]) -> Result<Self> {
        check_rows("log-sum-exp input", x.has_contiguous_rows(), x.col_stride())?;
        check_len("log-sum-exp output", x.rows(), out.len())?;
        Ok(Self { x, out })
    }

    /// Writes `out`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().log_sum_exp)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let isa = exec.path()?;
        let grain = row_grain(self.x.cols());
        exec.threads().divide(self, grain, &|piece| isa.run(piece));
        Ok(())
    }
}

impl<T: Float> Split for LogSumExp<'_, T> {
    fn units(&self) -> usize {
        self.out.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_rows(mid);
        let (out, out_rest) = self.out.split_at_mut(mid);
        (Self { x, out }, Self { x: x_rest, out: out_rest })
    }
}

impl<T: Float> Kernel<T> for LogSumExp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let mut block = LogSums::new();
        let mut first = 0;
        for out in self.out.chunks_mut(LogSums::<T>::block(self.x.cols())) {
            block.fill(simd, &self.x, first, out.len());
            for (i, out) in out.iter_mut().enumerate() {
                *out = match block.max[i] {
                    max if max.is_finite() => max + block.ln_sum[i],
                    _ if self.x.row(first + i).iter().any(|x| x.is_nan()) => T::NAN,
                    max => max,
                };
            }
            first += out.len();
        }
    }
}

/// Rows whose logarithms are taken together.
const BLOCK: usize = 64;

/// The maximum and ln Σ exp(x - maximum) of each row of a block.
struct LogSums<T> {
    max: [T; BLOCK],
    ln_sum: [T; BLOCK],
}

impl<T: Float> LogSums<T> {
    fn new() -> Self {
        Self { max: [T::ZERO; BLOCK], ln_sum: [T::ZERO; BLOCK] }
    }

    /// Rows to take at once: one if they are so long that they would not stay in the cache until
    /// they are written, and so long that one logarithm hardly counts.
    fn block(cols: usize) -> usize {
        if cols <= BLOCK { BLOCK } else { 1 }
    }

    /// Reads `count` rows of `x` from `first` on. A row of only -∞ counts as zeros with maximum -∞.
    #[inline(always)]
    fn fill<S: Simd<T>>(&mut self, simd: S, x: &MatRef<'_, T>, first: usize, count: usize) {
        for i in 0..count {
            let row = x.row(first + i);
            let max = row_max(simd, row);
            self.max[i] = max;
            self.ln_sum[i] = if max == T::NEG_INFINITY {
                flat_sum(row)
            } else {
                let next = x.row((first + i + 1).min(x.rows() - 1));
                let ask = if count > 1 { Ask::NOTHING } else { Ask::half_of(simd, next, false) };
                row_sum_asking(simd, ShiftedExp { max }, row, T::NEG_INFINITY, ask)
            };
        }
        update_slice(simd, LnOfSum, &mut self.ln_sum[..count]);
    }
}

/// ln of a sum of exponentials that is at least 1 and finite, or NaN.
#[derive(Clone, Copy)]
pub(crate) struct LnOfSum;

impl<T: Float> Unary<T> for LnOfSum {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, sum: S::V) -> S::V {
        // NaN is no number that `ln_normal` promises to keep.
        simd.select(simd.is_nan(sum), sum, math::ln_normal(simd, sum))
    }
}
