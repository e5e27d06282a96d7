//! Random numbers by position, 8 or 4 at once.

use std::arch::x86_64::*;

use super::{Avx2, registers};
use crate::simd::draws::{Draws, MULTIPLIERS, STEPS};

/// What turns an order of unsigned numbers into one of signed numbers.
const SIGN: u32 = 1 << 31;

impl Avx2 {
    /// Where 8 draws are below `limit`.
    #[inline(always)]
    pub(super) fn eight_below(self, draws: Draws, position: u32, limit: u32) -> __m256i {
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
            _mm256_cmpgt_epi32(self.eight(limit ^ SIGN), _mm256_xor_si256(x, self.eight(SIGN)))
        })
    }

    /// Where 4 draws are below `limit`.
    #[inline(always)]
    pub(super) fn four_below(self, draws: Draws, position: u32, limit: u32) -> __m128i {
        // SAFETY: the steps are more than 4 words; features as in `registers`.
        let steps = unsafe { _mm_loadu_si128(STEPS.as_ptr().cast()) };
        registers!({
            let x = _mm_add_epi32(self.four(draws.start(position)), steps);
            let x = _mm_xor_si128(x, _mm_srli_epi32::<16>(x));
            let x = _mm_xor_si128(
                _mm_mullo_epi32(x, self.four(MULTIPLIERS[0])),
                self.four(draws.middle),
            );
            let x = _mm_xor_si128(x, _mm_srli_epi32::<13>(x));
            let x = _mm_mullo_epi32(x, self.four(MULTIPLIERS[1]));
            let x = _mm_xor_si128(x, _mm_srli_epi32::<16>(x));
            _mm_cmpgt_epi32(self.four(limit ^ SIGN), _mm_xor_si128(x, self.four(SIGN)))
        })
    }

    #[inline(always)]
    fn eight(self, x: u32) -> __m256i {
        registers!(_mm256_set1_epi32(x as i32))
    }

    #[inline(always)]
    fn four(self, x: u32) -> __m128i {
        registers!(_mm_set1_epi32(x as i32))
    }
}
