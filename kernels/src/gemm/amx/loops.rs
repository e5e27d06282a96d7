//! The loops around the tiles, over one rectangle of C on one thread.

use half::bf16;

use super::super::blocking::even_pieces;
use super::super::plan::{Operand, Problem, Source};
use super::super::region::Region;
use super::Room;
use super::finish::FinishTile;
use super::pack::PackPanels;
use super::tile::{ABREAST, LANES, PAIRS, SIDE, SQUARE, STEPS, Square, Tiles};
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
    /// Those from `panel` on of an operand that was packed as a whole, with so many steps, from step
    /// `first` on.
    fn of_whole(operand: Operand<bf16>, steps: usize, panel: usize, first: usize) -> Self {
        let stride = steps / 2 * LANES;
        let start = operand.start.cast::<u32>().wrapping_add(panel * stride);
        Self { start, stride, first }
    }

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

    /// The block's panels of A, packed now, for an earlier block or by the caller.
    fn panels_of_a(&self, [row, col, step]: Place) -> Panels {
        let Problem { a, shape: [rows, _, k], .. } = self.region.problem;
        if let Source::Prepacked(steps) = self.region.packing.a {
            return Panels::of_whole(a, steps, self.region.origin[0] / LANES + row.0, step.0);
        }
        let whole = self.room.whole[0];
        let [first, steps] =
            if whole { [step.0, self.room.region[2]] } else { [0, self.room.block[2]] };
        let (to, stride) = (self.packed[0], steps * ABREAST * PAIRS);
        if col.0 == 0 || !whole {
            let at = [row.0 * LANES, step.0 * STEPS];
            let shape = [(row.1 * LANES).min(rows - at[0]), (step.1 * STEPS).min(k - at[1])];
            let from = Operand { start: a.at(at[0], at[1]), ..a };
            self.simd.call(PackPanels::<true> { from, shape, to, stride, first });
        }
        Panels { start: to, stride, first }
    }

    /// The block's panels of B, packed now, for an earlier block or by the caller.
    fn panels_of_b(&self, [row, col, step]: Place) -> Panels {
        let Problem { b, shape: [_, cols, k], .. } = self.region.problem;
        if let Source::Prepacked(steps) = self.region.packing.b {
            return Panels::of_whole(b, steps, self.region.origin[1] / LANES + col.0, step.0);
        }
        let whole = self.room.whole[1];
        let [panel, first, steps] =
            if whole { [col.0, step.0, self.room.region[2]] } else { [0, 0, self.room.block[2]] };
        let stride = steps * ABREAST * PAIRS;
        let to = self.packed[1].wrapping_add(panel * stride);
        if row.0 == 0 || !whole {
            let at = [col.0 * LANES, step.0 * STEPS];
            let shape = [(col.1 * LANES).min(cols - at[0]), (step.1 * STEPS).min(k - at[1])];
            let from = Operand { start: b.at(at[1], at[0]), ..b }.t();
            self.simd.call(PackPanels::<false> { from, shape, to, stride, first });
        }
        Panels { start: to, stride, first }
    }

    /// The two inner loops: one block of each operand.
    fn block(&self, [row, col, step]: Place, [a, b]: [Panels; 2]) {
        let Problem { c, shape: [rows, cols, _], ref store, .. } = self.region.problem;
        let begins = step.0 == 0;
        let ends = step.0 + step.1 == self.room.region[2];
        // What is stored as it was summed can go to C at once.
        let raw = store.keeps_values() && store.scale(true) == [1.0, 0.0] && c.strides[1] == 1;
        for j in 0..col.1 {
            for i in 0..row.1 {
                let at = [row.0 + i, col.0 + j].map(|panel| panel * LANES);
                let shape = [LANES.min(rows - at[0]), LANES.min(cols - at[1])];
                let tiles = shape.map(|size| size.div_ceil(SIDE));
                let place = if begins && ends { 0 } else { i * self.room.block[1] + j };
                let sums = self.sums.wrapping_add(place * SQUARE);
                let direct = ends && raw && shape == tiles.map(|count| count * SIDE);
                let (to, strides) = if direct {
                    let row = size_of::<f32>() * c.strides[0];
                    (c.at(at[0], at[1]).cast_mut(), [row, 4 * SIDE, SIDE * row])
                } else {
                    (sums, [4 * SIDE, 4 * PAIRS, 8 * PAIRS])
                };
                let square = Square {
                    a: a.tile(i, tiles[0]),
                    b: b.tile(j, tiles[1]),
                    steps: step.1,
                    sums: if begins { std::ptr::null() } else { sums },
                    to,
                    strides,
                };
                // SAFETY: panels were packed in whole tiles; the sums have room for whole squares;
                // C is written directly only where it has all elements of the tiles.
                unsafe { self.tiles.sum(&square, tiles) };
                if ends && !direct {
                    self.finish(sums, at, shape);
                }
                if ends {
                    let origin = self.region.origin;
                    let c = Operand { start: c.at(at[0], at[1]), ..c };
                    let at = [origin[0] + at[0], origin[1] + at[1]];
                    store.measure(self.simd, c, at, shape);
                }
            }
        }
    }

    /// Makes of finished sums the part of C that starts at row and column `at` of the region.
    fn finish(&self, sums: *const f32, at: [usize; 2], [height, width]: [usize; 2]) {
        let Problem { c, ref store, .. } = self.region.problem;
        let origin = self.region.origin;
        for i in (0..height).step_by(SIDE) {
            for j in (0..width).step_by(SIDE) {
                let tile = i / SIDE * ABREAST + j / SIDE;
                self.simd.call(FinishTile {
                    store,
                    sums: sums.wrapping_add(tile * PAIRS),
                    c: Operand { start: c.at(at[0] + i, at[1] + j), ..c },
                    shape: [SIDE.min(height - i), SIDE.min(width - j)],
                    at: [origin[0] + at[0] + i, origin[1] + at[1] + j],
                });
            }
        }
    }
}
