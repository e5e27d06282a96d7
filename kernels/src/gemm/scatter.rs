//! Tiles of a C whose columns are not neighbours, by way of a copy whose rows are whole vectors.

use super::plan::Operand;
use crate::simd::{Float, Kernel, MOST_LANES, Simd};

/// Copies a tile of C.
pub(super) struct Gather<'a, T> {
    pub(super) copy: &'a mut [T],
    /// Rows and columns of the tile.
    pub(super) size: [usize; 2],
    pub(super) c: Operand<T>,
}

impl<T: Float> Kernel<T> for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { copy, size: [height, width], c } = self;
        let stride = width.next_multiple_of(S::LANES);
        if c.strides[0] != 1 {
            for (i, row) in copy.chunks_exact_mut(stride).enumerate() {
                for (j, value) in row[..width].iter_mut().enumerate() {
                    // SAFETY: element (i, j) of the tile of C.
                    *value = unsafe { *c.at(i, j) };
                }
            }
            return;
        }
        for [row, col] in squares(S::LANES, [height, width]) {
            let rows = S::LANES.min(height - row);
            let tail = simd.tail(rows);
            let mut square = [simd.zero(); MOST_LANES];
            for (j, vector) in square.iter_mut().enumerate().take(S::LANES.min(width - col)) {
                // SAFETY: `rows` neighbours in column `col + j` of the tile of C.
                *vector = unsafe { simd.load_tail(c.at(row, col + j), tail) };
            }
            simd.transpose(&mut square[..S::LANES]);
            for (i, &vector) in square.iter().enumerate().take(rows) {
                simd.store(vector, &mut copy[(row + i) * stride + col..]);
            }
        }
    }
}

/// Stores the copy of a tile to where it belongs.
pub(super) struct Scatter<'a, T> {
    pub(super) copy: &'a [T],
    /// Rows and columns of the tile.
    pub(super) size: [usize; 2],
    pub(super) c: Operand<T>,
}

impl<T: Float> Kernel<T> for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { copy, size: [height, width], c } = self;
        let stride = width.next_multiple_of(S::LANES);
        if c.strides[0] != 1 {
            for (i, row) in copy.chunks_exact(stride).enumerate() {
                for (j, value) in row[..width].iter().enumerate() {
                    // SAFETY: element (i, j) of the tile of C.
                    unsafe { *c.at(i, j).cast_mut() = *value };
                }
            }
            return;
        }
        for [row, col] in squares(S::LANES, [height, width]) {
            let rows = S::LANES.min(height - row);
            let tail = simd.tail(rows);
            let mut square = [simd.zero(); MOST_LANES];
            for (i, vector) in square.iter_mut().enumerate().take(rows) {
                *vector = simd.load(&copy[(row + i) * stride + col..]);
            }
            simd.transpose(&mut square[..S::LANES]);
            for (j, &vector) in square.iter().enumerate().take(S::LANES.min(width - col)) {
                // SAFETY: `rows` neighbours in column `col + j` of the tile of C.
                unsafe { simd.store_tail(vector, c.at(row, col + j).cast_mut(), tail) };
            }
        }
    }
}

/// The first row and column of the squares of `lanes` that cover a tile, whose rows are neighbours in
/// memory: they are turned in registers.
fn squares(lanes: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let rows = move |col| (0..height).step_by(lanes).map(move |row| [row, col]);
    (0..width).step_by(lanes).flat_map(rows)
}
