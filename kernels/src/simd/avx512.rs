//! AVX-512 (F, BW, DQ, VL) with FMA: 16 lanes of `f32`, 8 of `f64`, 32 registers, masked tails.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Proof that this CPU and operating system support AVX-512 F, BW, DQ and VL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if the CPU has the features.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

/// Intrinsics that touch registers only.
macro_rules! registers {
    ($call:expr) => {
        // SAFETY: an `Avx512` exists only where detection found every feature these need.
        unsafe { $call }
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn enter<T: super::Float, K: Kernel<T>>(token: Avx512, kernel: K) -> K::Output
where
    Avx512: Simd<T>,
{
    kernel.run(token)
}

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
