//! The portable path on `wide`: 8 lanes of `f32`, 4 of `f64`, whatever the target's baseline offers.
//!
//! `wide` picks its instructions at compile time, so this path is as fast as the build allows and
//! runs everywhere. Without a fused multiply-add in the baseline, products round on their own.

use wide::{f32x8, f64x4, u32x8, u64x4};

use super::{Kernel, Simd};

/// The portable instruction set; every CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable(());

impl Portable {
    /// The proof; always there.
    pub(crate) fn detect() -> Self {
        Self(())
    }
}

/// Whether `wide` fuses `mul_add` in this build.
const FUSED: bool =
    cfg!(any(target_feature = "fma", all(target_arch = "aarch64", target_feature = "neon")));

/// Copies the common head of two slices, of which one is a vector of at most 8 lanes, piece by
/// piece: pieces of fixed size are moves, a copy of unknown length would be a call.
#[inline(always)]
fn copy_head<T: Copy>(src: &[T], dst: &mut [T]) {
    let count = src.len().min(dst.len());
    let (mut src, mut dst) = (&src[..count], &mut dst[..count]);
    for width in [8, 4, 2, 1] {
        if src.len() >= width {
            let (head, rest) = dst.split_at_mut(width);
            head.copy_from_slice(&src[..width]);
            (src, dst) = (&src[width..], rest);
        }
    }
}

/// A function of its own, as the other paths have: inlined, its registers would be saved on the way to them.
#[inline(never)]
pub(super) fn enter<T: super::Float, K: Kernel<T>>(token: Portable, kernel: K) -> K::Output
where
    Portable: Simd<T>,
{
    kernel.run(token)
}

impl Simd<f32> for Portable {
    type V = f32x8;
    type M = f32x8;
    type Tail = usize;
    const LANES: usize = 8;
    // In vectors of this width: the baseline has 16 of half of it.
    const REGISTERS: usize = 8;
    const FUSED: bool = FUSED;
    const NAME: &'static str = "portable";

