//! From the gradient by the result to that by the image.

use std::ops::Range;

use super::{Pool, Pooling, squares};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Planes, and the parts of both gradients that belong to them.
pub(super) struct Backward<'a, T> {
    pub(super) pool: Pool,
    pub(super) planes: usize,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dx: &'a mut [T],
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
    fn run<S: Simd<T>>(self, simd: S) {
        let (pool, [size, pooled]) = (self.pool, self.pool.sizes());
        if pool.in_squares() {
            return self.run_on_squares(simd);
        }
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

impl<T: Float> Backward<'_, T> {
    /// The same for squares of side 2 side by side: each element is written once.
    #[inline(always)]
    fn run_on_squares<S: Simd<T>>(self, simd: S) {
        let (pool, [size, pooled]) = (self.pool, self.pool.sizes());
        let ([height, across], width) = (pool.positions, pool.dims.width);
        for plane in 0..self.planes {
            let x = &self.x[plane * size..][..size];
            let dx = &mut self.dx[plane * size..][..size];
            let (dx, below) = dx.split_at_mut(2 * height * width);
            below.fill(T::ZERO);
            let dy = self.dy[plane * pooled..][..pooled].chunks_exact(across);
            for (row, (dx, dy)) in dx.chunks_exact_mut(2 * width).zip(dy).enumerate() {
                let (upper, lower) = dx.split_at_mut(width);
                for line in [&mut *upper, &mut *lower] {
                    line[2 * across..].fill(T::ZERO);
                }
                let dx = [upper, lower].map(|line| &mut line[..2 * across]);
                squares::backward(simd, pool.kind, (pool.two_rows(x, row), dy), dx);
            }
        }
    }
}

/// Where the element that [`max_row`](super::max_row) takes is in the plane.
#[inline(always)]
fn first_largest<T: Float>(pool: &Pool, x: &[T], [rows, columns]: [&Range<usize>; 2]) -> usize {
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
