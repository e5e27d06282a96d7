//! `f32` vectors.

use std::arch::x86_64::*;

use half::bf16;

use super::{Avx2, enter, registers};
use crate::simd::{Draws, Half, Kernel, Simd, Streaming};

/// Eight set and eight clear words: any window of eight is a mask of leading lanes.
static MASK_WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Simd<f32> for Avx2 {
    type V = __m256;
    type M = __m256;
    type Tail = __m256i;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const FUSED: bool = true;
    const NAME: &'static str = "avx2";

    #[inline(always)]
    fn call<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        registers!(enter::<f32, K>(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        registers!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> __m256 {
        let src = &src[..8];
        // SAFETY: 8 readable elements; features as in `registers`.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m256, dst: &mut [f32]) {
        let dst = &mut dst[..8];
        // SAFETY: 8 writable elements; features as in `registers`.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn stream(self, v: __m256, dst: &mut [f32], _leave: &Streaming) {
        let dst = &mut dst[..8];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m256>()) {
            return self.store(v, dst);
        }
        // SAFETY: 8 writable elements, aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm256_stream_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_halves<H: Half>(self, src: &[H]) -> [__m256; 2] {
        let src = &src[..16];
        // SAFETY: 16 readable halves of two bytes each; features as in `registers`.
        let [low, high] = unsafe {
            let start = src.as_ptr().cast::<__m128i>();
            [_mm_loadu_si128(start), _mm_loadu_si128(start.add(1))]
        };
        [self.widen::<H>(low), self.widen::<H>(high)]
    }
    #[inline(always)]
    fn store_halves<H: Half>(self, v: [__m256; 2], dst: &mut [H]) {
        let dst = &mut dst[..16];
        let bits = self.narrow::<H>(v);
        // SAFETY: 16 writable halves of two bytes each, for which all bits are valid; features as
        // in `registers`.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn stream_halves<H: Half>(self, v: [__m256; 2], dst: &mut [H], _leave: &Streaming) {
        let dst = &mut dst[..16];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m256>()) {
            return Simd::<f32>::store_halves(self, v, dst);
        }
        let bits = self.narrow::<H>(v);
        // SAFETY: as in `store_halves`, and aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it.
        unsafe { _mm256_stream_si256(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    unsafe fn load_pairs(self, src: *const bf16) -> [__m256; 2] {
        // SAFETY: 16 readable halves of two bytes each, as promised; features as in `registers`.
        unsafe {
            let pairs = _mm256_loadu_si256(src.cast());
            let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(-0x1_0000));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(odd)]
        }
    }
    #[inline(always)]
    fn load_half<H: Half>(self, src: &[H]) -> __m256 {
        let src = &src[..8];
        // SAFETY: 8 readable halves of two bytes each; features as in `registers`.
        let bits = unsafe { _mm_loadu_si128(src.as_ptr().cast()) };
        self.widen::<H>(bits)
    }
    #[inline(always)]
    fn store_half<H: Half>(self, v: __m256, dst: &mut [H]) {
        let dst = &mut dst[..8];
        let bits = self.narrow_one::<H>(v);
        // SAFETY: 8 writable halves of two bytes each, for which all bits are valid; features as in
        // `registers`.
        unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn stream_half<H: Half>(self, v: __m256, dst: &mut [H], _leave: &Streaming) {
        let dst = &mut dst[..8];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m128i>()) {
            return Simd::<f32>::store_half(self, v, dst);
        }
        let bits = self.narrow_one::<H>(v);
        // SAFETY: as in `store_half`, and aligned to a vector of them as just checked; the end of the
        // leave orders the store before any other thread is told of it.
        unsafe { _mm_stream_si128(dst.as_mut_ptr().cast(), bits) }
    }
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m256 {
        // SAFETY: the mask covers no more than `src.len()` elements; masked lanes are not read.
        unsafe { self.load_tail(src.as_ptr(), Simd::<f32>::tail(self, src.len().min(8))) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m256, dst: &mut [f32]) {
        let tail = Simd::<f32>::tail(self, dst.len().min(8));
        // SAFETY: the mask covers no more than `dst.len()` elements; masked lanes are not written.
        unsafe { self.store_tail(v, dst.as_mut_ptr(), tail) }
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: __m256, other: __m256) -> __m256 {
        let mask = Simd::<f32>::tail(self, count.min(8));
        registers!(_mm256_blendv_ps(other, v, _mm256_castsi256_ps(mask)))
    }
    #[inline(always)]
    fn tail(self, count: usize) -> __m256i {
        debug_assert!(count <= 8);
        let window = &MASK_WINDOW[8 - count..][..8];
        // SAFETY: eight readable words; features as in `registers`.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 8 readable elements; features as in `registers`.
        unsafe { _mm256_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m256, dst: *mut f32) {
        // SAFETY: the caller vouches for 8 writable elements; features as in `registers`.
        unsafe { _mm256_storeu_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, v: __m256, dst: *mut f32, _leave: &Streaming) {
        // SAFETY: the caller vouches for 8 writable elements, aligned to a vector; the end of the
        // leave orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm256_stream_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f32, tail: __m256i) -> __m256 {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm256_maskload_ps(src, tail) }
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: __m256, dst: *mut f32, tail: __m256i) {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm256_maskstore_ps(dst, tail, v) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        registers!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        registers!(_mm256_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        registers!(_mm256_sqrt_ps(a))
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        registers!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
    }
    #[inline(always)]
    fn copy_sign(self, a: __m256, sign: __m256) -> __m256 {
        registers!({
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign))
        })
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        registers!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn le(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn is_nan(self, a: __m256) -> __m256 {
        registers!(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
    }
    #[inline(always)]
    fn select(self, mask: __m256, a: __m256, b: __m256) -> __m256 {
        registers!(_mm256_blendv_ps(b, a, mask))
    }
    #[inline(always)]
    fn any(self, mask: __m256) -> bool {
        registers!(_mm256_movemask_ps(mask) != 0)
    }
    #[inline(always)]
    fn pow2(self, n: __m256) -> __m256 {
        registers!({
            // Adding 1.5 * 2^23 + bias leaves n + bias in the low bits; they move to the exponent.
            let biased = _mm256_add_ps(n, _mm256_set1_ps(12_582_912.0 + 127.0));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(biased)))
        })
    }
    #[inline(always)]
    fn exponent(self, a: __m256) -> __m256 {
        registers!({
            // The exponent bits below those of 2^23 are the float 2^23 + exponent + bias.
            let bits = _mm256_srli_epi32::<23>(_mm256_castps_si256(a));
            let float = _mm256_or_si256(bits, _mm256_castps_si256(_mm256_set1_ps(8_388_608.0)));
            _mm256_sub_ps(_mm256_castsi256_ps(float), _mm256_set1_ps(8_388_608.0 + 127.0))
        })
    }
    #[inline(always)]
    fn mantissa(self, a: __m256) -> __m256 {
        registers!({
            let fraction = _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x007F_FFFF)));
            _mm256_or_ps(fraction, _mm256_set1_ps(1.0))
        })
    }
    #[inline(always)]
    fn drawn_below(self, draws: Draws, position: u32, limit: u32) -> __m256 {
        registers!(_mm256_castsi256_ps(self.eight_below(draws, position, limit)))
    }
    #[inline(always)]
    fn transpose(self, square: &mut [__m256]) {
        let square = square.try_into().expect("a square of vectors");
        registers!(transpose(square))
    }
    #[inline(always)]
    fn sum_each(self, square: &mut [__m256]) -> __m256 {
        let square = (&*square).try_into().expect("a square of vectors");
        registers!(sum_each(square))
    }
    #[inline(always)]
    fn sum_lanes(self, a: __m256) -> f32 {
        registers!({
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn max_lanes(self, a: __m256) -> f32 {
        registers!({
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn prefetch(self, src: *const f32) {
        registers!(_mm_prefetch::<_MM_HINT_T0>(src.cast()))
    }
}

/// Turns an 8 x 8 square: pairs, then fours within 128-bit lanes, then the two lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(square: &mut [__m256; 8]) {
    for rows in square.chunks_exact_mut(4) {
        let low = _mm256_castps_pd(_mm256_unpacklo_ps(rows[0], rows[1]));
        let high = _mm256_castps_pd(_mm256_unpackhi_ps(rows[0], rows[1]));
        let low_next = _mm256_castps_pd(_mm256_unpacklo_ps(rows[2], rows[3]));
        let high_next = _mm256_castps_pd(_mm256_unpackhi_ps(rows[2], rows[3]));
        rows[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low_next));
        rows[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low_next));
        rows[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high_next));
        rows[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high_next));
    }
    // Vector 4g + c now holds rows 4g.. of columns c and 4 + c in its two lanes.
    for c in 0..4 {
        let pair = [square[c], square[4 + c]];
        square[c] = _mm256_permute2f128_ps::<0x20>(pair[0], pair[1]);
        square[4 + c] = _mm256_permute2f128_ps::<0x31>(pair[0], pair[1]);
    }
}

/// The sums of the lanes of each vector. Every level halves the vectors, which takes half the shuffles
/// of turning the square and adding its rows.
#[target_feature(enable = "avx2")]
#[inline]
fn sum_each(square: &[__m256; 8]) -> __m256 {
    // In each 128-bit part: lanes 0 + 2 of a and of b, lanes 1 + 3 of a and of b.
    let pairs: [__m256; 4] = std::array::from_fn(|i| {
        let [a, b] = [square[2 * i], square[2 * i + 1]];
        _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
    });
    // In each part: its sums of four vectors.
    let [a, b]: [__m256; 2] = std::array::from_fn(|i| {
        let [a, b] = [pairs[2 * i], pairs[2 * i + 1]].map(|pair| _mm256_castps_pd(pair));
        _mm256_add_ps(
            _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
            _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)),
        )
    });
    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
}