    #[inline(always)]
    fn call<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> f32x8 {
        let mut lanes = [0.0; 8];
        lanes.copy_from_slice(&src[..8]);
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn store(self, v: f32x8, dst: &mut [f32]) {
        dst[..8].copy_from_slice(v.as_array());
    }
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> f32x8 {
        let mut lanes = [0.0; 8];
        copy_head(src, &mut lanes);
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn store_partial(self, v: f32x8, dst: &mut [f32]) {
        copy_head(v.as_array(), dst);
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: f32x8, other: f32x8) -> f32x8 {
        let index = f32x8::new([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        index.simd_lt(f32x8::splat(count.min(8) as f32)).select(v, other)
    }
    #[inline(always)]
    fn tail(self, count: usize) -> usize {
        debug_assert!(count <= 8);
        count
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> f32x8 {
        // SAFETY: the caller vouches for 8 readable elements.
        f32x8::new(unsafe { src.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: f32x8, dst: *mut f32) {
        // SAFETY: the caller vouches for 8 writable elements.
        unsafe { dst.cast::<[f32; 8]>().write_unaligned(v.to_array()) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f32, tail: usize) -> f32x8 {
        // SAFETY: the caller vouches for `tail` readable elements.
        self.load_partial(unsafe { std::slice::from_raw_parts(src, tail) })
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: f32x8, dst: *mut f32, tail: usize) {
        // SAFETY: the caller vouches for `tail` writable elements.
        self.store_partial(v, unsafe { std::slice::from_raw_parts_mut(dst, tail) });
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        b.simd_lt(a).select(a, b)
    }
    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b).select(a, b)
    }
    #[inline(always)]
    fn abs(self, a: f32x8) -> f32x8 {
        a.abs()
    }
    #[inline(always)]
    fn copy_sign(self, a: f32x8, sign: f32x8) -> f32x8 {
        a.copysign(sign)
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        // Adding 1.5 * 2^23 pushes the fraction out under round-to-nearest-even.
        let shift = f32x8::splat(12_582_912.0);
        (a + shift) - shift
    }
    #[inline(always)]
    fn lt(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn is_nan(self, a: f32x8) -> f32x8 {
        a.is_nan()
    }
    #[inline(always)]
    fn select(self, mask: f32x8, a: f32x8, b: f32x8) -> f32x8 {
        mask.select(a, b)
    }
    #[inline(always)]
    fn any(self, mask: f32x8) -> bool {
        mask.any()
    }
    #[inline(always)]
    fn pow2(self, n: f32x8) -> f32x8 {
        // Adding 1.5 * 2^23 + bias leaves n + bias in the low bits; they move to the exponent.
        let biased: u32x8 = (n + f32x8::splat(12_582_912.0 + 127.0)).to_bits();
        f32x8::from_bits(biased << 23)
    }
    #[inline(always)]
    fn exponent(self, a: f32x8) -> f32x8 {
        // The exponent bits below those of 2^23 are the float 2^23 + exponent + bias.
        let float = (a.to_bits() >> 23) | f32x8::splat(8_388_608.0).to_bits();
        f32x8::from_bits(float) - f32x8::splat(8_388_608.0 + 127.0)
    }
    #[inline(always)]
    fn mantissa(self, a: f32x8) -> f32x8 {
        let fraction = a.to_bits() & u32x8::splat(0x007F_FFFF);
        f32x8::from_bits(fraction | f32x8::splat(1.0).to_bits())
    }
    #[inline(always)]
    fn transpose(self, square: &mut [f32x8]) {
        let rows: [f32x8; 8] = (&*square).try_into().expect("a square of vectors");
        square.copy_from_slice(&f32x8::transpose(rows));
    }
    #[inline(always)]
    fn sum_lanes(self, a: f32x8) -> f32 {
        let [a, b, c, d, e, f, g, h] = a.to_array();
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    fn max_lanes(self, a: f32x8) -> f32 {
        a.to_array().into_iter().reduce(|a, b| if a > b { a } else { b }).unwrap_or(f32::NAN)
    }
}

impl Simd<f64> for Portable {
    type V = f64x4;
    type M = f64x4;
    type Tail = usize;
    const LANES: usize = 4;
    // In vectors of this width: the baseline has 16 of half of it.
    const REGISTERS: usize = 8;
    const FUSED: bool = FUSED;
    const NAME: &'static str = "portable";

    #[inline(always)]
    fn call<K: Kernel<f64>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f64) -> f64x4 {
        f64x4::splat(x)
    }
    #[inline(always)]
    fn load(self, src: &[f64]) -> f64x4 {
        let mut lanes = [0.0; 4];
        lanes.copy_from_slice(&src[..4]);
        f64x4::new(lanes)
    }
    #[inline(always)]
    fn store(self, v: f64x4, dst: &mut [f64]) {
        dst[..4].copy_from_slice(v.as_array());
    }
    #[inline(always)]
    fn load_partial(self, src: &[f64]) -> f64x4 {
        let mut lanes = [0.0; 4];
        copy_head(src, &mut lanes);
        f64x4::new(lanes)
    }
    #[inline(always)]
    fn store_partial(self, v: f64x4, dst: &mut [f64]) {
        copy_head(v.as_array(), dst);
    }
    #[inline(always)]
    fn first_lanes(self, count: usize, v: f64x4, other: f64x4) -> f64x4 {
        let index = f64x4::new([0.0, 1.0, 2.0, 3.0]);
        index.simd_lt(f64x4::splat(count.min(4) as f64)).select(v, other)
    }
    #[inline(always)]
    fn tail(self, count: usize) -> usize {
        debug_assert!(count <= 4);
        count
    }
    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f64) -> f64x4 {
        // SAFETY: the caller vouches for 4 readable elements.
        f64x4::new(unsafe { src.cast::<[f64; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: f64x4, dst: *mut f64) {
        // SAFETY: the caller vouches for 4 writable elements.
        unsafe { dst.cast::<[f64; 4]>().write_unaligned(v.to_array()) }
    }
    #[inline(always)]
    unsafe fn load_tail(self, src: *const f64, tail: usize) -> f64x4 {
        // SAFETY: the caller vouches for `tail` readable elements.
        self.load_partial(unsafe { std::slice::from_raw_parts(src, tail) })
    }
    #[inline(always)]
    unsafe fn store_tail(self, v: f64x4, dst: *mut f64, tail: usize) {
        // SAFETY: the caller vouches for `tail` writable elements.
        self.store_partial(v, unsafe { std::slice::from_raw_parts_mut(dst, tail) });
    }
    #[inline(always)]
    fn add(self, a: f64x4, b: f64x4) -> f64x4 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f64x4, b: f64x4) -> f64x4 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f64x4, b: f64x4) -> f64x4 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f64x4, b: f64x4) -> f64x4 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f64x4, b: f64x4, c: f64x4) -> f64x4 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f64x4, b: f64x4, c: f64x4) -> f64x4 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: f64x4) -> f64x4 {
        a.sqrt()
    }
    #[inline(always)]
    fn max(self, a: f64x4, b: f64x4) -> f64x4 {
        b.simd_lt(a).select(a, b)
    }
    #[inline(always)]
    fn min(self, a: f64x4, b: f64x4) -> f64x4 {
        a.simd_lt(b).select(a, b)
    }
    #[inline(always)]
    fn abs(self, a: f64x4) -> f64x4 {
        a.abs()
    }
    #[inline(always)]
    fn copy_sign(self, a: f64x4, sign: f64x4) -> f64x4 {
        a.copysign(sign)
    }
    #[inline(always)]
    fn round(self, a: f64x4) -> f64x4 {
        // Adding 1.5 * 2^52 pushes the fraction out under round-to-nearest-even.
        let shift = f64x4::splat(6_755_399_441_055_744.0);
        (a + shift) - shift
    }
    #[inline(always)]
    fn lt(self, a: f64x4, b: f64x4) -> f64x4 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f64x4, b: f64x4) -> f64x4 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f64x4, b: f64x4) -> f64x4 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn is_nan(self, a: f64x4) -> f64x4 {
        a.is_nan()
    }
    #[inline(always)]
    fn select(self, mask: f64x4, a: f64x4, b: f64x4) -> f64x4 {
        mask.select(a, b)
    }
    #[inline(always)]
    fn any(self, mask: f64x4) -> bool {
        mask.any()
    }
    #[inline(always)]
    fn pow2(self, n: f64x4) -> f64x4 {
        // Adding 1.5 * 2^52 + bias leaves n + bias in the low bits; they move to the exponent.
        let biased: u64x4 = (n + f64x4::splat(6_755_399_441_055_744.0 + 1023.0)).to_bits();
        f64x4::from_bits(biased << 52)
    }
    #[inline(always)]
    fn exponent(self, a: f64x4) -> f64x4 {
        // The exponent bits below those of 2^52 are the float 2^52 + exponent + bias.
        let float = (a.to_bits() >> 52) | f64x4::splat(4_503_599_627_370_496.0).to_bits();
        f64x4::from_bits(float) - f64x4::splat(4_503_599_627_370_496.0 + 1023.0)
    }
    #[inline(always)]
    fn mantissa(self, a: f64x4) -> f64x4 {
        let fraction = a.to_bits() & u64x4::splat(0x000F_FFFF_FFFF_FFFF);
        f64x4::from_bits(fraction | f64x4::splat(1.0).to_bits())
    }
    #[inline(always)]
    fn transpose(self, square: &mut [f64x4]) {
        let rows: [f64x4; 4] = (&*square).try_into().expect("a square of vectors");
        square.copy_from_slice(&f64x4::transpose(rows));
    }
    #[inline(always)]
    fn sum_lanes(self, a: f64x4) -> f64 {
        let [a, b, c, d] = a.to_array();
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn max_lanes(self, a: f64x4) -> f64 {
        a.to_array().into_iter().reduce(|a, b| if a > b { a } else { b }).unwrap_or(f64::NAN)
    }
}
