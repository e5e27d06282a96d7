//! Packing for tiles: an operand is cut into squares of 16 lanes (rows of A, columns of B) by 32
//! steps of k, each of which becomes a tile of 1 KiB, padded with zeros.
//!
//! ```text
//!   A: 16 rows of 16 pairs of steps        B: 16 pairs of steps of 16 columns
//!   row 0  [k0 k1][k2 k3] ... [k30 k31]    k0 k1    [b00 b10][b01 b11] ... [b0F b1F]
//!   row 1  [k0 k1][k2 k3] ... [k30 k31]    k2 k3    [b20 b30][b21 b31] ... [b2F b3F]
//! ```

use half::bf16;

use super::super::plan::Operand;
use super::operand::{Room, Tiled};
use super::tile::{ABREAST, PAIRS, SIDE, STEPS};
use crate::simd::{Kernel, Simd};

/// Panels of 32 lanes, one after the other, each with its two tiles of a step side by side. The last
/// panel has as many as it needs. `BY_LANE`: rows of a tile are lanes, as in A; otherwise they are
/// pairs of steps.
pub(super) struct PackPanels<E, const BY_LANE: bool> {
    /// `strides[0]` from lane to lane, `strides[1]` from step to step.
    pub(super) from: Operand<E>,
    /// Lanes and steps that exist.
    pub(super) shape: [usize; 2],
    pub(super) to: *mut u32,
    /// Pairs from panel to panel.
    pub(super) stride: usize,
    /// Steps of a panel, in tiles, that come before these.
    pub(super) first: usize,
}

impl<E: Tiled, const BY_LANE: bool> Kernel<f32> for PackPanels<E, BY_LANE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let [lanes, steps] = self.shape.map(|size| size.div_ceil(SIDE));
        let steps = steps.div_ceil(2);
        // In the order in which the operand lies in memory.
        if self.from.strides[0] == 1 {
            for step in 0..steps {
                for lane in 0..lanes {
                    self.tile(simd, lane, step);
                }
            }
        } else {
            for lane in 0..lanes {
                for step in 0..steps {
                    self.tile(simd, lane, step);
                }
            }
        }
    }
}

impl<E: Tiled, const BY_LANE: bool> PackPanels<E, BY_LANE> {
    /// The tile of so many sixteens of lanes and steps of 32.
    #[inline(always)]
    fn tile<S: Simd<f32>>(&self, simd: S, lane: usize, step: usize) {
        let [lanes, steps] = self.shape;
        let panel = lane / ABREAST;
        let abreast = ABREAST.min(lanes.div_ceil(SIDE) - panel * ABREAST);
        let place = (self.first + step) * abreast + lane % ABREAST;
        let to = self.to.wrapping_add(panel * self.stride + place * PAIRS);
        let from = Operand { start: self.from.at(lane * SIDE, step * STEPS), ..self.from };
        let exist = [SIDE.min(lanes - lane * SIDE), STEPS.min(steps - step * STEPS)];
        let mut room = Room([bf16::ZERO; SIDE * STEPS]);
        let from = E::as_bf16(from, exist, &mut room);
        Lanes { from, exist: exist[0] }.square::<S, BY_LANE>(simd, exist[1], to);
    }
}

/// Sixteen lanes of an operand, of which some exist.
#[derive(Clone, Copy)]
struct Lanes {
    from: Operand<bf16>,
    exist: usize,
}

