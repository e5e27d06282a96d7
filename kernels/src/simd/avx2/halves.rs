//! Halves to `f32` vectors and back, 16 at once; `f16` by F16C, which every CPU with AVX2 has.

use std::arch::x86_64::*;

use super::{Avx2, registers};
use crate::simd::half::Half;

impl Avx2 {
    /// 8 halves, exactly.
    #[inline(always)]
    pub(super) fn widen<H: Half>(self, bits: __m128i) -> __m256 {
        if !H::IS_BRAIN {
            return registers!(_mm256_cvtph_ps(bits));
        }
        registers!({
            let v = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)));
            quieted(v)
        })
    }

    /// 8 halves, rounded.
    #[inline(always)]
    pub(super) fn narrow_one<H: Half>(self, v: __m256) -> __m128i {
        if !H::IS_BRAIN {
            return registers!(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
        registers!({
            let halves = upper_halves(v);
            let high = _mm256_extracti128_si256::<1>(halves);
            _mm_packus_epi32(_mm256_castsi256_si128(halves), high)
        })
    }

    /// 16 halves, rounded.
    #[inline(always)]
    pub(super) fn narrow<H: Half>(self, [a, b]: [__m256; 2]) -> __m256i {
        if !H::IS_BRAIN {
            return registers!({
                let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a);
                let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(b);
                _mm256_set_m128i(high, low)
            });
        }
        registers!({
            // Packing works within 128-bit lanes: even quarters from `a`, odd ones from `b`.
            let packed = _mm256_packus_epi32(upper_halves(a), upper_halves(b));
            _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
        })
    }
}

/// The quiet bit of the lanes that are NaN.
#[target_feature(enable = "avx2")]
#[inline]
fn quiet_bits(v: __m256) -> __m256i {
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
    _mm256_and_si256(nan, _mm256_set1_epi32(0x0040_0000))
}

/// The same with NaN made quiet.
#[target_feature(enable = "avx2")]
#[inline]
fn quieted(v: __m256) -> __m256 {
    _mm256_or_ps(v, _mm256_castsi256_ps(quiet_bits(v)))
}

/// The nearest `bf16` in the lower half of each lane; see the portable `Half::narrow`.
#[target_feature(enable = "avx2")]
#[inline]
fn upper_halves(v: __m256) -> __m256i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v);
    let rounded = _mm256_castsi256_ps(_mm256_add_epi32(bits, bias));
    let chosen = _mm256_castps_si256(_mm256_blendv_ps(rounded, quieted(v), nan));
    _mm256_srli_epi32::<16>(chosen)
}
