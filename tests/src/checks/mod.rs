//! One oracle per family of operations.

pub mod activation;
pub mod batch_norm;
pub mod batch_norm_halves;
mod batch_norm_runs;
pub mod batched;
pub mod convert;
pub mod cross_entropy;
pub mod dropout;
pub mod gemm;
mod gemm_ways;
pub mod global_norm;
pub mod im2col;
pub mod layer_norm;
pub mod linear_cross_entropy;
pub mod optimizer;
pub mod optimizer_state;
pub mod pool;
pub mod reduce;
pub mod regression;
pub mod sigmoid_cross_entropy;
pub mod softmax;
pub mod vector_math;
