//! Half-precision numbers: what the vector paths' own instructions do, one number at a time.
//!
//! Every path gives the same bits: rounding is to nearest, ties to even, whatever is subnormal stays
//! so, what is too large becomes infinite, and NaN stays NaN with its sign and the upper bits of its
//! payload, made quiet.

use half::{bf16, f16};

use super::Float;

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// [`bf16`] or [`f16`](struct@crate::f16). Sealed: kernels are written for exactly these.
pub trait Half: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// The type's name, as in benchmark ids.
    const NAME: &'static str;
    /// Whether this is the upper half of an `f32`.
    const IS_BRAIN: bool;

    /// The same value, exactly.
    fn widen(self) -> f32;
    /// The nearest value.
    fn narrow(x: f32) -> Self;
}

/// The quiet bit of a NaN in `f32`.
const QUIET: u32 = 0x0040_0000;
/// Infinity, above which the bits of magnitudes are NaN.
const INFINITY: u32 = 0x7F80_0000;

impl Half for bf16 {
    const NAME: &'static str = "bf16";
    const IS_BRAIN: bool = true;

    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits()) << 16;
        let is_nan = bits & !(1 << 31) > INFINITY;
        f32::from_bits(if is_nan { bits | QUIET } else { bits })
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        // Half a unit less one, and one more where the kept bits are odd: a carry rounds up, into the
        // exponent where need be, and at last to infinity.
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        let is_nan = bits & !(1 << 31) > INFINITY;
        let chosen = if is_nan { (bits | QUIET) >> 16 } else { rounded };
        Self::from_bits(chosen as u16)
    }
}

/// The difference of the exponents' biases, 127 and 15, in the bits of an `f32`.
const REBIAS: u32 = (127 - 15) << 23;
/// The smallest normal `f16`, 2^-14, in the bits of an `f32`.
const SMALLEST_NORMAL: u32 = (127 - 14) << 23;

impl Half for f16 {
    const NAME: &'static str = "f16";
    const IS_BRAIN: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7FFF) << 13);
        // 2^-14 is the unit of subnormal exponents: with it in front the fraction is that of a normal
        // number, and taking it off again is exact.
        let unit = f32::from_bits(SMALLEST_NORMAL);
        let subnormal = (f32::from_bits(magnitude + SMALLEST_NORMAL) - unit).to_bits();
        // The largest exponent, 31, becomes 255; NaN is what has a fraction there.
        let special = magnitude + 2 * REBIAS;
        let quiet = if special > INFINITY { QUIET } else { 0 };
        let value = if magnitude < 1 << 23 {
            subnormal
        } else if magnitude < 31 << 23 {
            magnitude + REBIAS
        } else {
            special | quiet
        };
        f32::from_bits(sign | value)
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        let (sign, magnitude) = (bits >> 16 & 0x8000, bits & !(1 << 31));
        // As in `bf16`; what is too large ends above infinity, and there it stays.
        let rounded = magnitude.wrapping_add(0xFFF + (magnitude >> 13 & 1));
        let normal = (rounded.wrapping_sub(REBIAS) >> 13).min(0x7C00);
        // The last place of 1/2 is 2^-24, the unit of subnormal values: the addition rounds to it.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
        let nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
        let value = if magnitude > INFINITY {
            nan
        } else if magnitude < SMALLEST_NORMAL {
            subnormal
        } else {
            normal
        };
        Self::from_bits((sign | value) as u16)
    }
}

/// Widens all of `src` into the first places of `to`. Not inlined: a vector's worth of this is a page of
/// instructions, and loops that store halves would hold it dozens of times.
#[inline(never)]
pub(super) fn widen_all<T: Float, H: Half>(src: &[H], to: &mut [T]) {
    for (value, half) in to.iter_mut().zip(src) {
        *value = T::from_f64(half.widen().into());
    }
}

/// Narrows the first of `src` into all of `to`; see [`widen_all`].
#[inline(never)]
pub(super) fn narrow_all<T: Float, H: Half>(src: &[T], to: &mut [H]) {
    for (value, half) in src.iter().zip(to) {
        *half = H::narrow(value.to_f64() as f32);
    }
}
