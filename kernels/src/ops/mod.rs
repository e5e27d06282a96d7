//! The operations: one file per family, forward and backward adjacent, each with its twin of the
//! same name in [`naive`](crate::naive).

mod activation;
mod cross_entropy;
mod elementwise;
mod range;
mod rows;
mod sigmoid_cross_entropy;
mod softmax;
mod vector_math;

pub use activation::{Activate, ActivateBackward, Activation, activate, activate_backward};
pub use cross_entropy::{Loss, Reduction, SoftmaxCrossEntropy, Targets, softmax_cross_entropy};
pub use sigmoid_cross_entropy::{SigmoidCrossEntropy, sigmoid_cross_entropy};
pub use softmax::{
    LogSoftmax, LogSoftmaxBackward, LogSumExp, Softmax, SoftmaxBackward, log_softmax,
    log_softmax_backward, log_sum_exp, softmax, softmax_backward,
};
pub use vector_math::{Exp, Ln, exp, ln};
