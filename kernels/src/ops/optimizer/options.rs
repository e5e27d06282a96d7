//! What all steps have: what is done to a gradient first, and how state is rounded.

use super::check;
use super::state::Bits;
use crate::error::Result;
use crate::simd::{Float, MOST_LANES, Simd};

/// What every step does beside its rule, in the same pass over memory. A gradient `g` enters the step
/// as `factor g`, cut to [-limit, limit].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Multiplies gradients; finite. One over the scale of a loss, times the
    /// [`clip_factor`](crate::clip_factor) of gradients that are clipped by their norm.
    pub factor: f64,
    /// The largest magnitude of a gradient after that, above 0; infinite for none. NaN stays NaN.
    pub limit: f64,
    /// How new state is rounded to `bf16`, where it is kept so; state of the parameters' type is not.
    pub rounding: StateRounding,
}

impl Default for StepOptions {
    /// Gradients as they are, state to the nearest.
    fn default() -> Self {
        Self { factor: 1.0, limit: f64::INFINITY, rounding: StateRounding::Nearest }
    }
}

/// How state is rounded to `bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateRounding {
    /// To the nearest, ties to even. An average that a step moves by less than half a unit, 2^-9 of
    /// it, stands still: averages of squares with a decay of 0.999 do.
    #[default]
    Nearest,
    /// Up or down at random, so that the mean of the result is the value: small steps add up. Which
    /// way is a function of `seed`, `step`, the number of the tensor in its list and the position of
    /// the element in the tensor, for the same bits on any path and any number of threads.
    Stochastic {
        /// Any number.
        seed: u64,
        /// The number of the step, so that every step rounds anew.
        step: u64,
    },
}

/// [`StepOptions`] as the kernels take them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared<T> {
    factor: T,
    limit: T,
    noise: Option<u64>,
}

impl StepOptions {
    /// The options, if they are in their domains.
    pub(super) fn prepare<T: Float>(&self, what: &str) -> Result<Prepared<T>> {
        let factor = T::from_f64(self.factor);
        let expected = format_args!("a finite value in {}", T::NAME);
        check(factor.is_finite(), format_args!("{what} gradient factor"), expected, self.factor)?;
        let limit = T::from_f64(self.limit);
        let expected = format_args!("a value above 0 in {}", T::NAME);
        check(limit > T::ZERO, format_args!("{what} gradient limit"), expected, self.limit)?;
        let noise = match self.rounding {
            StateRounding::Nearest => None,
            StateRounding::Stochastic { seed, step } => Some(mix(mix(seed) ^ step)),
        };
        Ok(Prepared { factor, limit, noise })
    }
}

impl<T: Float> Prepared<T> {
    /// The gradient that enters the rule.
    #[inline(always)]
    pub(super) fn gradient<S: Simd<T>>(&self, simd: S, g: S::V) -> S::V {
        let g = simd.mul(g, simd.splat(self.factor));
        // The second operand wins where it is NaN.
        let g = simd.min(simd.splat(self.limit), g);
        simd.max(simd.splat(-self.limit), g)
    }

    /// The random numbers of tensor `number`.
    pub(super) fn noise(&self, number: usize) -> Option<Noise> {
        self.noise.map(|key| Noise { key: mix(key ^ number as u64) })
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014) behind its increment.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Random numbers by position: a hash of 32 bits (Wellons's `lowbias32`) with a key in its middle,
/// which vectors of any width compute alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    key: u64,
}

impl Noise {
    /// 16 bits for slot `slot` of the state at each of `width` positions from `first` on: the lower or
    /// the upper half of what the position has.
    #[inline(always)]
    pub(super) fn bits(self, first: u64, slot: usize, width: usize) -> Bits {
        let mut all = [0; 2 * MOST_LANES];
        let last = first + (width as u64 - 1);
        if first >> 32 == last >> 32 {
            let key = self.key_at(first);
            for (i, bits) in all[..width].iter_mut().enumerate() {
                *bits = hash(key, (first as u32).wrapping_add(i as u32)) >> (16 * slot) & 0xFFFF;
            }
        } else {
            for (i, bits) in all[..width].iter_mut().enumerate() {
                let at = first + i as u64;
                *bits = hash(self.key_at(at), at as u32) >> (16 * slot) & 0xFFFF;
            }
        }
        all
    }

    /// The key at position `at`, whose upper half, 0 but in gigantic tensors, moves it.
    #[inline(always)]
    fn key_at(self, at: u64) -> u64 {
        self.key ^ (at >> 32).wrapping_mul(0xD1B5_4A32_D192_ED03)
    }
}

/// The random number of the lower half of a position.
#[inline(always)]
fn hash(key: u64, at: u32) -> u32 {
    let mut x = at.wrapping_add(key as u32);
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = (x ^ (key >> 32) as u32).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests have no tensors of 2^32 elements, but positions they have.
    #[test]
    fn numbers_follow_their_position_across_its_upper_half() {
        let noise = Noise { key: mix(5) };
        let border = 1u64 << 32;
        let across = noise.bits(border - 3, 1, 8);
        let before = noise.bits(border - 8, 1, 8);
        let behind = noise.bits(border, 1, 8);
        assert_eq!((&across[..3], &across[3..8]), (&before[5..8], &behind[..5]));
        assert_ne!(behind, noise.bits(0, 1, 8));
        assert_ne!(behind, noise.bits(border, 0, 8));
    }
}
