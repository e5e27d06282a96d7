//! What turns finished sums into C: factors, old values, bias and activation.

use super::super::epilogue::{Finish, Store};
use super::super::plan::Operand;
use super::tile::SIDE;
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
        let Self { store, c, shape: [height, width], at, .. } = self;
        let [alpha, beta] = store.scale(true);
        let mut copy = [0.0; SIDE];
        for i in 0..height {
            let sums = self.sums.wrapping_add(i * SIDE);
            // SAFETY: one row of the tile.
            let sums = unsafe { std::slice::from_raw_parts(sums, width) };
            let in_place = c.strides[1] == 1;
            let row = if in_place {
                // SAFETY: one row of this part of C, which no one else touches now.
                unsafe { std::slice::from_raw_parts_mut(c.at(i, 0).cast_mut(), width) }
            } else {
                &mut copy[..width]
            };
            if !in_place && beta != 0.0 {
                for (j, value) in row.iter_mut().enumerate() {
                    // SAFETY: element `(i, j)` of this part of C.
                    *value = unsafe { *c.at(i, j) };
                }
            }
            scale(simd, [alpha, beta], sums, row);
            if !store.keeps_values() {
                let rows = std::iter::once(&mut *row);
                Finish { store, rows, at: [at[0] + i, at[1]] }.run(simd);
            }
            if !in_place {
                for (j, &value) in row.iter().enumerate() {
                    // SAFETY: element `(i, j)` of this part of C.
                    unsafe { *c.at(i, j).cast_mut() = value };
                }
            }
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
