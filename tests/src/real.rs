//! What error analysis and bit comparisons need to know of an element type.

use tilewise_kernels::{Float, bf16, f16};

/// What can lie in memory, by its bits.
pub trait Stored: Copy {
    /// A quiet NaN with a payload that no arithmetic makes: marks memory nobody may write.
    const CANARY: Self;

    /// The bits, zero-extended.
    fn bits(self) -> u64;
}

/// An element type with its rounding constants and its bits.
pub trait Real: Float + Stored + std::fmt::LowerExp {
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
}

macro_rules! stored {
    ($t:ident, $canary:literal) => {
        impl Stored for $t {
            const CANARY: Self = $t::from_bits($canary);

            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    };
}

stored!(f32, 0x7FC0_BEEF);
stored!(f64, 0x7FF8_0000_DEAD_BEEF);
stored!(bf16, 0x7FDB);
stored!(f16, 0x7EDB);

impl Real for f32 {
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;
    const REFERENCE_ULPS: f64 = 1e-8;
    const LEAST: f64 = 1.401_298_464_324_817e-45;
    const LIMIT: f64 = f32::MAX as f64;
}

impl Real for f64 {
    const UNIT: f64 = f64::EPSILON / 2.0;
    const REFERENCE_ULPS: f64 = 1.0;
    const LEAST: f64 = 5e-324;
    const LIMIT: f64 = f64::MAX;
}

/// All values as `f64`, exactly.
pub fn widen<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|x| x.to_f64()).collect()
}
