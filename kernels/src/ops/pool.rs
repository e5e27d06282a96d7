//! Pooling: the largest or the mean value of every window of an image's planes, with the backward passes.
//!
//! Bytes: forward one read of the image and one write of the result; backward, by the largest value, one
//! read of both and one write of the image's gradient; by the mean the same without the image.

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

    /// The elements of the window that are inside the image at `position` along an axis: the place of
    /// the first one and the one after the last.
    #[inline(always)]
    fn span(&self, axis: usize, position: usize) -> std::ops::Range<usize> {
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
    fn run<S: Simd<T>>(self, _simd: S) {
        let (pool, [size, pooled]) = (self.pool, self.pool.sizes());
        for plane in 0..self.planes {
            let x = &self.x[plane * size..][..size];
            let y = &mut self.y[plane * pooled..][..pooled];
            for (row, y) in y.chunks_exact_mut(pool.positions[1]).enumerate() {
                let rows = pool.span(0, row);
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
fn max_row<T: Float>(pool: &Pool, x: &[T], rows: std::ops::Range<usize>, y: &mut [T]) {
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
fn mean_row<T: Float>(pool: &Pool, x: &[T], rows: std::ops::Range<usize>, y: &mut [T]) {
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

struct Backward<'a, T> {
    pool: Pool,
    planes: usize,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Split for Backward<'_, T> {
    fn units(&self) -> usize {
        self.planes
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let [size, pooled] = self.pool.sizes();
        let (x, x_rest) = self.x.split_at(mid * size);
        let (dy, dy_rest) = self.dy.split_at(mid * pooled);
        let (dx, dx_rest) = self.dx.split_at_mut(mid * size);
        let planes = self.planes - mid;
        (
            Self { planes: mid, x, dy, dx, ..self },
            Self { planes, x: x_rest, dy: dy_rest, dx: dx_rest, ..self },
        )
    }
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, _simd: S) {
        let (pool, [size, pooled]) = (self.pool, self.pool.sizes());
        self.dx.fill(T::ZERO);
        for plane in 0..self.planes {
            let x = &self.x[plane * size..][..size];
            let dy = &self.dy[plane * pooled..][..pooled];
            let dx = &mut self.dx[plane * size..][..size];
            for (row, dy) in dy.chunks_exact(pool.positions[1]).enumerate() {
                let rows = pool.span(0, row);
                for (column, &dy) in dy.iter().enumerate() {
                    let columns = pool.span(1, column);
                    match pool.kind {
                        Pooling::Max => dx[first_largest(&pool, x, [&rows, &columns])] += dy,
                        Pooling::Mean => {
                            let share = dy / T::from_usize(rows.len() * columns.len());
                            for row in rows.clone() {
                                let dx = &mut dx[row * pool.dims.width..][columns.clone()];
                                dx.iter_mut().for_each(|dx| *dx += share);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where the element that [`max_row`] takes is in the plane.
#[inline(always)]
fn first_largest<T: Float>(
    pool: &Pool,
    x: &[T],
    [rows, columns]: [&std::ops::Range<usize>; 2],
) -> usize {
    let mut best = rows.start * pool.dims.width + columns.start;
    for row in rows.clone() {
        for column in columns.clone() {
            let at = row * pool.dims.width + column;
            if x[at] > x[best] || (x[at].is_nan() && !x[best].is_nan()) {
                best = at;
            }
        }
    }
    best
}
