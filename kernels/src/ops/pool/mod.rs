//! Pooling: the largest or the mean value of every window of an image's planes, with the backward passes.
//!
//! Bytes: forward one read of the image and one write of the result; backward, by the largest value, one
//! read of both and one write of the image's gradient; by the mean the same without the image.

mod backward;
mod squares;

use std::ops::Range;

use backward::Backward;

use super::window::{ImageDims, Window};
use crate::error::{Error, Result, check_len, checked_area};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 14;

/// What is taken of a window. Padding never counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest element; NaN if there is one. The gradient goes to the first of equals, row by row.
    Max,
    /// The mean of the elements inside the image.
    Mean,
}

/// Pools `planes` planes of `x`.
///
/// # Errors
/// If the window does not fit or a length differs.
pub fn pool<T: Float>(
    kind: Pooling,
    x: &[T],
    dims: ImageDims,
    window: Window,
    y: &mut [T],
) -> Result<()> {
    Pool::new(kind, dims, window)?.forward(x, y, Exec::default())
}

/// The gradient of [`pool`] by its input, from that by its output.
///
/// # Errors
/// If the window does not fit or a length differs.
pub fn pool_backward<T: Float>(
    kind: Pooling,
    [x, dy]: [&[T]; 2],
    dims: ImageDims,
    window: Window,
    dx: &mut [T],
) -> Result<()> {
    Pool::new(kind, dims, window)?.backward(x, dy, dx, Exec::default())
}

/// Pooling of images of one shape; a batch of images is one of more planes. See [`pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    kind: Pooling,
    dims: ImageDims,
    window: Window,
    positions: [usize; 2],
}

impl Pool {
    /// Checks that the window fits.
    ///
    /// # Errors
    /// If an extent of the image, of the window or a stride is 0, the window is larger than the padded
    /// image, its elements are apart, the padding is as large as the window, or a size overflows.
    pub fn new(kind: Pooling, dims: ImageDims, window: Window) -> Result<Self> {
        let check = || {
            dims.len()?;
            let positions = window.positions(dims)?;
            let plane = checked_area("positions", positions[0], positions[1])?;
            checked_area("output", dims.channels, plane)?;
            if window.dilation != [1, 1] {
                let got = format!("{} and {}", window.dilation[0], window.dilation[1]);
                return Err(Error::value("dilation", "1", got));
            }
            // A window must not lie in the padding alone.
            if dims.height == 0 || dims.width == 0 {
                let got = format!("{} x {}", dims.height, dims.width);
                return Err(Error::shape("image", "at least one pixel", got));
            }
            for (padding, kernel) in window.padding.into_iter().zip(window.kernel) {
                if padding >= kernel {
                    return Err(Error::value("padding", format!("below {kernel}"), padding));
                }
            }
            Ok(Self { kind, dims, window, positions })
        };
        check().map_err(|error| error.within("pool"))
    }

    /// Positions down and across: the shape of a plane of the result.
    pub fn positions(&self) -> [usize; 2] {
        self.positions
    }

