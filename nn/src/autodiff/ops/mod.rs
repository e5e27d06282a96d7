//! The operations: forward and backward beside each other, both made of kernels.

mod activation;
mod arithmetic;
mod batch_norm;
mod dropout;
mod elementary;
mod layout;
mod loss;
mod matmul;
mod sum;

pub(super) use activation::Activated;
pub(super) use arithmetic::{Arithmetic, Binary};
pub use batch_norm::BatchNorm;
pub(super) use dropout::Dropout;
pub(super) use elementary::{Elementary, Unary};
pub(super) use layout::{Concat, Permute, Reshape, Slice};
pub use loss::CrossEntropy;
pub(super) use loss::LogSoftmax;
pub(super) use matmul::MatMul;
pub(super) use sum::Sum;
