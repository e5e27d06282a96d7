//! The loops around the tiles, over one rectangle of C on one thread.

use super::super::blocking::even_pieces;
use super::super::plan::{Operand, Problem, Source};
use super::super::region::Region;
use super::finish::{FinishTile, StreamSquare};
use super::guard::{GUARD, Guarded};
use super::operand::{Scheme, Tiled};
use super::pack::PackPanels;
use super::room::Room;
use super::split::pack_split;
use super::tile::{ABREAST, LANES, PAIRS, SIDE, SQUARE, STEPS, Square, Tiles};
use crate::dispatch::Amx;
use crate::simd::{Simd, Streaming};

/// The loops over one region.
pub(super) struct Loops<'a, S, E: Tiled> {
    pub(super) amx: Amx,
    pub(super) simd: S,
    pub(super) tiles: Tiles,
    pub(super) scheme: Scheme,
    pub(super) region: &'a Region<'a, E>,
    pub(super) room: Room,
    /// Where A and B are packed.
    pub(super) packed: [*mut u32; 2],
    pub(super) sums: *mut f32,
}

/// A block: which panels of A, of B and steps, the first and how many; and which block of k.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) row: (usize, usize),
    pub(super) col: (usize, usize),
    pub(super) step: (usize, usize),
    pub(super) depth: usize,
}

/// Packed panels of an operand.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) start: *const u32,
    /// Pairs from panel to panel.
    pub(super) stride: usize,
    /// Pairs of a step, for every tile side by side.
    pairs: usize,
    /// Steps of each panel that come before those of the block.
    pub(super) first: usize,
    /// Pairs of a panel that come before the guard of the block.
    pub(super) guard: usize,
}

impl Panels {
    /// The block's first tile of panel `i`, of panels of so many tiles side by side.
    pub(super) fn tile(&self, i: usize, abreast: usize) -> *const u32 {
        self.start.wrapping_add(i * self.stride + self.first * abreast * self.pairs)
    }

    /// The same with the guard behind the panel.
    ///
    /// # Safety
    /// The panels must have guards.
    pub(super) unsafe fn guarded<'a>(&self, i: usize) -> Guarded<'a> {
        let guard = self.start.wrapping_add(i * self.stride + self.guard);
        // SAFETY: as promised by the caller; nothing is written there while a block is multiplied.
        Guarded { tiles: self.tile(i, ABREAST), guard: unsafe { &*guard.cast() } }
    }
}

