//! Softmax and its logarithm along the rows of a matrix, forward and backward, and log-sum-exp.
//!
//! Every row is reduced to its maximum, then to Σ exp(x - max), then written: three passes over a
//! row that stays in cache, so that memory is read once and written once. `docs/numerics.md` derives
//! the error bounds: for row elements d below the maximum, softmax errs relatively by about
//! d + ln n + n / (4 lanes) roundings, whatever the row's offset.
//!
//! Bytes per element where a row fits the cache: two accesses forward and three backward, 8 and 12 in
//! `f32`. An output that outgrows the second-level cache is written past it; a smaller one has its lines
//! read before they are written, from a cache where it was written before. The
//! sums along rows (log-sum-exp) take one read, 4. Longer rows are read again from the next level:
//! once per pass.

mod log;

pub(crate) use self::log::LnOfSum;
pub use self::log::{
    LogSoftmax, LogSoftmaxBackward, LogSumExp, log_softmax, log_softmax_backward, log_sum_exp,
};

use super::elementwise::{Ask, Binary, Unary, stream_slice, stream_zip, update_slice, zip_slices};
use super::rows::{
    RowZip, check_rows, check_shape, row_grain, row_map_sum, row_max, row_update_sum, row_zip_sum,
    rows_stream, zip_rows,
};
use crate::buffer::with_zeros;
use crate::dispatch::caches;
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd, Streaming, math};
use crate::view::{MatMut, MatRef};

/// `y = exp(x) / Σ exp(x)` along each row. A row of only -∞ gives 1 / columns everywhere; a row with
/// +∞ or NaN gives NaN everywhere.
///
/// # Errors
/// If the shapes differ or rows are not contiguous.
pub fn softmax<T: Float>(x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
    Softmax::new(x, y)?.run(Exec::default())
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
        (T::compiled().softmax)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        let isa = exec.path()?;
        let cols = self.x.cols();
        // Powers that are written past the caches wait for their sum in a row that stays near.
        let fits = cols.saturating_mul(3 * size_of::<T>()) <= caches().l2;
        let room = if fits && rows_stream(&self.y) { cols } else { 0 };
        exec.threads().divide(self, row_grain(cols), &|piece| {
            with_zeros(room, |powers| isa.run(Rows { of: piece, powers }));
        });
        Ok(())
    }
}

impl<T: Float> Split for Softmax<'_, T> {
    fn units(&self) -> usize {
        self.x.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_rows(mid);
        let (y, y_rest) = self.y.split_rows(mid);
        (Self { x, y }, Self { x: x_rest, y: y_rest })
    }
}

/// Some rows on one thread.
struct Rows<'a, 'b, T> {
    of: Softmax<'a, T>,
    /// Room for the powers of a row if the output is written past the caches, else nothing.
    powers: &'b mut [T],
}

impl<T: Float> Kernel<T> for Rows<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { of: Softmax { x, mut y }, powers } = self;
        if powers.is_empty() {
            for i in 0..x.rows() {
                softmax_row(simd, x.row(i), y.row_mut(i), T::ONE);
            }
            return;
        }
        let leave = Streaming::new();
        for i in 0..x.rows() {
            let [row, next] = [i, (i + 1).min(x.rows() - 1)].map(|i| x.row(i));
            stream_softmax_row(simd, [row, next], powers, (y.row_mut(i), &leave));
        }
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
        (T::compiled().softmax_backward)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        zip_rows(SoftmaxGradRow, [self.y, self.dy], self.dx, exec)
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

/// exp(x - max), for `max` the largest of all x.
#[derive(Clone, Copy)]
pub(crate) struct ShiftedExp<T> {
    pub(crate) max: T,
}

impl<T: Float> Unary<T> for ShiftedExp<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::exp_decay(simd, simd.sub(x, simd.splat(self.max)))
    }
}

/// Multiplication by one factor.
#[derive(Clone, Copy)]
struct Scale<T>(T);

