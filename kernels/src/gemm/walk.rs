//! The order in which the tiles of a block are computed.

use super::blocking::{panels, strips};
use super::driver::Block;
use super::tile_table::TileTable;
use crate::dispatch::caches;
use crate::simd::{Float, Simd};

impl<T: Float> Block<'_, T> {
    #[inline(always)]
    pub(super) fn tiles<S: Simd<T>>(&self, simd: S) {
        let [rows, cols, _] = self.shape;
        let vectors = cols.div_ceil(S::LANES);
        let one = vectors <= TileTable::<S, T>::VECTORS
            && rows <= TileTable::<S, T>::most_rows(vectors, self.packed[0]);
        if one && !self.is_row() {
            // Loops over one tile would take longer than a tile of a few steps.
            return self.tile_at(simd, [0, 0], [rows, vectors]);
        }
        self.many_tiles(simd);
    }

    fn many_tiles<S: Simd<T>>(&self, simd: S) {
        let [_, cols, _] = self.shape;
        if self.is_row() {
            return self.row(simd);
        }
        let vectors = cols.div_ceil(S::LANES);
        let most = TileTable::<S, T>::VECTORS;
        let (whole, rest) = strips(vectors, most, self.evenly);
        if whole > 0 && whole < vectors && self.a_is_far() {
            return self.tiles_in_one_pass(simd, whole, rest);
        }
        // Narrow tiles may be taller.
        if whole > 0 {
            self.tiles_of(simd, [0, whole], most);
        }
        if whole < vectors {
            self.tiles_of(simd, [whole, vectors], rest);
        }
    }

    /// The tiles of a range of vectors of columns, `wide` vectors each.
    fn tiles_of<S: Simd<T>>(&self, simd: S, [first, end]: [usize; 2], wide: usize) {
        let most = match self.packed[0] {
            true => TileTable::<S, T>::most_rows(wide, true),
            false => TileTable::<S, T>::rows_in_place(wide, self.a.strides[0]),
        };
        // Loop 2: panels of A.
        for (row, height) in panels(self.shape[0], most) {
            // Loop 1: panels of B.
            for vector in (first..end).step_by(wide) {
                self.any_tile_at(simd, [row, vector * S::LANES], [height, wide]);
            }
        }
    }

    /// Whether A does not stay in the second-level cache beside B: a second pass would fetch it again.
    fn a_is_far(&self) -> bool {
        let [rows, _, k] = self.shape;
        rows.saturating_mul(k).saturating_mul(size_of::<T>()) > caches().l2 / 4
    }

    /// The same for all columns: `whole` vectors of them in the widest tiles, the others in tiles of `rest`.
    fn tiles_in_one_pass<S: Simd<T>>(&self, simd: S, whole: usize, rest: usize) {
        let (most, vectors) = (TileTable::<S, T>::VECTORS, self.shape[1].div_ceil(S::LANES));
        for (row, height) in panels(self.shape[0], TileTable::<S, T>::ROWS) {
            for vector in (0..whole).step_by(most) {
                self.any_tile_at(simd, [row, vector * S::LANES], [height, most]);
            }
            for vector in (whole..vectors).step_by(rest) {
                self.tile_at(simd, [row, vector * S::LANES], [height, rest]);
            }
        }
    }
}
