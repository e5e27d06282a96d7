//! `f64` vectors.

use std::arch::x86_64::*;

use super::{Avx2, enter, registers};
use crate::simd::{Draws, Kernel, Simd, Streaming};

/// Four set and four clear words: any window of four is a mask of leading lanes.
static MASK_WINDOW: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

impl Simd<f64> for Avx2 {
    type V = __m256d;
    type M = __m256d;
    type Tail = __m256i;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const FUSED: bool = true;
    const NAME: &'static str = "avx2";

    #[inline(always)]
    fn call<K: Kernel<f64>>(self, kernel: K) -> K::Output {
        registers!(enter::<f64, K>(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f64) -> __m256d {
        registers!(_mm256_set1_pd(x))
    }
    #[inline(always)]
    fn load(self, src: &[f64]) -> __m256d {
        let src = &src[..4];
        // SAFETY: 4 readable elements; features as in `registers`.
        unsafe { _mm256_loadu_pd(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m256d, dst: &mut [f64]) {
        let dst = &mut dst[..4];
        // SAFETY: 4 writable elements; features as in `registers`.
        unsafe { _mm256_storeu_pd(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn stream(self, v: __m256d, dst: &mut [f64], _leave: &Streaming) {
        let dst = &mut dst[..4];
        if !dst.as_ptr().addr().is_multiple_of(size_of::<__m256d>()) {
            return self.store(v, dst);
        }
        // SAFETY: 4 writable elements, aligned to a vector as just checked; the end of the leave
        // orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm256_stream_pd(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_partial(self, src: &[f64]) -> __m256d {
        // SAFETY: the mask covers no more than `src.len()` elements; masked lanes are not read.
        unsafe { self.load_tail(src.as_ptr(), Simd::<f64>::tail(self, src.len().min(4))) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m256d, dst: &mut [f64]) {
        let tail = Simd::<f64>::tail(self, dst.len().min(4));
        // SAFETY: the mask covers no more than `dst.len()` elements; masked lanes are not written.
        unsafe { self.store_tail(v, dst.as_mut_ptr(), tail) }
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: __m256d, other: __m256d) -> __m256d {
        let mask = Simd::<f64>::tail(self, count.min(4));
        registers!(_mm256_blendv_pd(other, v, _mm256_castsi256_pd(mask)))
    }
    #[inline(always)]
    fn tail(self, count: usize) -> __m256i {
        debug_assert!(count <= 4);
        let window = &MASK_WINDOW[4 - count..][..4];
        // SAFETY: four readable words; features as in `registers`.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f64) -> __m256d {
        // SAFETY: the caller vouches for 4 readable elements; features as in `registers`.
        unsafe { _mm256_loadu_pd(src) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m256d, dst: *mut f64) {
        // SAFETY: the caller vouches for 4 writable elements; features as in `registers`.
        unsafe { _mm256_storeu_pd(dst, v) }
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, v: __m256d, dst: *mut f64, _leave: &Streaming) {
        // SAFETY: the caller vouches for 4 writable elements, aligned to a vector; the end of the
        // leave orders the store before any other thread is told of it; features as in `registers`.
        unsafe { _mm256_stream_pd(dst, v) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f64, tail: __m256i) -> __m256d {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm256_maskload_pd(src, tail) }
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: __m256d, dst: *mut f64, tail: __m256i) {
        // SAFETY: the caller vouches for the lanes of `tail`; the others are not touched.
        unsafe { _mm256_maskstore_pd(dst, tail, v) }
    }
    #[inline(always)]
    fn add(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_add_pd(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_sub_pd(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_mul_pd(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_div_pd(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256d, b: __m256d, c: __m256d) -> __m256d {
        registers!(_mm256_fmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m256d, b: __m256d, c: __m256d) -> __m256d {
        registers!(_mm256_fnmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: __m256d) -> __m256d {
        registers!(_mm256_sqrt_pd(a))
    }
    #[inline(always)]
    fn max(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_max_pd(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_min_pd(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m256d) -> __m256d {
        registers!(_mm256_andnot_pd(_mm256_set1_pd(-0.0), a))
    }
    #[inline(always)]
    fn copy_sign(self, a: __m256d, sign: __m256d) -> __m256d {
        registers!({
            let bit = _mm256_set1_pd(-0.0);
            _mm256_or_pd(_mm256_andnot_pd(bit, a), _mm256_and_pd(bit, sign))
        })
    }
    #[inline(always)]
    fn round(self, a: __m256d) -> __m256d {
        registers!(_mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn lt(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_cmp_pd::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn le(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_cmp_pd::<_CMP_LE_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_cmp_pd::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn is_nan(self, a: __m256d) -> __m256d {
        registers!(_mm256_cmp_pd::<_CMP_UNORD_Q>(a, a))
    }
    #[inline(always)]
    fn select(self, mask: __m256d, a: __m256d, b: __m256d) -> __m256d {
        registers!(_mm256_blendv_pd(b, a, mask))
    }
    #[inline(always)]
    fn any(self, mask: __m256d) -> bool {
        registers!(_mm256_movemask_pd(mask) != 0)
    }
    #[inline(always)]
    fn pow2(self, n: __m256d) -> __m256d {
        registers!({
            // Adding 1.5 * 2^52 + bias leaves n + bias in the low bits; they move to the exponent.
            let biased = _mm256_add_pd(n, _mm256_set1_pd(6_755_399_441_055_744.0 + 1023.0));
            _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(biased)))
        })
    }
    #[inline(always)]
    fn exponent(self, a: __m256d) -> __m256d {
        registers!({
            // The exponent bits below those of 2^52 are the float 2^52 + exponent + bias.
            let bits = _mm256_srli_epi64::<52>(_mm256_castpd_si256(a));
            let float =
                _mm256_or_si256(bits, _mm256_castpd_si256(_mm256_set1_pd(4_503_599_627_370_496.0)));
            _mm256_sub_pd(
                _mm256_castsi256_pd(float),
                _mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0),
            )
        })
    }
    #[inline(always)]
    fn mantissa(self, a: __m256d) -> __m256d {
        registers!({
            let fraction =
                _mm256_and_pd(a, _mm256_castsi256_pd(_mm256_set1_epi64x(0x000F_FFFF_FFFF_FFFF)));
            _mm256_or_pd(fraction, _mm256_set1_pd(1.0))
        })
    }
    #[inline(always)]
    fn drawn_below(self, draws: Draws, position: u32, limit: u32) -> __m256d {
        let below = self.four_below(draws, position, limit);
        registers!(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(below)))
    }
    #[inline(always)]
    fn transpose(self, square: &mut [__m256d]) {
        let square = square.try_into().expect("a square of vectors");
        registers!(transpose(square))
    }
    #[inline(always)]
    fn sum_each(self, square: &mut [__m256d]) -> __m256d {
        let square = (&*square).try_into().expect("a square of vectors");
        registers!(sum_each(square))
    }
    #[inline(always)]
    fn sum_lanes(self, a: __m256d) -> f64 {
        registers!({
            let two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        })
    }
    #[inline(always)]
    fn max_lanes(self, a: __m256d) -> f64 {
        registers!({
            let two = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
            _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)))
        })
    }
    #[inline(always)]
    fn prefetch(self, src: *const f64) {
        registers!(_mm_prefetch::<_MM_HINT_T0>(src.cast()))
    }
}

/// Turns a 4 x 4 square: pairs within 128-bit lanes, then the two lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(square: &mut [__m256d; 4]) {
    for rows in square.chunks_exact_mut(2) {
        let pair = [rows[0], rows[1]];
        rows[0] = _mm256_unpacklo_pd(pair[0], pair[1]);
        rows[1] = _mm256_unpackhi_pd(pair[0], pair[1]);
    }
    // Vector 2g + c now holds rows 2g.. of columns c and 2 + c in its two lanes.
    for c in 0..2 {
        let pair = [square[c], square[2 + c]];
        square[c] = _mm256_permute2f128_pd::<0x20>(pair[0], pair[1]);
        square[2 + c] = _mm256_permute2f128_pd::<0x31>(pair[0], pair[1]);
    }
}

/// The sums of the lanes of each vector. Every level halves the vectors, which takes half the shuffles
/// of turning the square and adding its rows.
#[target_feature(enable = "avx2")]
#[inline]
fn sum_each(square: &[__m256d; 4]) -> __m256d {
    let [a, b]: [__m256d; 2] = std::array::from_fn(|i| {
        let [a, b] = [square[2 * i], square[2 * i + 1]];
        _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b))
    });
    _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b))
}
