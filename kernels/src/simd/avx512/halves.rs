//! Halves to `f32` vectors and back, 32 at once.

use std::arch::x86_64::*;

use super::{Avx512, registers};
use crate::simd::half::Half;

impl Avx512 {
    /// 16 halves, exactly.
    #[inline(always)]
    pub(super) fn widen<H: Half>(self, bits: __m256i) -> __m512 {
        if !H::IS_BRAIN {
            return registers!(_mm512_cvtph_ps(bits));
        }
        registers!({
            let v = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)));
            quieted(v)
        })
    }

    /// 16 halves, rounded.
    #[inline(always)]
    pub(super) fn narrow_one<H: Half>(self, v: __m512) -> __m256i {
        if !H::IS_BRAIN {
            return registers!(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
        registers!(_mm512_cvtepi32_epi16(upper_halves(v)))
    }

    /// 32 halves, rounded.
    #[inline(always)]
    pub(super) fn narrow<H: Half>(self, [a, b]: [__m512; 2]) -> __m512i {
        if !H::IS_BRAIN {
            return registers!({
                let low = _mm512_castsi256_si512(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a));
                _mm512_inserti64x4::<1>(low, _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(b))
            });
        }
        registers!({
            // Packing works within 128-bit lanes: even quarters from `a`, odd ones from `b`.
            let packed = _mm512_packus_epi32(upper_halves(a), upper_halves(b));
            _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed)
        })
    }
}

/// The same with NaN made quiet.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn quieted(v: __m512) -> __m512 {
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let bits = _mm512_castps_si512(v);
    _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, nan, bits, _mm512_set1_epi32(0x0040_0000)))
}

/// The nearest `bf16` in the lower half of each lane; see the portable `Half::narrow`. The
/// instruction that AVX512-BF16 has for this takes subnormal values for zero.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn upper_halves(v: __m512) -> __m512i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let rounded = _mm512_add_epi32(bits, bias);
    let chosen = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
    _mm512_srli_epi32::<16>(chosen)
}
