//! `f32` vectors.

use std::arch::x86_64::*;

use half::bf16;

use super::{Avx512, enter, registers};
use crate::simd::{Draws, Half, Kernel, Simd, Streaming};

impl Simd<f32> for Avx512 {
    type V = __m512;
    type M = __mmask16;
    type Tail = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const FUSED: bool = true;
    const NAME: &'static str = "avx512";

    #[inline(always)]
    fn call<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        registers!(enter::<f32, K>(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        registers!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> __m512 {
        let src = &src[..16];
        // SAFETY: 16 readable elements; features as in `registers`.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, dst: &mut [f32]) {
        let dst = &mut dst[..16];
        // SAFETY: 16 writable elements; features as in `registers`.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn stream(self, v: __m512, dst: &mut [f32], _leave: &Streaming) {
        let dst = &mut dst[..16];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m512>()) {
            return self.store(v, dst);
        }
        // SAFETY: 16 writable elements, aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm512_stream_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_halves<H: Half>(self, src: &[H]) -> [__m512; 2] {
        let src = &src[..32];
        // SAFETY: 32 readable halves of two bytes each; features as in `registers`.
        let [low, high] = unsafe {
            let start = src.as_ptr().cast::<__m256i>();
            [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]
        };
        [self.widen::<H>(low), self.widen::<H>(high)]
    }
    #[inline(always)]
    fn store_halves<H: Half>(self, v: [__m512; 2], dst: &mut [H]) {
        let dst = &mut dst[..32];
        let bits = self.narrow::<H>(v);
        // SAFETY: 32 writable halves of two bytes each, for which all bits are valid; features as
        // in `registers`.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn stream_halves<H: Half>(self, v: [__m512; 2], dst: &mut [H], _leave: &Streaming) {
        let dst = &mut dst[..32];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m512>()) {
            return Simd::<f32>::store_halves(self, v, dst);
        }
        let bits = self.narrow::<H>(v);
        // SAFETY: as in `store_halves`, and aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it.
        unsafe { _mm512_stream_si512(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    unsafe fn load_pairs(self, src: *const bf16) -> [__m512; 2] {
        // SAFETY: 32 readable halves of two bytes each, as promised; features as in `registers`.
        unsafe {
            let pairs = _mm512_loadu_si512(src.cast());
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(-0x1_0000));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd)]
        }
    }
    #[inline(always)]
    fn load_half<H: Half>(self, src: &[H]) -> __m512 {
        let src = &src[..16];
        // SAFETY: 16 readable halves of two bytes each; features as in `registers`.
        let bits = unsafe { _mm256_loadu_si256(src.as_ptr().cast()) };
        self.widen::<H>(bits)
    }
    #[inline(always)]
    fn store_half<H: Half>(self, v: __m512, dst: &mut [H]) {
        let dst = &mut dst[..16];
        let bits = self.narrow_one::<H>(v);
        // SAFETY: 16 writable halves of two bytes each, for which all bits are valid; features as
        // in `registers`.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn stream_half<H: Half>(self, v: __m512, dst: &mut [H], _leave: &Streaming) {
        let dst = &mut dst[..16];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m256i>()) {
            return Simd::<f32>::store_half(self, v, dst);
        }
        let bits = self.narrow_one::<H>(v);
        // SAFETY: as in `store_half`, and aligned to a vector of them as just checked; the end of the
        // leave orders the store before any other thread is told of it.
        unsafe { _mm256_stream_si256(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn load_half_partial<H: Half>(self, src: &[H]) -> __m512 {
        let tail = Simd::<f32>::tail(self, src.len().min(16));
        // SAFETY: the mask covers no more than `src.len()` halves of two bytes each; masked ones are
        // not read; features as in `registers`.
        let bits = unsafe { _mm256_maskz_loadu_epi16(tail, src.as_ptr().cast()) };
        self.widen::<H>(bits)
    }
    #[inline(always)]
    fn store_half_partial<H: Half>(self, v: __m512, dst: &mut [H]) {
        let tail = Simd::<f32>::tail(self, dst.len().min(16));
        let bits = self.narrow_one::<H>(v);
        // SAFETY: the mask covers no more than `dst.len()` halves of two bytes each, for which all bits
        // are valid; masked ones are not written; features as in `registers`.
        unsafe { _mm256_mask_storeu_epi16(dst.as_mut_ptr().cast(), tail, bits) }
    }
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m512 {
        // SAFETY: the mask covers no more than `src.len()` elements; masked lanes are not read.
        unsafe { self.load_tail(src.as_ptr(), Simd::<f32>::tail(self, src.len().min(16))) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m512, dst: &mut [f32]) {
        let tail = Simd::<f32>::tail(self, dst.len().min(16));
        // SAFETY: the mask covers no more than `dst.len()` elements; masked lanes are not written.
        unsafe { self.store_tail(v, dst.as_mut_ptr(), tail) }
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: __m512, other: __m512) -> __m512 {
        registers!(_mm512_mask_blend_ps(Simd::<f32>::tail(self, count.min(16)), other, v))
    }
    #[inline(always)]
    fn tail(self, count: usize) -> __mmask16 {
        debug_assert!(count <= 16);
        ((1u32 << count) - 1) as __mmask16
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 readable elements; features as in `registers`.
        unsafe { _mm512_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m512, dst: *mut f32) {
        // SAFETY: the caller vouches for 16 writable elements; features as in `registers`.
        unsafe { _mm512_storeu_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, v: __m512, dst: *mut f32, _leave: &Streaming) {
        // SAFETY: the caller vouches for 16 writable elements, aligned to a vector; the end of the
        // leave orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm512_stream_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f32, tail: __mmask16) -> __m512 {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm512_maskz_loadu_ps(tail, src) }
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: __m512, dst: *mut f32, tail: __mmask16) {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm512_mask_storeu_ps(dst, tail, v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        registers!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        registers!(_mm512_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        registers!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        registers!(_mm512_abs_ps(a))
    }
    #[inline(always)]
    fn copy_sign(self, a: __m512, sign: __m512) -> __m512 {
        registers!({
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign))
        })
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        registers!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        registers!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn le(self, a: __m512, b: __m512) -> __mmask16 {
        registers!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        registers!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn is_nan(self, a: __m512) -> __mmask16 {
        registers!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a))
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_mask_blend_ps(mask, b, a))
    }
    #[inline(always)]
    fn any(self, mask: __mmask16) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        registers!(_mm512_scalef_ps(_mm512_set1_ps(1.0), n))
    }
    #[inline(always)]
    fn exponent(self, a: __m512) -> __m512 {
        registers!(_mm512_getexp_ps(a))
    }
    #[inline(always)]
    fn mantissa(self, a: __m512) -> __m512 {
        registers!(_mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(a))
    }
    #[inline(always)]
    fn scale_pow2(self, a: __m512, n: __m512) -> __m512 {
        registers!(_mm512_scalef_ps(a, n))
    }
    #[inline(always)]
    fn scale_normal(self, a: __m512, n: __m512) -> __m512 {
        registers!(_mm512_scalef_ps(a, n))
    }
    #[inline(always)]
    fn drawn_below(self, draws: Draws, position: u32, limit: u32) -> __mmask16 {
        self.sixteen_below(draws, position, limit)
    }
    #[inline(always)]
    fn transpose(self, square: &mut [__m512]) {
        let square = square.try_into().expect("a square of vectors");
        registers!(transpose(square))
    }
    #[inline(always)]
    fn sum_each(self, square: &mut [__m512]) -> __m512 {
        let square = (&*square).try_into().expect("a square of vectors");
        registers!(sum_each(square))
    }
    #[inline(always)]
    fn sum_lanes(self, a: __m512) -> f32 {
        registers!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn max_lanes(self, a: __m512) -> f32 {
        registers!(_mm512_reduce_max_ps(a))
    }
    #[inline(always)]
    fn prefetch(self, src: *const f32) {
        registers!(_mm_prefetch::<_MM_HINT_T0>(src.cast()))
    }
}

/// Turns a 16 x 16 square: pairs, then fours within 128-bit lanes, then the lanes themselves.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(square: &mut [__m512; 16]) {
    for rows in square.chunks_exact_mut(4) {
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1]));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1]));
        let low_next = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3]));
        let high_next = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3]));
        rows[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low_next));
        rows[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low_next));
        rows[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high_next));
        rows[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high_next));
    }
    // Vector 4g + c now holds rows 4g.. of columns c, 4 + c, 8 + c, 12 + c in its four lanes.
    let turned = *square;
    for c in 0..4 {
        let [a, b, d, e] = [turned[c], turned[4 + c], turned[8 + c], turned[12 + c]];
        let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(d, e)];
        let odd = [_mm512_shuffle_f32x4::<0xDD>(a, b), _mm512_shuffle_f32x4::<0xDD>(d, e)];
        square[c] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
        square[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
        square[8 + c] = _mm512_shuffle_f32x4::<0xDD>(even[0], even[1]);
        square[12 + c] = _mm512_shuffle_f32x4::<0xDD>(odd[0], odd[1]);
    }
}

/// The sums of the lanes of each vector. Every level halves the vectors, which takes half the shuffles
/// of turning the square and adding its rows.
#[target_feature(enable = "avx512f")]
#[inline]
fn sum_each(square: &[__m512; 16]) -> __m512 {
    // In each 128-bit part: lanes 0 + 2 of a and of b, lanes 1 + 3 of a and of b.
    let pairs: [__m512; 8] = std::array::from_fn(|i| {
        let [a, b] = [square[2 * i], square[2 * i + 1]];
        _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b))
    });
    // In each part: its sums of four vectors.
    let fours: [__m512; 4] = std::array::from_fn(|i| {
        let [a, b] = [pairs[2 * i], pairs[2 * i + 1]].map(|pair| _mm512_castps_pd(pair));
        _mm512_add_ps(
            _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)),
        )
    });
    // The parts 0 + 1 and 2 + 3 of the first four and of the second; then all four of each.
    let add_parts = |a: __m512, b: __m512| {
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
    };
    add_parts(add_parts(fours[0], fours[1]), add_parts(fours[2], fours[3]))
}
