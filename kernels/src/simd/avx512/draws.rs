//! Random numbers by position, 16 or 8 at once.

use std::arch::x86_64::*;

use super::{Avx512, registers};
use crate::simd::draws::{Draws, MULTIPLIERS, STEPS};

impl Avx512 {
    /// Where 16 draws are below `limit`.
    #[inline(always)]
    pub(super) fn sixteen_below(self, draws: Draws, position: u32, limit: u32) -> __mmask16 {
        // SAFETY: the steps are 16 words; features as in `registers`.
        let steps = unsafe { _mm512_loadu_si512(STEPS.as_ptr().cast()) };
        registers!({
            let x = _mm512_add_epi32(self.sixteen(draws.start(position)), steps);
            let x = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
            let x = _mm512_xor_si512(
                _mm512_mullo_epi32(x, self.sixteen(MULTIPLIERS[0])),
                self.sixteen(draws.middle),
            );
            let x = _mm512_xor_si512(x, _mm512_srli_epi32::<13>(x));
            let x = _mm512_mullo_epi32(x, self.sixteen(MULTIPLIERS[1]));
            let x = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
            _mm512_cmplt_epu32_mask(x, self.sixteen(limit))
        })
    }

    /// Where 8 draws are below `limit`.
    #[inline(always)]
    pub(super) fn eight_below(self, draws: Draws, position: u32, limit: u32) -> __mmask8 {
        // SAFETY: the steps are more than 8 words; features as in `registers`.
        let steps = unsafe { _mm256_loadu_si256(STEPS.as_ptr().cast()) };
        registers!({
            let x = _mm256_add_epi32(self.eight(draws.start(position)), steps);
            let x = _mm256_xor_si256(x, _mm256_srli_epi32::<16>(x));
            let x = _mm256_xor_si256(
                _mm256_mullo_epi32(x, self.eight(MULTIPLIERS[0])),
                self.eight(draws.middle),
            );
            let x = _mm256_xor_si256(x, _mm256_srli_epi32::<13>(x));
            let x = _mm256_mullo_epi32(x, self.eight(MULTIPLIERS[1]));
            let x = _mm256_xor_si256(x, _mm256_srli_epi32::<16>(x));
            _mm256_cmplt_epu32_mask(x, self.eight(limit))
        })
    }

    #[inline(always)]
    fn sixteen(self, x: u32) -> __m512i {
        registers!(_mm512_set1_epi32(x as i32))
    }

    #[inline(always)]
    fn eight(self, x: u32) -> __m256i {
        registers!(_mm256_set1_epi32(x as i32))
    }
}
