//! `f32` vectors as sums of `bf16` ones.

use std::arch::x86_64::*;

use half::bf16;

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

    /// The first `count` of 32 halves from `from` on, as pairs, then zeros.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    pub(crate) unsafe fn load_few(self, from: *const bf16, count: usize) -> __m512 {
        let mask = ((1_u64 << count.min(32)) - 1) as u32;
        // SAFETY: the mask covers no more than `count` halves, readable as promised; masked ones are not read;
        // features as in `registers`.
        unsafe { _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, from.cast())) }
    }

    /// Pairs of halves from two runs of up to 16, each with zeros behind as many as there are.
    ///
    /// # Safety
    /// So many must be readable.
    #[inline(always)]
    pub(crate) unsafe fn interleaved(self, runs: [(*const bf16, usize); 2]) -> __m512 {
        let masks = runs.map(|(_, count)| ((1_u32 << count.min(16)) - 1) as u16);
        // SAFETY: the masks cover no more than exist, as promised; masked halves are not read; features as
        // in `registers`.
        unsafe {
            let even = _mm256_maskz_loadu_epi16(masks[0], runs[0].0.cast());
            let odd = _mm256_maskz_loadu_epi16(masks[1], runs[1].0.cast());
            let (even, odd) = (_mm512_cvtepu16_epi32(even), _mm512_cvtepu16_epi32(odd));
            _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)))
        }
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
