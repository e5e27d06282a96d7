//! The shapes worth measuring, one file per family of operations.

pub mod activation;
pub mod gemm;

use tilewise_kernels::Float;

use crate::case::Case;

/// The operations whose speed is that of memory, or of a transcendental function, not of
/// multiplication.
pub fn memory_bound<T: Float>() -> Vec<Case> {
    activation::cases::<T>()
}
