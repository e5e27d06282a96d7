//! What turns finished sums into C: factors, old values, bias and activation.

use super::super::epilogue::{Finish, Store};
use super::super::plan::Operand;
use super::tile::SIDE;
use crate::parallel::ColumnsMut;
use crate::simd::{Kernel, Simd};

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
