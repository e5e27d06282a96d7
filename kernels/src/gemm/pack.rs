//! Packing: copying a block of an operand into panels that the tiles read in order.
//!
//! ```text
//!   B block, kc x nc                     packed, one panel after another
//!   +-------+-------+---+                step 0: [ w values ] step 1: [ w values ] ...
//!   | panel | panel | p |   kc steps     a panel is `width` lanes wide, padded with zeros to
//!   |   0   |   1   | 2 |                whole vectors; A is packed the same way, sideways
//!   +-------+-------+---+
//! ```
//!
//! Halves are widened on the way, so that the tiles see sums only.

use super::blocking::{panels, strips};
use super::element::Element;
use super::plan::Operand;
use super::tile_table::TileTable;
use crate::simd::{Float, Kernel, Simd};

/// Packs rows of A into panels of the heights that the tiles will have; where they are `fresh`, only those
/// that are not as high as the largest tile: that one packs [`on_the_way`](super::on_the_way).
pub(super) fn pack_rows<S: Simd<E::Sum>, E: Element>(
    simd: S,
    a: Operand<E>,
    [rows, steps]: [usize; 2],
    to: *mut E::Sum,
    fresh: bool,
) -> Operand<E::Sum> {
    let lanes = Lanes { from: a.start, strides: a.strides, steps, to };
    let most = TileTable::<S, E::Sum>::ROWS;
    let panels = panels(rows, most).filter(|&(_, height)| !(fresh && height == most));
    lanes.pack(simd, panels.map(|(row, height)| [row, height, height]));
    Operand { start: to, strides: [0, 0] }
}

/// Packs columns of B into panels of the widths that the tiles will have: of [`strips`] cut `evenly`; where
/// they are `fresh`, only those that are not as wide as the largest tile.
pub(super) fn pack_columns<S: Simd<E::Sum>, E: Element>(
    simd: S,
    b: Operand<E>,
    [steps, cols]: [usize; 2],
    to: *mut E::Sum,
    [evenly, fresh]: [bool; 2],
) -> Operand<E::Sum> {
    let [step_stride, lane_stride] = b.strides;
    let lanes = Lanes { from: b.start, strides: [lane_stride, step_stride], steps, to };
    let (most, vectors) = (TileTable::<S, E::Sum>::VECTORS, cols.div_ceil(S::LANES));
    let (whole, rest) = strips(vectors, most, evenly);
    let full = if fresh { whole.min(cols / TileTable::<S, E::Sum>::COLS * most) } else { 0 };
    let wide = (full..whole).step_by(most).map(|vector| (vector, most));
    let narrow = (whole..vectors).step_by(rest.max(1)).map(|vector| (vector, rest));
    lanes.pack(
        simd,
        wide.chain(narrow).map(|(vector, vectors)| {
            let (first, width) = (vector * S::LANES, vectors * S::LANES);
            [first, width.min(cols - first), width]
        }),
    );
    Operand { start: to, strides: [0, 0] }
}

/// Panels that are packed side by side: their steps lie in one stretch of the operand, which memory
/// serves faster than as many short ones, each on a page of its own.
const SIDE_BY_SIDE: usize = 32;

/// Lanes of a block to be packed: columns of B or rows of A.
struct Lanes<E: Element> {
    /// The value of lane 0 at step 0.
    from: *const E,
    /// Distance between lanes, and between steps.
    strides: [usize; 2],
    /// Steps of k.
    steps: usize,
    /// Where the panels go, one after the other.
    to: *mut E::Sum,
}

impl<E: Element> Lanes<E> {
    /// Packs `panels`: first lane, lanes that exist, and lanes per step with padding, which becomes
    /// zero. All but the last have no padding.
    #[inline(always)]
    fn pack<S: Simd<E::Sum>>(&self, simd: S, mut panels: impl Iterator<Item = [usize; 3]>) {
        if self.strides[0] != 1 || !E::IN_PLACE {
            for panel in panels {
                simd.call(self.panel(panel));
            }
            return;
        }
        let mut next = panels.next();
        while let Some([first, lanes, width]) = next {
            let mut count = 1;
            next = panels.next();
            while count < SIDE_BY_SIDE && next.is_some_and(|next| next[1..] == [lanes, width]) {
                count += 1;
                next = panels.next();
            }
            simd.call(SideBySide { lanes: self, first, count, size: [lanes, width] });
        }
    }

    fn panel(&self, [first, lanes, width]: [usize; 3]) -> Panel<E> {
        let [lane_stride, step_stride] = self.strides;
        Panel {
            from: self.from.wrapping_add(first * lane_stride),
            lane_stride,
            step_stride,
            lanes,
            width,
            steps: self.steps,
            to: self.to.wrapping_add(first * self.steps),
        }
    }
}

/// Panels of one size whose lanes are neighbours: every step of each is a contiguous copy.
struct SideBySide<'a, E: Element> {
    lanes: &'a Lanes<E>,
    /// The first lane.
    first: usize,
    /// How many panels.
    count: usize,
    /// Lanes of a panel, and the same with padding.
    size: [usize; 2],
}