impl<T: Float> Unary<T> for Scale<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.mul(x, simd.splat(self.0))
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

/// The number of elements of a row of only -∞, each counted as e^0; NaN where one is in it.
#[cold]
pub(crate) fn flat_sum<T: Float>(row: &[T]) -> T {
    if row.iter().any(|x| x.is_nan()) { T::NAN } else { T::from_usize(row.len()) }
}

/// Writes `mass` times the softmax of `x` and returns the maximum and Σ exp(x - maximum). A row of
/// only -∞ counts as zeros with maximum -∞.
#[inline(always)]
pub(crate) fn softmax_row<T: Float, S: Simd<T>>(simd: S, x: &[T], y: &mut [T], mass: T) -> (T, T) {
    let max = row_max(simd, x);
    if max == T::NEG_INFINITY {
        let sum = flat_sum(x);
        y.fill(mass / sum);
        return (max, sum);
    }
    let f = ShiftedExp { max };
    if x.len() <= S::LANES {
        // The same without a round trip through memory, which short rows would wait for.
        let powers = f.apply(simd, simd.load_or(x, T::NEG_INFINITY));
        let sum = simd.sum_lanes(powers);
        simd.store_partial(simd.mul(powers, simd.splat(mass / sum)), y);
        return (max, sum);
    }
    let sum = row_map_sum(simd, f, (x, T::NEG_INFINITY), y, Ask::NOTHING);
    update_slice(simd, Scale(mass / sum), y);
    (max, sum)
}

/// [`softmax_row`] over its own input, with the same bits.
#[inline(always)]
pub(crate) fn softmax_in_place<T: Float, S: Simd<T>>(simd: S, y: &mut [T], mass: T) -> (T, T) {
    let max = row_max(simd, y);
    if max == T::NEG_INFINITY {
        let sum = flat_sum(y);
        y.fill(mass / sum);
        return (max, sum);
    }
    let f = ShiftedExp { max };
    if y.len() <= S::LANES {
        let powers = f.apply(simd, simd.load_or(y, T::NEG_INFINITY));
        let sum = simd.sum_lanes(powers);
        simd.store_partial(simd.mul(powers, simd.splat(mass / sum)), y);
        return (max, sum);
    }
    let sum = row_update_sum(simd, f, y, T::NEG_INFINITY);
    update_slice(simd, Scale(mass / sum), y);
    (max, sum)
}

/// [`softmax_row`] past the caches, by way of `powers`, for rows of more than one vector; the next row is
/// asked for meanwhile.
#[inline(always)]
fn stream_softmax_row<T: Float, S: Simd<T>>(
    simd: S,
    [x, next]: [&[T]; 2],
    powers: &mut [T],
    y: (&mut [T], &Streaming),
) {
    let max = row_max(simd, x);
    if max == T::NEG_INFINITY {
        return y.0.fill(T::ONE / flat_sum(x));
    }
    let [first, second] = [false, true].map(|second| Ask::half_of(simd, next, second));
    let sum = row_map_sum(simd, ShiftedExp { max }, (x, T::NEG_INFINITY), powers, first);
    stream_slice(simd, Scale(T::ONE / sum), powers, y, second);
}

#[derive(Clone, Copy)]
struct SoftmaxGradRow;

impl<T: Float> RowZip<T> for SoftmaxGradRow {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, [y, dy]: [&[T]; 2], dx: &mut [T]) {
        let dot = row_zip_sum(simd, Product, y, dy);
        zip_slices(simd, SoftmaxGrad { dot }, [y, dy], dx);
    }

    #[inline(always)]
    fn stream<S: Simd<T>>(
        self,
        simd: S,
        [y, dy]: [&[T]; 2],
        dx: (&mut [T], &Streaming),
        next: [&[T]; 2],
    ) {
        let dot = row_zip_sum(simd, Product, y, dy);
        let ask = next.map(|next| Ask::whole(simd, next));
        stream_zip(simd, SoftmaxGrad { dot }, [y, dy], dx, ask);
    }
}
