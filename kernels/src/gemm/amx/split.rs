//! Packing for tiles of numbers that are sums of bf16: as for bf16, but for each step of a panel there
//! are two tiles of every part, first parts first, and a pair holds steps that lie 16 apart.
//!
//! ```text
//!   A: row 0  [k0 k16][k1 k17] ... [k15 k31]     B: k0 k16  [b00 b16,0][b01 b16,1] ...
//!   A: row 1  [k0 k16][k1 k17] ... [k15 k31]     B: k1 k17  [b10 b17,0][b11 b17,1] ...
//! ```
//!
//! Behind its steps a panel has a [`Guard`] for each block of k.

use super::guard::Guard;
use super::operand::{Scheme, Tiled, Vector};
use super::pack::{PackPanels, WholePanels};
use super::tile::{ABREAST, LANES, PAIRS, SIDE, STEPS};
use crate::dispatch::Amx;
use crate::simd::{Kernel, Simd};

/// Panels of 32 lanes of numbers in `PARTS` parts, and their guards.
pub(super) struct SplitPanels<E: Tiled, const PARTS: usize, const BY_LANE: bool> {
    pub(super) amx: Amx,
    pub(super) panels: PackPanels<E, BY_LANE>,
    /// From the start of a panel to its guard.
    pub(super) guard: usize,
}

/// Packs panels by the scheme.
#[inline(always)]
pub(super) fn pack_split<E: Tiled, const BY_LANE: bool>(
    amx: Amx,
    scheme: Scheme,
    panels: PackPanels<E, BY_LANE>,
    guard: usize,
) {
    let simd = amx.vectors();
    match scheme {
        Scheme::One => Simd::<f32>::call(simd, WholePanels { amx, panels }),
        Scheme::Three | Scheme::Four => {
            Simd::<f32>::call(simd, SplitPanels::<E, 2, BY_LANE> { amx, panels, guard });
        }
        Scheme::Six => {
            Simd::<f32>::call(simd, SplitPanels::<E, 3, BY_LANE> { amx, panels, guard });
        }
    }
}

impl<E: Tiled, const PARTS: usize, const BY_LANE: bool> Kernel<f32>
    for SplitPanels<E, PARTS, BY_LANE>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, _simd: S) {
        let [lanes, steps] = self.panels.shape;
        let (sixteens, steps) = (lanes.div_ceil(LANES) * ABREAST, steps.div_ceil(STEPS));
        for panel in 0..sixteens / ABREAST {
            // SAFETY: as in `widen_guard`.
            unsafe { (*self.guard(panel)).clear() };
        }
        // In the order in which the operand lies in memory.
        if self.lanes_are_neighbours() {
            for step in 0..steps {
                for sixteen in 0..sixteens {
                    let largest = self.tile_across(sixteen, step);
                    self.widen_guard(sixteen, largest);
                }
            }
        } else {
            for sixteen in 0..sixteens {
                let mut largest = [self.zero(); SIDE];
                for step in 0..steps {
                    self.tile_along(sixteen, step, &mut largest);
                }
                Simd::<f32>::transpose(self.amx.vectors(), &mut largest);
                let mut all = self.zero();
                for v in largest {
                    all = self.larger(all, v);
                }
                self.widen_guard(sixteen, all);
            }
        }
        for panel in 0..sixteens / ABREAST {
            // SAFETY: as in `widen_guard`.
            let odd = unsafe { (*self.guard(panel)).close() };
            for lane in (0..LANES).filter(|lane| odd >> lane & 1 == 1) {
                self.keep_bits(panel, lane, steps);
            }
        }
    }
}

impl<E: Tiled, const PARTS: usize, const BY_LANE: bool> SplitPanels<E, PARTS, BY_LANE> {
    #[inline(always)]
    fn zero(&self) -> Vector {
        Simd::<f32>::zero(self.amx.vectors())
    }

    #[inline(always)]
    fn larger(&self, all: Vector, v: Vector) -> Vector {
        self.amx.vectors().larger(all, v)
    }

    fn lanes_are_neighbours(&self) -> bool {
        self.panels.from.strides[0] == 1 && self.panels.from.strides[1] != 1
    }

    #[inline(always)]
    fn guard(&self, panel: usize) -> *mut Guard {
        self.panels.to.wrapping_add(panel * self.panels.stride + self.guard).cast()
    }

    /// Tells a guard of larger magnitudes of sixteen lanes, if they are larger.
    #[inline(always)]
    fn widen_guard(&self, sixteen: usize, largest: Vector) {
        // SAFETY: the caller of the kernel vouches for a guard there, which nobody else uses now and
        // whose bits are all valid.
        let guard = unsafe { &mut *self.guard(sixteen / ABREAST) };
        let all = self.larger(guard.largest(sixteen % ABREAST), largest);
        guard.keep(sixteen % ABREAST, all);
    }

    /// The first part of a tile of so many sixteens of lanes and steps of 32.
    #[inline(always)]
    fn tile(&self, sixteen: usize, step: usize) -> *mut u32 {
        let [panel, beside] = [sixteen / ABREAST, sixteen % ABREAST];
        let tiles = (self.panels.first + step) * PARTS * ABREAST + beside;
        self.panels.to.wrapping_add(panel * self.panels.stride + tiles * PAIRS)
    }

