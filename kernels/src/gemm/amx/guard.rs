//! What keeps split numbers within the range of their parts.
//!
//! Tiles take subnormal numbers for zero and so do they leave them, and parts of infinities are NaN. So
//! every lane (row of A, column of B) has its largest magnitude in a block of k beside it. Where that of a
//! row and that of a column are both moderate, and so is their product, what tiles lose is below
//! 2^-42 of that product for each step. Where they are not, the sum of that element over that block is
//! computed in `f32`, as vectors would: from the same panels, which keep the bits of values in lanes
//! that are not moderate. Whether that is so depends on the row and the column alone.

use super::super::driver::Block;
use super::super::plan::Operand;
use super::operand::{MOST_STEPS, Scheme, Vector};
use super::split::place;
use super::tile::{ABREAST, LANES, PAIRS, SIDE, SQUARE, STEPS};
use crate::simd::{Kernel, Simd};

/// Largest magnitudes of lanes that are split.
const MODERATE: [f32; 2] = [power_of_two(-80), power_of_two(100)];
/// Products of two of them: of which parts of parts are normal, and thousands of which do not overflow.
const MODERATE_PRODUCT: [f32; 2] = [power_of_two(-80), power_of_two(110)];

const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// What is known of a block of a panel.
#[repr(C, align(64))]
pub(super) struct Guard {
    /// The largest magnitude of each lane, NaN where it is not moderate.
    largest: [f32; LANES],
    /// The least and the largest of those that are not zero; NaN if one is NaN.
    least_and_most: [f32; 2],
    unused: [f32; 14],
}

/// A guard in pairs of halves.
pub(super) const GUARD: usize = size_of::<Guard>() / 4;

impl Guard {
    pub(super) fn clear(&mut self) {
        self.largest = [0.0; LANES];
    }

    /// The largest magnitudes of sixteen lanes so far.
    #[inline(always)]
    pub(super) fn largest(&self, sixteen: usize) -> Vector {
        // SAFETY: sixteen floats, half of the lanes; a guard lies where tiles are, so vectors exist.
        unsafe { self.largest.as_ptr().add(sixteen * SIDE).cast::<Vector>().read_unaligned() }
    }

    #[inline(always)]
    pub(super) fn keep(&mut self, sixteen: usize, largest: Vector) {
        // SAFETY: as in `largest`.
        unsafe {
            self.largest.as_mut_ptr().add(sixteen * SIDE).cast::<Vector>().write_unaligned(largest);
        }
    }

    /// All lanes have been seen. Gives the set of those that are not moderate.
    pub(super) fn close(&mut self) -> u32 {
        let (mut odd, mut ends) = (0, [f32::INFINITY, 0.0]);
        for (i, largest) in self.largest.iter_mut().enumerate() {
            if *largest != 0.0 && !within(*largest, MODERATE) {
                *largest = f32::NAN;
                odd |= 1 << i;
            } else if *largest != 0.0 {
                ends = [ends[0].min(*largest), ends[1].max(*largest)];
            }
        }
        self.least_and_most = if odd == 0 { ends } else { [f32::NAN; 2] };
        odd
    }

    /// Whether all elements may be summed in tiles.
    pub(super) fn allows_all(&self, b: &Self) -> bool {
        let [least, most] = std::array::from_fn(|i| self.least_and_most[i] * b.least_and_most[i]);
        least >= MODERATE_PRODUCT[0] && most <= MODERATE_PRODUCT[1]
    }

    /// Whether an element may be summed in tiles.
    fn allows(&self, b: &Self, [i, j]: [usize; 2]) -> bool {
        let [a, b] = [self.largest[i], b.largest[j]];
        !(a.is_nan() || b.is_nan()) && (a == 0.0 || b == 0.0 || within(a * b, MODERATE_PRODUCT))
    }
}

fn within(x: f32, [least, most]: [f32; 2]) -> bool {
    least <= x && x <= most
}

/// A block of a panel, packed, and its guard.
#[derive(Clone, Copy)]
pub(super) struct Guarded<'a> {
    pub(super) tiles: *const u32,
    pub(super) guard: &'a Guard,
}

