//! One oracle per family of operations.

pub mod activation;
pub mod gemm;
