//! AVX-512 (F, BW, DQ, VL) with FMA: 16 lanes of `f32`, 8 of `f64`, 32 registers, masked tails.

mod double;
mod draws;
mod halves;
mod parts;
mod single;

use super::{Float, Kernel, Simd};

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
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
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

use registers;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn enter<T: Float, K: Kernel<T>>(token: Avx512, kernel: K) -> K::Output
where
    Avx512: Simd<T>,
{
    kernel.run(token)
}
