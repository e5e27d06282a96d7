//! `f64` vectors.

use std::arch::x86_64::*;

use super::{Avx512, enter, registers};
use crate::simd::{Draws, Kernel, Simd, Streaming};

impl Simd<f64> for Avx512 {
    type V = __m512d;
    type M = __mmask8;
    type Tail = __mmask8;
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    const FUSED: bool = true;
    const NAME: &'static str = "avx512";

    #[inline(always)]
    fn call<K: Kernel<f64>>(self, kernel: K) -> K::Output {
        registers!(enter::<f64, K>(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f64) -> __m512d {
        registers!(_mm512_set1_pd(x))
    }
    #[inline(always)]
    fn load(self, src: &[f64]) -> __m512d {
        let src = &src[..8];
        // SAFETY: 8 readable elements; features as in `registers`.
        unsafe { _mm512_loadu_pd(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512d, dst: &mut [f64]) {
        let dst = &mut dst[..8];
        // SAFETY: 8 writable elements; features as in `registers`.
        unsafe { _mm512_storeu_pd(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn stream(self, v: __m512d, dst: &mut [f64], _leave: &Streaming) {
        let dst = &mut dst[..8];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m512d>()) {
            return self.store(v, dst);
        }
        // SAFETY: 8 writable elements, aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm512_stream_pd(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_partial(self, src: &[f64]) -> __m512d {
        // SAFETY: the mask covers no more than `src.len()` elements; masked lanes are not read.
        unsafe { self.load_tail(src.as_ptr(), Simd::<f64>::tail(self, src.len().min(8))) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m512d, dst: &mut [f64]) {
        let tail = Simd::<f64>::tail(self, dst.len().min(8));
        // SAFETY: the mask covers no more than `dst.len()` elements; masked lanes are not written.
        unsafe { self.store_tail(v, dst.as_mut_ptr(), tail) }
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: __m512d, other: __m512d) -> __m512d {
        registers!(_mm512_mask_blend_pd(Simd::<f64>::tail(self, count.min(8)), other, v))
    }
    #[inline(always)]
    fn tail(self, count: usize) -> __mmask8 {
        debug_assert!(count <= 8);
        ((1u32 << count) - 1) as __mmask8
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f64) -> __m512d {
        // SAFETY: the caller vouches for 8 readable elements; features as in `registers`.
        unsafe { _mm512_loadu_pd(src) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m512d, dst: *mut f64) {
        // SAFETY: the caller vouches for 8 writable elements; features as in `registers`.
        unsafe { _mm512_storeu_pd(dst, v) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, v: __m512d, dst: *mut f64, _leave: &Streaming) {
        // SAFETY: the caller vouches for 8 writable elements, aligned to a vector; the end of the
        // leave orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm512_stream_pd(dst, v) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f64, tail: __mmask8) -> __m512d {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm512_maskz_loadu_pd(tail, src) }
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: __m512d, dst: *mut f64, tail: __mmask8) {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm512_mask_storeu_pd(dst, tail, v) }
    }
    #[inline(always)]
    fn add(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_add_pd(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_sub_pd(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_mul_pd(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_div_pd(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        registers!(_mm512_fmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        registers!(_mm512_fnmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512d) -> __m512d {
        registers!(_mm512_sqrt_pd(a))
    }
    #[inline(always)]
    fn max(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_max_pd(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_min_pd(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m512d) -> __m512d {
        registers!(_mm512_abs_pd(a))
    }
    #[inline(always)]
    fn copy_sign(self, a: __m512d, sign: __m512d) -> __m512d {
        registers!({
            let bit = _mm512_set1_pd(-0.0);
            _mm512_or_pd(_mm512_andnot_pd(bit, a), _mm512_and_pd(bit, sign))
        })
    }
    #[inline(always)]
    fn round(self, a: __m512d) -> __m512d {
        registers!(_mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn lt(self, a: __m512d, b: __m512d) -> __mmask8 {
        registers!(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn le(self, a: __m512d, b: __m512d) -> __mmask8 {
        registers!(_mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m512d, b: __m512d) -> __mmask8 {
        registers!(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn is_nan(self, a: __m512d) -> __mmask8 {
        registers!(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a))
    }
    #[inline(always)]
    fn select(self, mask: __mmask8, a: __m512d, b: __m512d) -> __m512d {
        registers!(_mm512_mask_blend_pd(mask, b, a))
    }
    #[inline(always)]
    fn any(self, mask: __mmask8) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn pow2(self, n: __m512d) -> __m512d {
        registers!(_mm512_scalef_pd(_mm512_set1_pd(1.0), n))
    }
    #[inline(always)]
    fn exponent(self, a: __m512d) -> __m512d {
        registers!(_mm512_getexp_pd(a))
    }
    #[inline(always)]
    fn mantissa(self, a: __m512d) -> __m512d {
        registers!(_mm512_getmant_pd::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(a))
    }
    #[inline(always)]
    fn scale_pow2(self, a: __m512d, n: __m512d) -> __m512d {
        registers!(_mm512_scalef_pd(a, n))
    }
    #[inline(always)]
    fn scale_normal(self, a: __m512d, n: __m512d) -> __m512d {
        registers!(_mm512_scalef_pd(a, n))
    }
    #[inline(always)]
    fn drawn_below(self, draws: Draws, position: u32, limit: u32) -> __mmask8 {
        self.eight_below(draws, position, limit)
    }
    #[inline(always)]
    fn transpose(self, square: &mut [__m512d]) {
        let square = square.try_into().expect("a square of vectors");
        registers!(transpose(square))
    }
    #[inline(always)]
    fn sum_each(self, square: &mut [__m512d]) -> __m512d {
        let square = (&*square).try_into().expect("a square of vectors");
        registers!(sum_each(square))
    }
    #[inline(always)]
    fn sum_lanes(self, a: __m512d) -> f64 {
        registers!({
            let four = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a));
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        })
    }
    #[inline(always)]
    fn max_lanes(self, a: __m512d) -> f64 {
        registers!(_mm512_reduce_max_pd(a))
    }
    #[inline(always)]
    fn prefetch(self, src: *const f64) {
        registers!(_mm_prefetch::<_MM_HINT_T0>(src.cast()))
    }
}

/// Turns an 8 x 8 square: pairs within 128-bit lanes, then the lanes themselves.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(square: &mut [__m512d; 8]) {
    for rows in square.chunks_exact_mut(2) {
        let pair = [rows[0], rows[1]];
        rows[0] = _mm512_unpacklo_pd(pair[0], pair[1]);
        rows[1] = _mm512_unpackhi_pd(pair[0], pair[1]);
    }
    // Vector 2g + c now holds rows 2g.. of columns c, 2 + c, 4 + c, 6 + c in its four lanes.
    let turned = *square;
    for c in 0..2 {
        let [a, b, d, e] = [turned[c], turned[2 + c], turned[4 + c], turned[6 + c]];
        let even = [_mm512_shuffle_f64x2::<0x88>(a, b), _mm512_shuffle_f64x2::<0x88>(d, e)];
        let odd = [_mm512_shuffle_f64x2::<0xDD>(a, b), _mm512_shuffle_f64x2::<0xDD>(d, e)];
        square[c] = _mm512_shuffle_f64x2::<0x88>(even[0], even[1]);
        square[2 + c] = _mm512_shuffle_f64x2::<0x88>(odd[0], odd[1]);
        square[4 + c] = _mm512_shuffle_f64x2::<0xDD>(even[0], even[1]);
        square[6 + c] = _mm512_shuffle_f64x2::<0xDD>(odd[0], odd[1]);
    }
}

/// The sums of the lanes of each vector. Every level halves the vectors, which takes half the shuffles
/// of turning the square and adding its rows.
#[target_feature(enable = "avx512f")]
#[inline]
fn sum_each(square: &[__m512d; 8]) -> __m512d {
    // In each 128-bit part: its sum of a and of b.
    let pairs: [__m512d; 4] = std::array::from_fn(|i| {
        let [a, b] = [square[2 * i], square[2 * i + 1]];
        _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b))
    });
    // The parts 0 + 1 and 2 + 3 of the first pair and of the second; then all four of each.
    let add_parts = |a: __m512d, b: __m512d| {
        _mm512_add_pd(_mm512_shuffle_f64x2::<0x88>(a, b), _mm512_shuffle_f64x2::<0xDD>(a, b))
    };
    add_parts(add_parts(pairs[0], pairs[1]), add_parts(pairs[2], pairs[3]))
}