/// Replaces the sums that tiles may not take.
pub(super) struct Repair<'a> {
    pub(super) scheme: Scheme,
    pub(super) a: Guarded<'a>,
    pub(super) b: Guarded<'a>,
    /// Steps of 32, at most twice [`MOST_STEPS`].
    pub(super) steps: usize,
    /// Four tiles of sums.
    pub(super) sums: *mut f32,
}

impl Kernel<f32> for Repair<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let k = self.steps * STEPS;
        let mut a = [0.0; 2 * LANES * MOST_STEPS * STEPS];
        let mut b = [0.0; 2 * LANES * MOST_STEPS * STEPS];
        self.unpack::<true>(&mut a);
        self.unpack::<false>(&mut b);
        let mut sums = [0.0_f32; SQUARE];
        let block = Block {
            a: Operand { start: a.as_ptr(), strides: [k, 1] },
            b: Operand { start: b.as_ptr(), strides: [LANES, 1] },
            c: Operand { start: sums.as_mut_ptr().cast_const(), strides: [LANES, 1] },
            shape: [LANES, LANES, k],
            packed: [false; 2],
            fresh: [None; 2],
            evenly: true,
            origin: [0; 2],
            scale: [1.0, 0.0],
            finish: None,
            leave: None,
        };
        block.tiles(simd);
        for i in 0..LANES {
            for j in 0..LANES {
                if !self.a.guard.allows(self.b.guard, [i, j]) {
                    let tile = i / SIDE * ABREAST + j / SIDE;
                    let at = tile * PAIRS + i % SIDE * SIDE + j % SIDE;
                    // SAFETY: one of the sums of a square.
                    unsafe { *self.sums.wrapping_add(at) = sums[i * LANES + j] };
                }
            }
        }
    }
}

impl Repair<'_> {
    /// The values of a panel, lane by lane (of A) or step by step (of B).
    fn unpack<const BY_LANE: bool>(&self, to: &mut [f32]) {
        let (k, panel) = (self.steps * STEPS, if BY_LANE { self.a } else { self.b });
        for lane in 0..LANES {
            let as_bits = panel.guard.largest[lane].is_nan();
            for step in 0..k {
                let tile = step / STEPS * self.scheme.pairs() + lane / SIDE * PAIRS;
                let tile = panel.tiles.wrapping_add(tile).cast::<u16>();
                let parts = [0, 1, 2].map(|part| {
                    if part >= self.scheme.parts() {
                        return 0;
                    }
                    let at = place::<BY_LANE>(part, lane % SIDE, step % STEPS);
                    // SAFETY: a half of a pair of a packed tile.
                    u32::from(unsafe { *tile.wrapping_add(at) })
                });
                let [first, second, third] = parts.map(|half| f32::from_bits(half << 16));
                let value = if as_bits {
                    f32::from_bits(parts[0] << 16 | parts[1])
                } else {
                    first + (second + third)
                };
                to[if BY_LANE { lane * k + step } else { step * LANES + lane }] = value;
            }
        }
    }
}

/// `to <- to + more` over so many times four lines of sums, or none where that is not positive.
pub(super) struct AddSquare {
    pub(super) more: *const f32,
    pub(super) to: *mut f32,
    pub(super) left: isize,
}

impl AddSquare {
    /// Sums in four lines.
    pub(super) const LINES: usize = 4 * SIDE;

    pub(super) fn new(more: *const f32, to: *mut f32) -> Self {
        Self { more, to, left: (SQUARE / Self::LINES) as isize }
    }

    /// Nothing to add: the address is one of zeros, over as much as comes by.
    pub(super) fn nothing(idle: *mut f32) -> Self {
        Self { more: idle, to: idle, left: 0 }
    }
}

impl Kernel<f32> for AddSquare {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        for at in (0..self.left.max(0) as usize * Self::LINES).step_by(S::LANES) {
            // SAFETY: both squares are scratch memory of this thread.
            unsafe {
                let to = self.to.wrapping_add(at);
                let more = simd.load_ptr(self.more.wrapping_add(at));
                simd.store_ptr(simd.add(simd.load_ptr(to), more), to);
            }
        }
    }
}
