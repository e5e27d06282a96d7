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
use super::operand::{Room, Tiled, Vector};
use super::tile::{ABREAST, PAIRS, SIDE, STEPS};
use crate::dispatch::Amx;
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

/// Packs panels of bf16, or of what is rounded to it.
pub(super) struct WholePanels<E, const BY_LANE: bool> {
    pub(super) amx: Amx,
    pub(super) panels: PackPanels<E, BY_LANE>,
}

impl<E: Tiled, const BY_LANE: bool> Kernel<f32> for WholePanels<E, BY_LANE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, _simd: S) {
        let Self { amx, panels } = self;
        let [lanes, steps] = panels.shape.map(|size| size.div_ceil(SIDE));
        let steps = steps.div_ceil(2);
        // In the order in which the operand lies in memory.
        if panels.from.strides[0] == 1 {
            for step in 0..steps {
                for lane in 0..lanes {
                    panels.tile(amx, lane, step);
                }
            }
        } else {
            for lane in 0..lanes {
                for step in 0..steps {
                    panels.tile(amx, lane, step);
                }
            }
        }
    }
}

impl<E: Tiled, const BY_LANE: bool> PackPanels<E, BY_LANE> {
    /// The tile of so many sixteens of lanes and steps of 32.
    #[inline(always)]
    fn tile(&self, amx: Amx, lane: usize, step: usize) {
        let [lanes, steps] = self.shape;
        let panel = lane / ABREAST;
        let abreast = ABREAST.min(lanes.div_ceil(SIDE) - panel * ABREAST);
        let place = (self.first + step) * abreast + lane % ABREAST;
        let to = self.to.wrapping_add(panel * self.stride + place * PAIRS);
        let from = Operand { start: self.from.at(lane * SIDE, step * STEPS), ..self.from };
        let exist = [SIDE.min(lanes - lane * SIDE), STEPS.min(steps - step * STEPS)];
        let mut room = Room([bf16::ZERO; SIDE * STEPS]);
        let from = E::as_bf16(from, exist, &mut room);
        Lanes { from, exist: exist[0] }.square::<BY_LANE>(amx, exist[1], to);
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
    fn square<const BY_LANE: bool>(self, amx: Amx, steps: usize, to: *mut u32) {
        let whole = self.exist == SIDE && steps == STEPS;
        // Two copies with known sizes: no masks, and nothing to ask in the loops.
        match (self.from.strides[0] == 1 && self.from.strides[1] != 1, whole) {
            (true, true) => self.filled::<BY_LANE, true>(amx, [SIDE, STEPS], to),
            (true, false) => self.filled::<BY_LANE, true>(amx, [self.exist, steps], to),
            (false, true) => self.filled::<BY_LANE, false>(amx, [SIDE, STEPS], to),
            (false, false) => self.filled::<BY_LANE, false>(amx, [self.exist, steps], to),
        }
    }

    /// The same of lanes that are `NEIGHBOURS`, or of steps that may be.
    #[inline(always)]
    fn filled<const BY_LANE: bool, const NEIGHBOURS: bool>(
        self,
        amx: Amx,
        exist: [usize; 2],
        to: *mut u32,
    ) {
        let (simd, to) = (amx.vectors(), to.cast::<f32>());
        if NEIGHBOURS != BY_LANE {
            // The rows of the tile are where they come from: nothing to turn.
            for i in 0..SIDE {
                let row = self.run::<NEIGHBOURS>(amx, exist, i);
                // SAFETY: the caller of the kernel vouches for a whole tile at `to`.
                unsafe { Simd::<f32>::store_ptr(simd, row, to.wrapping_add(i * SIDE)) };
            }
            return;
        }
        let mut rows = [Simd::<f32>::zero(simd); SIDE];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.run::<NEIGHBOURS>(amx, exist, i);
        }
        Simd::<f32>::transpose(simd, &mut rows);
        for (i, &row) in rows.iter().enumerate() {
            // SAFETY: as above.
            unsafe { Simd::<f32>::store_ptr(simd, row, to.wrapping_add(i * SIDE)) };
        }
    }

    /// Run `i`: two steps of all lanes that are `NEIGHBOURS`, otherwise all steps of lane `i`; zeros where
    /// none are.
    #[inline(always)]
    fn run<const NEIGHBOURS: bool>(self, amx: Amx, [exist, steps]: [usize; 2], i: usize) -> Vector {
        let (simd, from) = (amx.vectors(), self.from);
        if NEIGHBOURS {
            let lanes = |step: usize| if step < steps { exist } else { 0 };
            let [even, odd] = [2 * i, 2 * i + 1].map(|step| (from.at(0, step), lanes(step)));
            // SAFETY: so many lanes of these steps exist.
            return unsafe { simd.interleaved([even, odd]) };
        }
        let start = from.at(i, 0);
        let steps = if i < exist { steps } else { 0 };
        if from.strides[1] == 1 {
            // SAFETY: so many steps of the lane exist.
            return unsafe { simd.load_few(start, steps) };
        }
        let mut values = [bf16::ZERO; STEPS];
        for (step, value) in values[..steps].iter_mut().enumerate() {
            // SAFETY: step `step` of lane `i` exists.
            *value = unsafe { *from.at(i, step) };
        }
        // SAFETY: 32 halves.
        unsafe { simd.load_few(values.as_ptr(), STEPS) }
    }
}