    /// Writes the pooled planes of `x` to `y`.
    ///
    /// # Errors
    /// If a length differs or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn forward<T: Float>(&self, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
        self.check(x.len(), y.len()).map_err(|error| error.within("pool"))?;
        (T::compiled().pool)(self, x, y, exec)
    }

    /// Writes the gradient by `x` to `dx`, from that by the output.
    ///
    /// # Errors
    /// If a length differs or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn backward<T: Float>(&self, x: &[T], dy: &[T], dx: &mut [T], exec: Exec) -> Result<()> {
        self.check(x.len(), dy.len()).map_err(|error| error.within("pool backward"))?;
        check_len("dx", x.len(), dx.len()).map_err(|error| error.within("pool backward"))?;
        (T::compiled().pool_backward)(self, [x, dy], dx, exec)
    }

    fn check(&self, x: usize, y: usize) -> Result<()> {
        check_len("input", self.dims.len()?, x)?;
        check_len("output", self.dims.channels * self.positions[0] * self.positions[1], y)
    }

    pub(crate) fn execute_forward<T: Float>(&self, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
        let isa = exec.path()?;
        let work = Forward { pool: *self, planes: self.dims.channels, x, y };
        exec.threads().divide(work, self.grain(), &|piece| isa.run(piece));
        Ok(())
    }

    pub(crate) fn execute_backward<T: Float>(
        &self,
        [x, dy]: [&[T]; 2],
        dx: &mut [T],
        exec: Exec,
    ) -> Result<()> {
        let isa = exec.path()?;
        let work = Backward { pool: *self, planes: self.dims.channels, x, dy, dx };
        exec.threads().divide(work, self.grain(), &|piece| isa.run(piece));
        Ok(())
    }

    fn grain(&self) -> usize {
        (GRAIN / (self.positions[0] * self.positions[1] * self.window.area()).max(1)).max(1)
    }

    /// Elements of a plane, of the image and of the result.
    fn sizes(&self) -> [usize; 2] {
        [self.dims.height * self.dims.width, self.positions[0] * self.positions[1]]
    }

    /// Whether windows are squares of side 2 side by side: all of them lie inside, and an element is in one
    /// at most.
    fn in_squares(&self) -> bool {
        let Window { kernel, stride, padding, .. } = self.window;
        (kernel, stride, padding) == ([2, 2], [2, 2], [0, 0])
    }

    /// The two rows of a plane that make a row of the result, where they are such squares.
    #[inline(always)]
    fn two_rows<'a, T>(&self, x: &'a [T], row: usize) -> [&'a [T]; 2] {
        let (width, used) = (self.dims.width, 2 * self.positions[1]);
        [0, 1].map(|below| &x[(2 * row + below) * width..][..used])
    }

    /// The elements of the window that are inside the image at `position` along an axis: the place of
    /// the first one and the one after the last.
    #[inline(always)]
    fn span(&self, axis: usize, position: usize) -> Range<usize> {
        let size = [self.dims.height, self.dims.width][axis];
        let (start, padding) = (position * self.window.stride[axis], self.window.padding[axis]);
        let end = (start + self.window.kernel[axis]).saturating_sub(padding).min(size);
        start.saturating_sub(padding).min(end)..end
    }
}

struct Forward<'a, T> {
    pool: Pool,
    planes: usize,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Split for Forward<'_, T> {
    fn units(&self) -> usize {
        self.planes
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let [size, pooled] = self.pool.sizes();
        let (x, x_rest) = self.x.split_at(mid * size);
        let (y, y_rest) = self.y.split_at_mut(mid * pooled);
        let rest = Self { planes: self.planes - mid, x: x_rest, y: y_rest, ..self };
        (Self { planes: mid, x, y, ..self }, rest)
    }
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let (pool, [size, pooled]) = (self.pool, self.pool.sizes());
        let squares = pool.in_squares();
        for plane in 0..self.planes {
            let x = &self.x[plane * size..][..size];
            let y = &mut self.y[plane * pooled..][..pooled];
            for (row, y) in y.chunks_exact_mut(pool.positions[1]).enumerate() {
                let rows = pool.span(0, row);
                if squares {
                    squares::forward(simd, pool.kind, pool.two_rows(x, row), y);
                    continue;
                }
                match pool.kind {
                    Pooling::Max => max_row(&pool, x, rows, y),
                    Pooling::Mean => mean_row(&pool, x, rows, y),
                }
            }
        }
    }
}

/// One row of the result: the largest elements of its windows.
#[inline(always)]
fn max_row<T: Float>(pool: &Pool, x: &[T], rows: Range<usize>, y: &mut [T]) {
    let width = pool.dims.width;
    for (column, y) in y.iter_mut().enumerate() {
        let columns = pool.span(1, column);
        let mut largest = T::NEG_INFINITY;
        for row in rows.clone() {
            for &x in &x[row * width..][columns.clone()] {
                // NaN is larger than nothing, and nothing is larger than NaN.
                largest = if x > largest || x.is_nan() { x } else { largest };
            }
        }
        *y = largest;
    }
}

/// One row of the result: the means of its windows.
#[inline(always)]
fn mean_row<T: Float>(pool: &Pool, x: &[T], rows: Range<usize>, y: &mut [T]) {
    let width = pool.dims.width;
    for (column, y) in y.iter_mut().enumerate() {
        let columns = pool.span(1, column);
        let mut sum = T::ZERO;
        for row in rows.clone() {
            sum += x[row * width..][columns.clone()].iter().copied().sum::<T>();
        }
        *y = sum / T::from_usize(rows.len() * columns.len());
    }
}