    /// Splits one row of a tile.
    #[inline(always)]
    fn store(&self, tile: *mut u32, row: usize, [low, high]: [Vector; 2]) {
        let simd = self.amx.vectors();
        for (i, part) in simd.parts::<PARTS>(low, high).into_iter().enumerate() {
            let to = tile.wrapping_add(i * ABREAST * PAIRS + row * SIDE);
            // SAFETY: the caller of the kernel vouches for whole tiles of all parts.
            unsafe { Simd::<f32>::store_ptr(simd, part, to.cast()) };
        }
    }

    /// A tile of lanes that are neighbours: vectors run across them.
    #[inline(always)]
    fn tile_across(&self, sixteen: usize, step: usize) -> Vector {
        let mut largest = self.zero();
        let to = self.tile(sixteen, step);
        let mut squares = [[self.zero(); SIDE]; 2];
        let [lows, highs] = &mut squares;
        for (i, (low, high)) in lows.iter_mut().zip(highs).enumerate() {
            let at = step * STEPS + i;
            let rows = [self.lanes_at(sixteen, at), self.lanes_at(sixteen, at + SIDE)];
            largest = self.larger(self.larger(largest, rows[0]), rows[1]);
            if BY_LANE {
                [*low, *high] = rows;
            } else {
                self.store(to, i, rows);
            }
        }
        if BY_LANE {
            self.store_turned(to, squares);
        }
        largest
    }

    /// A tile of any other lanes: vectors run along them.
    #[inline(always)]
    fn tile_along(&self, sixteen: usize, step: usize, largest: &mut [Vector; SIDE]) {
        let to = self.tile(sixteen, step);
        let mut squares = [[self.zero(); SIDE]; 2];
        for i in 0..SIDE {
            let lane = sixteen * SIDE + i;
            let at = step * STEPS;
            let rows = [self.steps_of(lane, at), self.steps_of(lane, at + SIDE)];
            largest[i] = self.larger(self.larger(largest[i], rows[0]), rows[1]);
            if BY_LANE {
                self.store(to, i, rows);
            } else {
                [squares[0][i], squares[1][i]] = rows;
            }
        }
        if !BY_LANE {
            self.store_turned(to, squares);
        }
    }

    #[inline(always)]
    fn store_turned(&self, to: *mut u32, mut squares: [[Vector; SIDE]; 2]) {
        for square in &mut squares {
            Simd::<f32>::transpose(self.amx.vectors(), square);
        }
        let [lows, highs] = squares;
        for (i, rows) in lows.into_iter().zip(highs).enumerate() {
            self.store(to, i, rows.into());
        }
    }

    /// Sixteen neighbouring lanes at a step, then zeros.
    #[inline(always)]
    fn lanes_at(&self, sixteen: usize, step: usize) -> Vector {
        if step >= self.panels.shape[1] {
            return self.zero();
        }
        let lane = sixteen * SIDE;
        let exist = self.panels.shape[0].saturating_sub(lane).min(SIDE);
        self.vector(lane, step, [exist, 1])
    }

    /// Sixteen steps of a lane, then zeros.
    #[inline(always)]
    fn steps_of(&self, lane: usize, step: usize) -> Vector {
        let [lanes, steps] = self.panels.shape;
        if lane >= lanes {
            return self.zero();
        }
        self.vector(lane, step, [steps.saturating_sub(step).min(SIDE), self.panels.from.strides[1]])
    }

    /// So many elements from a lane and a step on, at a distance from each other, then zeros.
    #[inline(always)]
    fn vector(&self, lane: usize, step: usize, [count, distance]: [usize; 2]) -> Vector {
        let from = self.panels.from.at(lane, step);
        if count == SIDE && distance == 1 {
            // SAFETY: sixteen neighbours that exist.
            return unsafe { E::vector(self.amx, from) };
        }
        let mut values = [0.0; SIDE];
        for (i, value) in values[..count].iter_mut().enumerate() {
            // SAFETY: one of the elements that exist.
            *value = unsafe { *from.wrapping_add(i * distance) }.widen();
        }
        Simd::<f32>::load(self.amx.vectors(), &values)
    }

    /// Writes the two halves of the bits of a lane's values as its first two parts, and no third.
    #[cold]
    fn keep_bits(&self, panel: usize, lane: usize, steps: usize) {
        let exists = self.panels.shape[0] > panel * LANES + lane;
        for at in 0..steps * STEPS {
            let value = if exists && at < self.panels.shape[1] {
                // SAFETY: an element that exists.
                unsafe { *self.panels.from.at(panel * LANES + lane, at) }.widen()
            } else {
                0.0
            };
            let bits = value.to_bits();
            let to = self.tile(panel * ABREAST + lane / SIDE, at / STEPS);
            for (part, half) in [bits >> 16, bits & 0xFFFF, 0].into_iter().take(PARTS).enumerate() {
                let place = place::<BY_LANE>(part, lane % SIDE, at % STEPS);
                // SAFETY: a half of a pair of this tile.
                unsafe { *to.cast::<u16>().wrapping_add(place) = half as u16 };
            }
        }
    }
}

/// Where the part of the value of a lane at a step lies behind the start of its tile, in halves.
pub(super) fn place<const BY_LANE: bool>(part: usize, lane: usize, step: usize) -> usize {
    let pair = step % SIDE;
    let [row, column] = if BY_LANE { [lane, pair] } else { [pair, lane] };
    2 * (part * ABREAST * PAIRS + row * SIDE + column) + step / SIDE
}
