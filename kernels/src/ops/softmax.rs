//! Softmax and its logarithm along the rows of a matrix, forward and backward, and log-sum-exp.
//!
//! Every row is reduced to its maximum, then to Σ exp(x - max), then written: three passes over a
//! row that stays in cache, so that memory is read once and written once. Accuracy: softmax within
//! (4 + log2 columns) ULP of its exact value for inputs of moderate size; log-softmax is
//! (x - max) - ln Σ, never x - (max + ln Σ), which would lose the digits of the maximum.

use super::elementwise::{Binary, Unary, map_slice, update_slice, zip_slices};
use super::rows::{
    RowMap, RowZip, check_rows, check_shape, map_rows, row_grain, row_map_sum, row_max, row_sum,
    row_zip_sum, uniform_lane, zip_rows,
};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd, math};
use crate::view::{MatMut, MatRef};

/// `y = exp(x) / Σ exp(x)` along each row. A row of only -∞ gives 1 / columns everywhere; a row with
/// +∞ or NaN gives NaN everywhere.
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn softmax<T: Float>(x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
    Softmax::new(x, y)?.run(Exec::default())
}

/// `y = x - ln Σ exp(x)` along each row. A row of only -∞ gives -ln columns everywhere; a row with
/// +∞ or NaN gives NaN everywhere.
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn log_softmax<T: Float>(x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
    LogSoftmax::new(x, y)?.run(Exec::default())
}

/// `dx = y (dy - Σ dy y)` along each row, from the output `y` of [`softmax`].
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn softmax_backward<T: Float>(
    y: MatRef<'_, T>,
    dy: MatRef<'_, T>,
    dx: MatMut<'_, T>,
) -> Result<()> {
    SoftmaxBackward::new(y, dy, dx)?.run(Exec::default())
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

/// Softmax along rows; see [`softmax`].
#[derive(Debug)]
pub struct Softmax<'a, T> {
    x: MatRef<'a, T>,
    y: MatMut<'a, T>,
}

impl<'a, T: Float> Softmax<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the shapes differ or rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, y: MatMut<'a, T>) -> Result<Self> {
        check_forward(&x, &y).map_err(|error| error.within("softmax"))?;
        Ok(Self { x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        map_rows(SoftmaxRow, self.x, self.y, exec)
    }
}

/// Log-softmax along rows; see [`log_softmax`].
#[derive(Debug)]
pub struct LogSoftmax<'a, T> {
    x: MatRef<'a, T>,
    y: MatMut<'a, T>,
}

impl<'a, T: Float> LogSoftmax<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the shapes differ or rows are not contiguous.
    pub fn new(x: MatRef<'a, T>, y: MatMut<'a, T>) -> Result<Self> {
        check_forward(&x, &y).map_err(|error| error.within("log-softmax"))?;
        Ok(Self { x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        map_rows(LogSoftmaxRow, self.x, self.y, exec)
    }
}

/// The backward pass of softmax; see [`softmax_backward`].
#[derive(Debug)]
pub struct SoftmaxBackward<'a, T> {
    y: MatRef<'a, T>,
    dy: MatRef<'a, T>,
    dx: MatMut<'a, T>,
}

impl<'a, T: Float> SoftmaxBackward<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the shapes differ or rows are not contiguous.
    pub fn new(y: MatRef<'a, T>, dy: MatRef<'a, T>, dx: MatMut<'a, T>) -> Result<Self> {
        check_backward(&y, &dy, &dx).map_err(|error| error.within("softmax backward"))?;
        Ok(Self { y, dy, dx })
    }

    /// Writes `dx`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        zip_rows(SoftmaxGradRow, [self.y, self.dy], self.dx, exec)
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
        zip_rows(LogSoftmaxGradRow, [self.y, self.dy], self.dx, exec)
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
        for (i, out) in self.out.iter_mut().enumerate() {
            let row = self.x.row(i);
            let max = row_max(simd, row);
            *out = if max.is_finite() {
                let sum = row_sum(simd, ShiftedExp { max }, row, T::NEG_INFINITY);
                max + ln_of_sum(simd, sum)
            } else if row.iter().any(|x| x.is_nan()) {
                T::NAN
            } else {
                max
            };
        }
    }
}

fn check_forward<T>(x: &MatRef<'_, T>, y: &MatMut<'_, T>) -> Result<()> {
    check_shape("output", x, [y.rows(), y.cols()])?;
    check_rows("input", x.has_contiguous_rows(), x.col_stride())?;
    check_rows("output", y.has_contiguous_rows(), y.col_stride())
}

