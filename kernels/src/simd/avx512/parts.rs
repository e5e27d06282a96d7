//! `f32` vectors as sums of `bf16` ones.

use std::arch::x86_64::*;

use super::{Avx512, registers};
use crate::simd::half::Half;

impl Avx512 {
    /// Two vectors in `PARTS` vectors of pairs of `bf16`, those of `low` in the lower halves: every part is
    /// what the parts before it left over, rounded to the nearest, halves away from zero. Three parts add up
    /// to the values exactly, where no part is subnormal; the last of two is the nearest to what is left.
    #[inline(always)]
    pub(crate) fn parts<const PARTS: usize>(self, low: __m512, high: __m512) -> [__m512; PARTS] {
        // Loops, no closures: those are functions of their own, which do not have the features.
        let (mut low, mut high) = (low, high);
        let mut parts = [low; PARTS];
        for (i, part) in parts.iter_mut().enumerate() {
            // What is left for a third part fits it, unless it is below all bf16: then the least of them,
            // so that nothing becomes zero that is not.
            let half = if i < 2 { 0x8000 } else { 0xFFFF };
            registers!({
                let (first, second) = (upper_half(low, half), upper_half(high, half));
                low = _mm512_sub_ps(low, _mm512_castsi512_ps(first));
                high = _mm512_sub_ps(high, _mm512_castsi512_ps(second));
                let pairs = _mm512_or_si512(_mm512_srli_epi32::<16>(first), second);
                *part = _mm512_castsi512_ps(pairs);
            });
        }
        parts
    }

    /// The larger magnitudes of lanes, NaN above all others.
    #[inline(always)]
    pub(crate) fn larger(self, magnitudes: __m512, v: __m512) -> __m512 {
        registers!({
            let bits = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(i32::MAX));
            _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(magnitudes), bits))
        })
    }

    /// 16 halves from `from` on, exactly.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    pub(crate) unsafe fn load_widened<H: Half>(self, from: *const H) -> __m512 {
        // SAFETY: as promised by the caller; no alignment is asked, and features as in `registers`.
        self.widen::<H>(unsafe { _mm256_loadu_si256(from.cast()) })
    }
}

/// A `bf16` in the upper half of each lane, zeros in the lower one: the nearest where `half` is half of its
/// last place, the next one away from zero where it is a bit less than all of it.
#[target_feature(enable = "avx512f")]
#[inline]
fn upper_half(v: __m512, half: i32) -> __m512i {
    let rounded = _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(half));
    _mm512_and_si512(rounded, _mm512_set1_epi32(-0x1_0000))
}
