//! The executable specification: every operation as one obvious loop that accumulates in `f64`.
//!
//! Same names as the fast twins. Slow, sequential, and the oracle of every test; use it to learn
//! what an operation means, never for speed. Arguments of the wrong shape panic.

mod activation;
mod gemm;
mod softmax;
mod vector_math;

pub use activation::{activate, activate_backward};
pub use gemm::gemm;
pub use softmax::{log_softmax, log_softmax_backward, log_sum_exp, softmax, softmax_backward};
pub use vector_math::{exp, ln};
