//! One oracle per family of operations.

pub mod activation;
pub mod gemm;
pub mod softmax;
pub mod vector_math;