impl<E: Element> Kernel<E::Sum> for SideBySide<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let Lanes { strides: [_, step_stride], steps, to, .. } = *self.lanes;
        let [lanes, width] = self.size;
        let whole = lanes / S::LANES * S::LANES;
        let (rest, padded) = (simd.tail(lanes - whole), simd.tail((width - whole).min(S::LANES)));
        let mut from = self.lanes.from.cast::<E::Sum>().wrapping_add(self.first);
        let mut to = to.wrapping_add(self.first * steps);
        for _ in 0..steps {
            let (mut from_panel, mut to_panel) = (from, to);
            for _ in 0..self.count {
                // SAFETY: the caller of `pack` vouches for the lanes and for the room of the panels;
                // `rest` ends at the last lane that exists, `padded` at the end of the packed step.
                unsafe {
                    for lane in (0..whole).step_by(S::LANES) {
                        simd.store_ptr(simd.load_ptr(from_panel.add(lane)), to_panel.add(lane));
                    }
                    if whole < width {
                        let values = simd.load_tail(from_panel.wrapping_add(whole), rest);
                        simd.store_tail(values, to_panel.add(whole), padded);
                    }
                }
                from_panel = from_panel.wrapping_add(lanes);
                to_panel = to_panel.wrapping_add(width * steps);
            }
            from = from.wrapping_add(step_stride);
            to = to.wrapping_add(width);
        }
    }
}

/// A panel to pack: `lanes x steps` values, written step by step.
struct Panel<E: Element> {
    /// The value of lane 0 at step 0.
    from: *const E,
    /// Distance between lanes (columns of B, rows of A).
    lane_stride: usize,
    /// Distance between steps of k.
    step_stride: usize,
    /// Lanes that exist.
    lanes: usize,
    /// Lanes per step in the packed panel; those beyond `lanes` become zero.
    width: usize,
    /// Steps of k.
    steps: usize,
    /// Where `width * steps` values go.
    to: *mut E::Sum,
}

impl<E: Element> Kernel<E::Sum> for Panel<E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        if self.lane_stride == 1 {
            self.widen_rows();
        } else if self.step_stride == 1 {
            self.transpose(simd);
        } else {
            self.copy_lanes(0);
        }
    }
}

impl<E: Element> Panel<E> {
    /// Lanes are neighbours: every step is widened in one loop, which the compiler makes vectors of.
    #[inline(always)]
    fn widen_rows(&self) {
        for step in 0..self.steps {
            let from = self.from.wrapping_add(step * self.step_stride);
            let to = self.to.wrapping_add(step * self.width);
            // SAFETY: the caller of the kernel vouches for both panels; only lanes that exist are
            // read.
            unsafe {
                for lane in 0..self.lanes {
                    *to.add(lane) = (*from.add(lane)).widen();
                }
                to.add(self.lanes).write_bytes(0, self.width - self.lanes);
            }
        }
    }

    /// Steps are neighbours: square blocks of vectors are turned in registers.
    #[inline(always)]
    fn transpose<S: Simd<E::Sum>>(&self, simd: S) {
        /// The widest vector has this many lanes.
        const MOST: usize = 16;
        let blocks = self.steps / S::LANES * S::LANES;
        for lane in (0..self.width).step_by(S::LANES) {
            let exist = self.lanes.saturating_sub(lane).min(S::LANES);
            let fit = simd.tail((self.width - lane).min(S::LANES));
            for step in (0..blocks).step_by(S::LANES) {
                let mut square = [simd.zero(); MOST];
                for (i, row) in square.iter_mut().enumerate().take(exist) {
                    // SAFETY: lane `lane + i` exists, and LANES steps from `step` on.
                    *row = unsafe {
                        let from = self.from.add((lane + i) * self.lane_stride + step);
                        if E::IN_PLACE { simd.load_ptr(from.cast()) } else { widened(simd, from) }
                    };
                }
                simd.transpose(&mut square[..S::LANES]);
                for (i, row) in square.iter().enumerate().take(S::LANES) {
                    // SAFETY: inside the packed panel; `fit` ends with its step.
                    unsafe {
                        simd.store_tail(*row, self.to.add((step + i) * self.width + lane), fit);
                    }
                }
            }
        }
        self.copy_lanes(blocks);
    }

    /// Any strides, from `first_step` on.
    #[inline(always)]
    fn copy_lanes(&self, first_step: usize) {
        for step in first_step..self.steps {
            for lane in 0..self.width {
                // SAFETY: the caller of the kernel vouches for both panels; only lanes that exist
                // are read.
                unsafe {
                    let value = if lane < self.lanes {
                        (*self.from.add(lane * self.lane_stride + step * self.step_stride)).widen()
                    } else {
                        E::Sum::ZERO
                    };
                    *self.to.add(step * self.width + lane) = value;
                }
            }
        }
    }
}

/// A vector of elements from `from` on, widened.
///
/// # Safety
/// `LANES` elements must be readable.
#[inline(always)]
unsafe fn widened<E: Element, S: Simd<E::Sum>>(simd: S, from: *const E) -> S::V {
    /// The widest vector has this many lanes.
    const MOST: usize = 16;
    let mut lanes = [E::Sum::ZERO; MOST];
    for (i, lane) in lanes[..S::LANES].iter_mut().enumerate() {
        // SAFETY: the caller vouches for LANES elements.
        *lane = unsafe { *from.add(i) }.widen();
    }
    simd.load(&lanes)
}