fn check_backward<T>(y: &MatRef<'_, T>, dy: &MatRef<'_, T>, dx: &MatMut<'_, T>) -> Result<()> {
    check_shape("dy", y, [dy.rows(), dy.cols()])?;
    check_shape("dx", y, [dx.rows(), dx.cols()])?;
    check_rows("y", y.has_contiguous_rows(), y.col_stride())?;
    check_rows("dy", dy.has_contiguous_rows(), dy.col_stride())?;
    check_rows("dx", dx.has_contiguous_rows(), dx.col_stride())
}

/// ln of a sum of exponentials, at least 1 and finite, or NaN.
#[inline(always)]
pub(crate) fn ln_of_sum<T: Float, S: Simd<T>>(simd: S, sum: T) -> T {
    // NaN is no number that `ln_normal` promises to keep.
    if sum.is_nan() { sum } else { uniform_lane(simd, math::ln_normal(simd, simd.splat(sum))) }
}

/// exp(x - max), for `max` the largest of all x.
#[derive(Clone, Copy)]
pub(crate) struct ShiftedExp<T> {
    pub(crate) max: T,
}

impl<T: Float> Unary<T> for ShiftedExp<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::exp_nonpositive(simd, simd.sub(x, simd.splat(self.max)))
    }
}

/// Multiplication by one factor.
#[derive(Clone, Copy)]
pub(crate) struct Scale<T>(pub(crate) T);

impl<T: Float> Unary<T> for Scale<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.mul(x, simd.splat(self.0))
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

#[derive(Clone, Copy)]
struct Identity;

impl<T: Float> Unary<T> for Identity {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, _simd: S, x: S::V) -> S::V {
        x
    }
}

#[derive(Clone, Copy)]
struct Product;

impl<T: Float> Binary<T> for Product {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.mul(a, b)
    }
}

/// y (dy - dot).
#[derive(Clone, Copy)]
struct SoftmaxGrad<T> {
    dot: T,
}

impl<T: Float> Binary<T> for SoftmaxGrad<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: S::V, dy: S::V) -> S::V {
        simd.mul(y, simd.sub(dy, simd.splat(self.dot)))
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

/// What a row without a finite maximum gives: NaN where one is in it, else `uniform` if all are -∞.
/// (+∞ needs no care: ∞ - ∞ is NaN.)
#[cold]
fn fill_degenerate<T: Float>(x: &[T], y: &mut [T], uniform: f64) {
    let nan = x.iter().any(|x| x.is_nan());
    y.fill(if nan { T::NAN } else { T::from_f64(uniform) });
}

#[derive(Clone, Copy)]
struct SoftmaxRow;

impl<T: Float> RowMap<T> for SoftmaxRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: &[T], y: &mut [T]) {
        let max = row_max(simd, x);
        if max == T::NEG_INFINITY {
            return fill_degenerate(x, y, 1.0 / x.len() as f64);
        }
        let sum = row_map_sum(simd, ShiftedExp { max }, x, y, T::NEG_INFINITY);
        update_slice(simd, Scale(T::ONE / sum), y);
    }
}

#[derive(Clone, Copy)]
struct LogSoftmaxRow;

impl<T: Float> RowMap<T> for LogSoftmaxRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: &[T], y: &mut [T]) {
        let max = row_max(simd, x);
        if max == T::NEG_INFINITY {
            return fill_degenerate(x, y, -(x.len() as f64).ln());
        }
        let sum = row_sum(simd, ShiftedExp { max }, x, T::NEG_INFINITY);
        map_slice(simd, LogProbability { max, ln_sum: ln_of_sum(simd, sum) }, x, y);
    }
}

#[derive(Clone, Copy)]
struct SoftmaxGradRow;

impl<T: Float> RowZip<T> for SoftmaxGradRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: &[T], dy: &[T], dx: &mut [T]) {
        let dot = row_zip_sum(simd, Product, y, dy);
        zip_slices(simd, SoftmaxGrad { dot }, [y, dy], dx);
    }
}

#[derive(Clone, Copy)]
struct LogSoftmaxGradRow;

impl<T: Float> RowZip<T> for LogSoftmaxGradRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, y: &[T], dy: &[T], dx: &mut [T]) {
        let total = row_sum(simd, Identity, dy, T::ZERO);
        zip_slices(simd, LogSoftmaxGrad { total }, [y, dy], dx);
    }
}
