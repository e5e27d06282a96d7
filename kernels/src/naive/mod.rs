//! The executable specification: every operation as one obvious loop that accumulates in `f64`.
//!
//! Same names as the fast twins. Slow, sequential, and the oracle of every test; use it to learn
//! what an operation means, never for speed. Arguments of the wrong shape panic.

mod activation;
mod batch_norm;
mod convert;
mod cross_entropy;
mod dropout;
mod gemm;
mod im2col;
mod layer_norm;
mod optimizer;
mod pool;
mod reduce;
mod regression;
mod softmax;
mod vector_math;

pub use activation::{activate, activate_backward, activate_backward_from_input};
pub use batch_norm::{
    add_residual, add_residual_backward, batch_norm_backward, batch_norm_forward,
    batch_norm_inference,
};
pub use convert::{Number, convert};
pub use cross_entropy::{
    CrossEntropyOptions, linear_cross_entropy, sigmoid_cross_entropy, softmax_cross_entropy,
};
pub use dropout::dropout;
pub use gemm::{batched_gemm, gemm};
pub use im2col::{col2im, im2col};
pub use layer_norm::{layer_norm, layer_norm_backward, rms_norm, rms_norm_backward};
pub use optimizer::{
    adagrad_step, adam_step, global_norm, momentum_step, rms_prop_step, sgd_step, stored_state,
};
pub use pool::{pool, pool_backward};
pub use reduce::{
    argmax, argmax_rows, column_mean_var, column_sums, l2_norm, max, mean, mean_var, row_sums, sum,
};
pub use regression::regression_loss;
pub use softmax::{log_softmax, log_softmax_backward, log_sum_exp, softmax, softmax_backward};
pub use vector_math::{erf, exp, expm1, ln, log1p, rsqrt};
