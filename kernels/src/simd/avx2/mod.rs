//! AVX2 with FMA and F16C: 8 lanes of `f32`, 4 of `f64`, 16 registers; tails by masked moves.

mod double;
mod draws;
mod halves;
mod single;

use super::{Float, Kernel, Simd};

/// Proof that this CPU and operating system support AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if the CPU has the features.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    /// The proof, from that of more.
    #[inline(always)]
    pub(crate) fn of(_wider: super::Avx512) -> Self {
        Self(())
    }
}

/// Intrinsics that touch registers only.
macro_rules! registers {
    ($call:expr) => {
        // SAFETY: an `Avx2` exists only where detection found every feature these need.
        unsafe { $call }
    };
}

use registers;

#[target_feature(enable = "avx2,fma,f16c")]
fn enter<T: Float, K: Kernel<T>>(token: Avx2, kernel: K) -> K::Output
where
    Avx2: Simd<T>,
{
    kernel.run(token)
}
