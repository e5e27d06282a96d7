//! What turns finished sums into C: factors, old values, bias and activation.

use super::super::epilogue::{Finish, Store};
use super::super::plan::Operand;
use super::tile::{ABREAST, PAIRS, SIDE};
use crate::parallel::ColumnsMut;
use crate::simd::{Kernel, Simd, Streaming};

/// A tile of sums, and the part of C that is made of it.
pub(super) struct FinishTile<'a> {
    pub(super) store: &'a Store<'a, f32>,
    /// Rows of 16 sums.
    pub(super) sums: *const f32,
    pub(super) c: Operand<f32>,
    /// Rows and columns of the part.
    pub(super) shape: [usize; 2],
    /// Where it starts in the whole of C.
    pub(super) at: [usize; 2],
}

impl Kernel<f32> for FinishTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let Self { c, shape: [height, width], .. } = self;
        if c.strides[1] == 1 {
            // SAFETY: this part of C, which no one else touches now.
            let rows =
                unsafe { ColumnsMut::from_raw(c.start.cast_mut(), [height, width], c.strides[0]) };
            return self.finish(simd, rows);
        }
        let mut copy = [0.0; SIDE * SIDE];
        let copy = &mut copy[..height * width];
        if self.store.beta != 0.0 {
            for (i, row) in copy.chunks_exact_mut(width).enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    // SAFETY: an element of this part of C.
                    *value = unsafe { *c.at(i, j) };
                }
            }
        }
        self.finish(simd, ColumnsMut::new(copy, height, width));
        for (i, row) in copy.chunks_exact(width).enumerate() {
            for (j, &value) in row.iter().enumerate() {
                // SAFETY: an element of this part of C.
                unsafe { *c.at(i, j).cast_mut() = value };
            }
        }
    }
}

/// Writes a square of sums past the caches. A line of C is a row of a tile.
pub(super) struct StreamSquare<'a> {
    pub(super) alpha: f32,
    pub(super) sums: *const f32,
    /// The part of C, which begins with a line and has contiguous rows of whole lines.
    pub(super) c: Operand<f32>,
    /// Its rows and columns.
    pub(super) shape: [usize; 2],
    pub(super) leave: &'a Streaming,
}

impl Kernel<f32> for StreamSquare<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let Self { alpha, sums, c, shape: [height, width], leave } = self;
        let alpha = simd.splat(alpha);
        for i in 0..height {
            let tile = i / SIDE * ABREAST;
            for j in (0..width).step_by(S::LANES) {
                let from = (tile + j / SIDE) * PAIRS + i % SIDE * SIDE + j % SIDE;
                let to = c.at(i, j).cast_mut();
                // SAFETY: sums of the square, and a part of C which no one else touches now.
                unsafe {
                    let value = simd.mul(alpha, simd.load_ptr(sums.wrapping_add(from)));
                    if j + S::LANES <= width {
                        simd.stream_ptr(value, to, leave);
                    } else {
                        simd.store_tail(value, to, simd.tail(width - j));
                    }
                }
            }
        }
    }
}

impl FinishTile<'_> {
    /// From the old values in `rows` to the new ones.
    #[inline(always)]
    fn finish<S: Simd<f32>>(&self, simd: S, mut rows: ColumnsMut<'_, f32>) {
        let Self { store, sums, shape: [height, width], at, .. } = *self;
        let scales = store.scale(true);
        for i in 0..height {
            // SAFETY: one row of the tile.
            let sums = unsafe { std::slice::from_raw_parts(sums.wrapping_add(i * SIDE), width) };
            scale(simd, scales, sums, rows.row(i));
        }
        if !store.keeps_values() {
            Finish { store, rows, at }.apply(simd);
        }
    }
}

/// `row <- alpha * sums + beta * row`; the row is not read where beta is zero.
#[inline(always)]
fn scale<S: Simd<f32>>(simd: S, [alpha, beta]: [f32; 2], sums: &[f32], row: &mut [f32]) {
    let factors = [alpha, beta].map(|x| simd.splat(x));
    for (sums, row) in sums.chunks(S::LANES).zip(row.chunks_mut(S::LANES)) {
        let mut value = simd.mul(factors[0], simd.load_partial(sums));
        if beta != 0.0 {
            value = simd.mul_add(factors[1], simd.load_partial(row), value);
        }
        simd.store_partial(value, row);
    }
}
