//! The shapes worth measuring, one file per family of operations.

pub mod activation;
pub mod batch_norm;
pub mod cross_entropy;
pub mod gemm;
mod naive_network;
pub mod optimizer;
pub mod reduce;
pub mod softmax;
pub mod training_step;
pub mod vector_math;

use tilewise_kernels::{Float, MatMut, MatRef};

use crate::case::Case;

/// Elements of a vector: in the first-level cache, in the second, and beyond both.
const LENGTHS: [usize; 3] = [4_096, 100_000, 4_000_000];

/// Rows and classes: a small classifier, a thousand classes, and a vocabulary.
const LOGITS: [[usize; 2]; 3] = [[128, 10], [4096, 1000], [512, 32_000]];

/// The operations whose speed is that of memory, or of a transcendental function, not of
/// multiplication.
pub fn memory_bound<T: Float>() -> Vec<Case> {
    [
        batch_norm::cases::<T>(),
        cross_entropy::cases::<T>(),
        softmax::cases::<T>(),
        optimizer::cases::<T>(),
        reduce::cases::<T>(),
        activation::cases::<T>(),
        vector_math::cases::<T>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn matrix<T>(data: &[T], [rows, cols]: [usize; 2]) -> MatRef<'_, T> {
    MatRef::new(data, rows, cols).expect("a matrix of this shape")
}

fn matrix_mut<T>(data: &mut [T], [rows, cols]: [usize; 2]) -> MatMut<'_, T> {
    MatMut::new(data, rows, cols).expect("a matrix of this shape")
}
