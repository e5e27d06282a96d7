//! The operations: one file per family, forward and backward adjacent, each with its twin of the
//! same name in [`naive`](crate::naive).

mod activation;
mod elementwise;
mod rows;
mod softmax;
mod vector_math;

pub use activation::{Activate, ActivateBackward, Activation, activate, activate_backward};
pub use softmax::{
    LogSoftmax, LogSoftmaxBackward, LogSumExp, Softmax, SoftmaxBackward, log_softmax,
    log_softmax_backward, log_sum_exp, softmax, softmax_backward,
};
pub use vector_math::{Exp, Ln, exp, ln};