impl<S: Simd<f32>, E: Tiled> Loops<'_, S, E> {
    /// The three outer loops.
    pub(super) fn blocks(&self) {
        let leave = self.region.streams.then(Streaming::new);
        let [rows, cols, steps] = self.room.region;
        for row in even_pieces(rows, self.room.block[0]) {
            for col in even_pieces(cols, self.room.block[1]) {
                // An empty k has one empty block, which scales C.
                let empty = (steps == 0).then_some((0, 0));
                let depths = even_pieces(steps, self.room.block[2]).chain(empty);
                for (depth, step) in depths.enumerate() {
                    let place = Place { row, col, step, depth };
                    let panels = [self.panels_of_a(place), self.panels_of_b(place)];
                    if self.scheme == Scheme::One {
                        self.block(place, panels, leave.as_ref());
                    } else {
                        self.block_of_parts(place, panels);
                    }
                }
            }
        }
    }

    /// The block's panels from `start` on, which have so many steps in all, and where in them it lies.
    fn panels(&self, start: *const u32, steps: usize, [first, depth]: [usize; 2]) -> Panels {
        let pairs = self.scheme.parts() * PAIRS;
        let stride = self.room.panel(steps);
        let guard = steps * ABREAST * pairs + depth * GUARD;
        Panels { start, stride, pairs, first, guard }
    }

    /// Those from `panel` on of an operand that was packed as a whole.
    fn of_whole(&self, operand: Operand<E>, steps: usize, panel: usize, place: Place) -> Panels {
        let whole = self.panels(operand.start.cast(), steps / STEPS, [place.step.0, place.depth]);
        Panels { start: whole.start.wrapping_add(panel * whole.stride), ..whole }
    }

    /// The block's panels of A, packed now, for an earlier block or by the caller. Those of parts are packed one
    /// by one, when their turn comes.
    fn panels_of_a(&self, place: Place) -> Panels {
        let Place { row, col, step, depth } = place;
        let Problem { a, shape: [rows, _, k], .. } = self.region.problem;
        if let Source::Prepacked(steps) = self.region.packing.a {
            return self.of_whole(a, steps, self.region.origin[0] / LANES + row.0, place);
        }
        let whole = self.room.whole[0];
        let (first, steps) = if whole {
            ([step.0, depth], self.room.region[2])
        } else {
            ([0, 0], self.room.block[2])
        };
        let (to, panels) = (self.packed[0], self.panels(self.packed[0], steps, first));
        if self.scheme != Scheme::One {
            return if whole { panels } else { Panels { stride: 0, ..panels } };
        }
        if col.0 == 0 || !whole {
            let at = [row.0 * LANES, step.0 * STEPS];
            let shape = [(row.1 * LANES).min(rows - at[0]), (step.1 * STEPS).min(k - at[1])];
            let from = Operand { start: a.at(at[0], at[1]), ..a };
            let work = PackPanels { from, shape, to, stride: panels.stride, first: first[0] };
            pack_split::<E, true>(self.amx, self.scheme, work, panels.guard);
        }
        panels
    }

    /// The block's panels of B, packed now, for an earlier block or by the caller.
    fn panels_of_b(&self, place: Place) -> Panels {
        let Place { row, col, step, depth } = place;
        let Problem { b, shape: [_, cols, k], .. } = self.region.problem;
        if let Source::Prepacked(steps) = self.region.packing.b {
            return self.of_whole(b, steps, self.region.origin[1] / LANES + col.0, place);
        }
        let whole = self.room.whole[1];
        let (panel, first, steps) = if whole {
            (col.0, [step.0, depth], self.room.region[2])
        } else {
            (0, [0, 0], self.room.block[2])
        };
        let to = self.packed[1].wrapping_add(panel * self.room.panel(steps));
        let panels = self.panels(to, steps, first);
        if row.0 == 0 || !whole {
            let at = [col.0 * LANES, step.0 * STEPS];
            let shape = [(col.1 * LANES).min(cols - at[0]), (step.1 * STEPS).min(k - at[1])];
            let from = Operand { start: b.at(at[1], at[0]), ..b }.t();
            let work = PackPanels { from, shape, to, stride: panels.stride, first: first[0] };
            pack_split::<E, false>(self.amx, self.scheme, work, panels.guard);
        }
        panels
    }

    /// The two inner loops: one block of each operand.
    fn block(
        &self,
        Place { row, col, step, .. }: Place,
        [a, b]: [Panels; 2],
        leave: Option<&Streaming>,
    ) {
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
                let direct =
                    ends && raw && leave.is_none() && shape == tiles.map(|count| count * SIDE);
                let (to, strides) = if direct {
                    let row = size_of::<f32>() * c.strides[0];
                    (c.at(at[0], at[1]).cast_mut(), [row, 4 * SIDE, SIDE * row])
                } else {
                    (sums, [4 * SIDE, 4 * PAIRS, 8 * PAIRS])
                };
                let from = if begins { std::ptr::null() } else { sums };
                let (a, b) = (a.tile(i, tiles[0]), b.tile(j, tiles[1]));
                let square = Square { a, b, steps: step.1, sums: from, to, strides };
                // SAFETY: panels were packed in whole tiles; the sums have room for whole squares;
                // C is written directly only where it has all elements of the tiles.
                unsafe { self.tiles.sum(&square, tiles) };
                if let Some(leave) = leave.filter(|_| ends) {
                    let (alpha, c) = (store.alpha, Operand { start: c.at(at[0], at[1]), ..c });
                    self.simd.call(StreamSquare { alpha, sums, c, shape, leave });
                } else if ends {
                    self.end((!direct).then_some(sums), at, shape);
                }
            }
        }
    }

    /// What comes after the last block of k: `sums` go to C, if they are not there, and are measured.
    pub(super) fn end(&self, sums: Option<*mut f32>, at: [usize; 2], shape: [usize; 2]) {
        if let Some(sums) = sums {
            self.finish(sums, at, shape);
        }
        let Problem { c, ref store, .. } = self.region.problem;
        let origin = self.region.origin;
        let c = Operand { start: c.at(at[0], at[1]), ..c };
        store.measure(self.simd, c, [origin[0] + at[0], origin[1] + at[1]], shape);
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
