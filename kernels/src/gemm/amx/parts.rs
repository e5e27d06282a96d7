//! The inner loops of numbers that are sums of parts.
//!
//! ```text
//!   depth: for each block of kc steps of k           pack B (kc x nc): it stays in the second level
//!     panel: for each panel of A (32 x kc)           pack it, if it is not
//!       tile: for each panel of B (kc x 32)          32 x 32 sums, added to those of earlier blocks
//! ```
//!
//! What is done with a square of sums happens while the next one is multiplied, or after that.

use super::super::plan::{Operand, Problem, Source};
use super::guard::{AddSquare, Guarded, Repair};
use super::loops::{Loops, Panels, Place};
use super::operand::{MOST_STEPS, Tiled};
use super::pack::PackPanels;
use super::split::pack_split;
use super::tile::{ABREAST, LANES, SIDE, SQUARE, STEPS};
use super::tile_split::{Meanwhile, Parts};
use crate::simd::Simd;

/// Squares for sums of one block, in turns.
const TURNS: usize = 2;
/// Squares of zeros: the longest block has eight lines added for each step, of which none may be left.
const IDLE: usize = (8 * SIDE * 2 * MOST_STEPS).div_ceil(SQUARE);
/// All that come before those of the sums.
pub(super) const SPARE: usize = TURNS + IDLE;

/// A square whose products are summed.
struct Behind {
    /// Where its sums are when they are added.
    sums: *mut f32,
    /// What is to be added there.
    more: Option<*const f32>,
    /// Where it lies in the region, if its sums are done, and its rows and columns.
    done: Option<[[usize; 2]; 2]>,
}

impl<S: Simd<f32>, E: Tiled> Loops<'_, S, E> {
    /// The zeros that are added to themselves where there is nothing to add.
    fn idle(&self) -> *mut f32 {
        self.sums.wrapping_add(TURNS * SQUARE)
    }

    /// Makes them zeros.
    pub(super) fn clear_idle(&self) {
        // SAFETY: the sums begin with the spare squares.
        unsafe { self.idle().write_bytes(0, IDLE * SQUARE) };
    }

    /// One block of each operand.
    pub(super) fn block_of_parts(&self, place: Place, [a, b]: [Panels; 2]) {
        let Place { row, col, step, .. } = place;
        let [rows, cols, _] = self.region.problem.shape;
        let begins = step.0 == 0;
        let ends = step.0 + step.1 == self.room.region[2];
        let mut behind: Option<Behind> = None;
        for i in 0..row.1 {
            self.pack_panel_of_a(place, i, &a);
            for j in 0..col.1 {
                let turn = self.sums.wrapping_add((i * col.1 + j) % TURNS * SQUARE);
                let kept = SPARE + i * self.room.block[1] + j;
                let kept = self.sums.wrapping_add(kept * SQUARE);
                let to = if begins && !ends { kept } else { turn };
                // SAFETY: parts are packed with guards.
                let panels = unsafe { [a.guarded(i), b.guarded(j)] };
                let share = j * 2 * step.1 * AddSquare::LINES;
                let next = a.tile(i + 1, ABREAST).wrapping_add(share);
                let ahead = [next, kept.wrapping_add(SQUARE).cast_const().cast()];
                self.sum_parts(panels, step.1, to, behind.as_ref(), ahead);
                self.complete(behind);
                let at = [row.0 + i, col.0 + j].map(|panel| panel * LANES);
                let shape = [LANES.min(rows - at[0]), LANES.min(cols - at[1])];
                let done = ends.then_some([at, shape]);
                behind = Some(if begins {
                    Behind { sums: to, more: None, done }
                } else {
                    Behind { sums: kept, more: Some(to), done }
                });
            }
        }
        if let Some(Behind { sums, more: Some(more), .. }) = behind {
            self.simd.call(AddSquare::new(more, sums));
        }
        self.complete(behind);
    }

    /// Packs panel `i` of the block of A, unless that was done.
    fn pack_panel_of_a(&self, place: Place, i: usize, panels: &Panels) {
        let Place { row, col, step, .. } = place;
        let Problem { a, shape: [rows, _, k], .. } = self.region.problem;
        let is_packed = self.room.whole[0] && col.0 > 0;
        if is_packed || matches!(self.region.packing.a, Source::Prepacked(_)) {
            return;
        }
        let at = [(row.0 + i) * LANES, step.0 * STEPS];
        let shape = [LANES.min(rows - at[0]), (step.1 * STEPS).min(k - at[1])];
        let from = Operand { start: a.at(at[0], at[1]), ..a };
        let to = panels.start.wrapping_add(i * panels.stride).cast_mut();
        let work = PackPanels { from, shape, to, stride: panels.stride, first: panels.first };
        pack_split::<E, true>(self.amx, self.scheme, work, panels.guard);
    }

    /// Sums products over a block of `steps` and adds the square before to those of earlier blocks. `ahead`:
    /// of the panel of A, and of the sums, that come next.
    fn sum_parts(
        &self,
        [a, b]: [Guarded<'_>; 2],
        steps: usize,
        to: *mut f32,
        behind: Option<&Behind>,
        ahead: [*const u32; 2],
    ) {
        let add = match behind {
            Some(&Behind { sums, more: Some(more), .. }) => AddSquare::new(more, sums),
            _ => AddSquare::nothing(self.idle()),
        };
        let work = Parts { a: a.tiles, b: b.tiles, steps, to };
        let meanwhile = Meanwhile { add, idle: self.idle(), ahead };
        let order = (self.scheme, self.region.problem.store.turned);
        // SAFETY: panels of parts are packed in pairs of whole tiles, and sums are whole squares; there are
        // zeros for as many steps as a block has.
        let left = unsafe { self.tiles.sum_parts(order, &work, meanwhile) };
        self.simd.call(left);
        if !a.guard.allows_all(b.guard) {
            self.simd.call(Repair { scheme: self.scheme, a, b, steps, sums: to });
        }
    }

    /// What comes after the last block of a square.
    fn complete(&self, square: Option<Behind>) {
        if let Some(Behind { sums, done: Some([at, shape]), .. }) = square {
            self.end(Some(sums), at, shape);
        }
    }
}
