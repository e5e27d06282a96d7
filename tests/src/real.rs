//! What error analysis and bit comparisons need to know of an element type.

use tilewise_kernels::Float;

/// An element type with its rounding constants and its bits.
pub trait Real: Float + std::fmt::LowerExp {
    /// Unit roundoff u: a rounded result is exact * (1 + d) with |d| <= u.
    const UNIT: f64;
    /// Unit roundoff of this type and of the `f64` reference together: what one step of a fast path
    /// and the same step of its reference may differ by.
    const STEP: f64 = Self::UNIT + f64::EPSILON / 2.0;
    /// The error of the reference's own elementary functions, in ulp of this type.
    const REFERENCE_ULPS: f64;
    /// The smallest positive value; half of it is what an underflowing rounding loses at most.
    const LEAST: f64;
    /// The largest finite value.
    const LIMIT: f64;
    /// A quiet NaN with a payload that no arithmetic makes: marks memory nobody may write.
    const CANARY: Self;

    /// The bits, zero-extended.
    fn bits(self) -> u64;
}

impl Real for f32 {
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;
    const REFERENCE_ULPS: f64 = 1e-8;
    const LEAST: f64 = 1.401_298_464_324_817e-45;
    const LIMIT: f64 = f32::MAX as f64;
    const CANARY: Self = f32::from_bits(0x7FC0_BEEF);

    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}

impl Real for f64 {
    const UNIT: f64 = f64::EPSILON / 2.0;
    const REFERENCE_ULPS: f64 = 1.0;
    const LEAST: f64 = 5e-324;
    const LIMIT: f64 = f64::MAX;
    const CANARY: Self = f64::from_bits(0x7FF8_0000_DEAD_BEEF);

    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// All values as `f64`, exactly.
pub fn widen<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|x| x.to_f64()).collect()
}
