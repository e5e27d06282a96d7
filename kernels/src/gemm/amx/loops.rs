//! The loops around the tiles, over one rectangle of C on one thread.

use half::bf16;

use super::super::blocking::even_pieces;
use super::super::driver::Region;
use super::super::plan::{Operand, Problem, Source};
use super::Room;
use super::finish::FinishStrip;
use super::pack::{PackColumns, PackRows};
use super::tile::{ABREAST, COLS, PAIRS, SIDE, STEPS, STRIP, Strip, Tiles};
use crate::simd::Simd;

/// The loops over one region.
pub(super) struct Loops<'a, S> {
    pub(super) simd: S,
    pub(super) tiles: Tiles,
    pub(super) region: &'a Region<'a, bf16>,
    pub(super) room: Room,
    /// Where A and B are packed.
    pub(super) packed: [*mut u32; 2],
    pub(super) sums: *mut f32,
}

/// First panel of A, first panel of B, first step of a block, and how many of them.
type Place = [(usize, usize); 3];

/// Packed panels of an operand.
#[derive(Clone, Copy)]
struct Panels {
    start: *const u32,
    /// Pairs from panel to panel.
    stride: usize,
    /// Steps of each panel that come before those of the block.
    first: usize,
}

impl Panels {
    /// The block's first tile of panel `i`, of panels of so many tiles side by side.
    fn tile(&self, i: usize, abreast: usize) -> *const u32 {
        self.start.wrapping_add(i * self.stride + self.first * abreast * PAIRS)
    }
}

impl<S: Simd<f32>> Loops<'_, S> {
    /// The three outer loops.
    pub(super) fn blocks(&self) {
        let [rows, cols, steps] = self.room.region;
        for row in even_pieces(rows, self.room.block[0]) {
            for col in even_pieces(cols, self.room.block[1]) {
                // An empty k has one empty block, which scales C.
                let empty = (steps == 0).then_some((0, 0));
                for step in even_pieces(steps, self.room.block[2]).chain(empty) {
                    let place = [row, col, step];
                    self.block(place, [self.panels_of_a(place), self.panels_of_b(place)]);
                }
            }
        }
    }

    /// The block's panels of A, packed now or for an earlier block.
    fn panels_of_a(&self, [row, col, step]: Place) -> Panels {
        let Problem { a, shape: [rows, _, k], .. } = self.region.problem;
        let whole = self.room.whole[0];
        let [first, steps] =
            if whole { [step.0, self.room.region[2]] } else { [0, self.room.block[2]] };
        let stride = steps * PAIRS;
        if col.0 == 0 || !whole {
            let at = [row.0 * SIDE, step.0 * STEPS];
            self.simd.call(PackRows {
                a: Operand { start: a.at(at[0], at[1]), ..a },
                shape: [(row.1 * SIDE).min(rows - at[0]), (step.1 * STEPS).min(k - at[1])],
                to: self.packed[0].wrapping_add(first * PAIRS),
                stride,
            });
        }
        Panels { start: self.packed[0], stride, first }
    }

    /// The block's panels of B, packed now, for an earlier block or by the caller.
    fn panels_of_b(&self, [row, col, step]: Place) -> Panels {
        let Problem { b, shape: [_, cols, k], .. } = self.region.problem;
        if let Source::Prepacked(steps) = self.region.packing.b {
            let stride = steps / 2 * COLS;
            let panel = self.region.origin[1] / COLS + col.0;
            let start = b.start.cast::<u32>().wrapping_add(panel * stride);
            return Panels { start, stride, first: step.0 };
        }
        let whole = self.room.whole[1];
        let [panel, first, steps] =
            if whole { [col.0, step.0, self.room.region[2]] } else { [0, 0, self.room.block[2]] };
        let stride = steps * ABREAST * PAIRS;
        let to = self.packed[1].wrapping_add(panel * stride);
        if row.0 == 0 || !whole {
            let at = [step.0 * STEPS, col.0 * COLS];
            self.simd.call(PackColumns {
                b: Operand { start: b.at(at[0], at[1]), ..b },
                shape: [(step.1 * STEPS).min(k - at[0]), (col.1 * COLS).min(cols - at[1])],
                to,
                stride,
                first,
            });
        }
        Panels { start: to, stride, first }
    }

    /// The two inner loops: one block of each operand.
    fn block(&self, [row, col, step]: Place, [a, b]: [Panels; 2]) {
        let Problem { c, shape: [rows, cols, _], ref store, .. } = self.region.problem;
        let origin = self.region.origin;
        let begins = step.0 == 0;
        let ends = step.0 + step.1 == self.room.region[2];
        let alone = begins && ends;
        // What is stored as it was summed can go to C at once.
        let raw = store.is_plain() && store.scale(true) == [1.0, 0.0];
        for j in 0..col.1 {
            let at_col = (col.0 + j) * COLS;
            let width = COLS.min(cols - at_col);
            let abreast = width.div_ceil(SIDE);
            for i in 0..row.1 {
                let at = [(row.0 + i) * SIDE, at_col];
                let height = SIDE.min(rows - at[0]);
                let strip = if alone { 0 } else { i * self.room.block[1] + j };
                let sums = self.sums.wrapping_add(strip * STRIP);
                let part = Operand { start: c.at(at[0], at[1]), ..c };
                let is_whole = [height, width] == [SIDE, abreast * SIDE];
                let direct = ends && raw && c.strides[1] == 1 && is_whole;
                let (to, to_stride) =
                    if direct { (part.start.cast_mut(), c.strides[0]) } else { (sums, COLS) };
                let strip = Strip {
                    a: a.tile(i, 1),
                    a_strides: [4 * SIDE, 4 * PAIRS],
                    b: b.tile(j, abreast),
                    steps: step.1,
                    sums: if begins { std::ptr::null() } else { sums },
                    sums_stride: 4 * COLS,
                    to,
                    to_stride: 4 * to_stride,
                };
                // SAFETY: the panels were packed in whole tiles; the sums have room for whole
                // strips; C is written directly only where it has all of the tile's elements.
                unsafe { self.tiles.sum(&strip, abreast) };
                if ends && !direct {
                    let at = [origin[0] + at[0], origin[1] + at[1]];
                    let shape = [height, width];
                    self.simd.call(FinishStrip { store, sums, c: part, shape, at });
                }
            }
        }
    }
}