impl Lanes {
    /// One tile, of `steps` steps that exist. `BY_LANE`: its rows are lanes, as in A;
    /// otherwise they are pairs of steps.
    #[inline(always)]
    fn square<S: Simd<f32>, const BY_LANE: bool>(self, simd: S, steps: usize, to: *mut u32) {
        let Self { from, .. } = self;
        let [lane_stride, step_stride] = from.strides;
        let to: *mut f32 = to.cast();
        let lanes_are_neighbours = lane_stride == 1 && step_stride != 1;
        let whole = self.exist == SIDE && steps == STEPS;
        // The rows of the tile are where they come from: nothing to turn.
        if whole && lanes_are_neighbours && !BY_LANE {
            for pair in 0..SIDE {
                let row = interleaved(simd, from, pair, [SIDE, STEPS]);
                // SAFETY: the caller of the kernel vouches for a whole tile at `to`.
                unsafe { simd.store_ptr(row, to.wrapping_add(pair * SIDE)) };
            }
            return;
        }
        if whole && step_stride == 1 && BY_LANE {
            for lane in 0..SIDE {
                // SAFETY: as above; 32 halves, which are 16 values of 32 bits, exist in every lane.
                unsafe {
                    let row = simd.load_ptr(from.at(lane, 0).cast());
                    simd.store_ptr(row, to.wrapping_add(lane * SIDE));
                }
            }
            return;
        }
        let mut rows = [simd.zero(); SIDE];
        if lanes_are_neighbours {
            for (pair, row) in rows[..steps.div_ceil(2)].iter_mut().enumerate() {
                *row = interleaved(simd, from, pair, [self.exist, steps]);
            }
        } else {
            for (lane, row) in rows[..self.exist].iter_mut().enumerate() {
                *row = lane_of(simd, from, lane, steps);
            }
        }
        if lanes_are_neighbours == BY_LANE {
            simd.transpose(&mut rows);
        }
        for (i, &row) in rows.iter().enumerate() {
            // SAFETY: as above.
            unsafe { simd.store_ptr(row, to.wrapping_add(i * SIDE)) };
        }
    }
}

/// Steps `2 * pair` and the one after it of up to 16 neighbouring lanes, as pairs.
#[inline(always)]
fn interleaved<S: Simd<f32>>(
    simd: S,
    from: Operand<bf16>,
    pair: usize,
    [lanes, steps]: [usize; 2],
) -> S::V {
    let even = halves::<SIDE>(from.at(0, 2 * pair), lanes);
    let odd =
        if 2 * pair + 1 < steps { halves(from.at(0, 2 * pair + 1), lanes) } else { [0; SIDE] };
    let pairs: [u32; SIDE] = std::array::from_fn(|i| u32::from(even[i]) | u32::from(odd[i]) << 16);
    // SAFETY: 16 values of 32 bits; which type they have does not matter to a load.
    unsafe { simd.load_ptr(pairs.as_ptr().cast()) }
}

/// Up to 32 steps of a lane, as pairs.
#[inline(always)]
fn lane_of<S: Simd<f32>>(simd: S, from: Operand<bf16>, lane: usize, steps: usize) -> S::V {
    let start = from.at(lane, 0);
    if from.strides[1] == 1 && steps == STEPS {
        // SAFETY: 32 halves, which are 16 values of 32 bits, exist from `start` on.
        return unsafe { simd.load_ptr(start.cast()) };
    }
    let mut values = [0; STEPS];
    if from.strides[1] == 1 {
        values = halves(start, steps);
    } else {
        for (step, value) in values[..steps].iter_mut().enumerate() {
            // SAFETY: step `step` of lane `lane` exists.
            *value = unsafe { *from.at(lane, step) }.to_bits();
        }
    }
    // SAFETY: 32 halves, which are 16 values of 32 bits.
    unsafe { simd.load_ptr(values.as_ptr().cast()) }
}

/// The bits of `count` neighbours from `from` on, then zeros.
#[inline(always)]
fn halves<const N: usize>(from: *const bf16, count: usize) -> [u16; N] {
    let from = from.cast::<u16>();
    if count == N {
        // SAFETY: callers name neighbours that exist; no alignment is asked.
        return unsafe { from.cast::<[u16; N]>().read_unaligned() };
    }
    let mut values = [0; N];
    // SAFETY: callers name neighbours that exist, at most N.
    unsafe { values.as_mut_ptr().copy_from_nonoverlapping(from, count) };
    values
}
