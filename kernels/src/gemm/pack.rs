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
use super::microkernel::TileTable;
use super::plan::Operand;
use crate::simd::{Float, Kernel, Simd};

/// Packs rows of A into panels of the heights that the tiles will have.
pub(super) fn pack_rows<S: Simd<E::Sum>, E: Element>(
    simd: S,
    a: Operand<E>,
    [rows, steps]: [usize; 2],
    to: *mut E::Sum,
) -> Operand<E::Sum> {
    for (row, height) in panels(rows, TileTable::<S, E::Sum>::ROWS) {
        simd.call(Panel {
            from: a.at(row, 0),
            lane_stride: a.strides[0],
            step_stride: a.strides[1],
            lanes: height,
            width: height,
            steps,
            to: to.wrapping_add(row * steps),
        });
    }
    Operand { start: to, strides: [0, 0] }
}

/// Packs columns of B into panels of the widths that the tiles will have.
pub(super) fn pack_columns<S: Simd<E::Sum>, E: Element>(
    simd: S,
    b: Operand<E>,
    [steps, cols]: [usize; 2],
    to: *mut E::Sum,
) -> Operand<E::Sum> {
    for (vector, vectors) in strips(cols.div_ceil(S::LANES), TileTable::<S, E::Sum>::VECTORS) {
        let col = vector * S::LANES;
        let width = vectors * S::LANES;
        simd.call(Panel {
            from: b.at(0, col),
            lane_stride: b.strides[1],
            step_stride: b.strides[0],
            lanes: width.min(cols - col),
            width,
            steps,
            to: to.wrapping_add(col * steps),
        });
    }
    Operand { start: to, strides: [0, 0] }
}

/// A panel to pack: `lanes x steps` values, written step by step.
pub(super) struct Panel<E: Element> {
    /// The value of lane 0 at step 0.
    pub(super) from: *const E,
    /// Distance between lanes (columns of B, rows of A).
    pub(super) lane_stride: usize,
    /// Distance between steps of k.
    pub(super) step_stride: usize,
    /// Lanes that exist.
    pub(super) lanes: usize,
    /// Lanes per step in the packed panel; those beyond `lanes` become zero.
    pub(super) width: usize,
    /// Steps of k.
    pub(super) steps: usize,
    /// Where `width * steps` values go.
    pub(super) to: *mut E::Sum,
}

impl<E: Element> Kernel<E::Sum> for Panel<E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        if self.lane_stride == 1 && E::IN_PLACE {
            self.copy_rows(simd);
        } else if self.lane_stride == 1 {
            self.widen_rows();
        } else if self.step_stride == 1 {
            self.transpose(simd);
        } else {
            self.copy_lanes(0);
        }
    }
}

impl<E: Element> Panel<E> {
    /// Lanes are neighbours: every step is a contiguous copy.
    #[inline(always)]
    fn copy_rows<S: Simd<E::Sum>>(&self, simd: S) {
        let (mut from, mut to) = (self.from.cast::<E::Sum>(), self.to);
        let whole = self.lanes / S::LANES * S::LANES;
        let tail = simd.tail(self.lanes - whole);
        let padded = simd.tail((self.width - whole).min(S::LANES));
        for _ in 0..self.steps {
            // SAFETY: the caller of the kernel vouches for both panels; `tail` ends at the last
            // lane that exists, `padded` at the end of the packed step.
            unsafe {
                for lane in (0..whole).step_by(S::LANES) {
                    simd.store_ptr(simd.load_ptr(from.add(lane)), to.add(lane));
                }
                if whole < self.width {
                    simd.store_tail(
                        simd.load_tail(from.wrapping_add(whole), tail),
                        to.add(whole),
                        padded,
                    );
                }
            }
            from = from.wrapping_add(self.step_stride);
            to = to.wrapping_add(self.width);
        }
    }

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
