//! The operations: one file per family, forward and backward adjacent, each with its twin of the
//! same name in [`naive`](crate::naive).

mod activation;
mod batch_norm;
pub(crate) mod compiled;
mod convert;
mod cross_entropy;
mod dropout;
pub(crate) mod elementwise;
mod im2col;
mod layer_norm;
mod optimizer;
mod pool;
mod range;
pub(crate) mod reduce;
mod regression;
mod rows;
mod sigmoid_cross_entropy;
mod softmax;
pub(crate) mod storage;
mod vector_math;
mod window;

pub(crate) use activation::FunctionUser;
pub use activation::{
    Activate, ActivateBackward, Activation, activate, activate_backward,
    activate_backward_from_input,
};
pub use batch_norm::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchNormInference,
    BatchNorms, BatchStats, Running, batch_norm_backward, batch_norm_forward, batch_norm_inference,
};
pub use convert::{Convert, ConvertTo, convert};
pub use cross_entropy::{
    LinearCrossEntropy, LinearCrossEntropyGrads, Loss, Reduction, SoftmaxCrossEntropy, Targets,
    softmax_cross_entropy,
};
pub use dropout::Dropout;
pub use im2col::{Patches, col2im, im2col};
pub use layer_norm::{
    NormGrads, RowNorm, RowNormBackward, RowStats, layer_norm, layer_norm_backward, rms_norm,
    rms_norm_backward,
};
pub use optimizer::{
    AdagradStep, AdamStep, EpsilonPlacement, GlobalNorm, Moments, MomentumForm, MomentumStep,
    RmsPropStep, SgdStep, State, StateRounding, StepOptions, StepTensor, clip_factor, global_norm,
};
pub use pool::{Pool, Pooling, pool, pool_backward};
pub use reduce::{
    Argmax, ArgmaxRows, ColumnMeanVar, ColumnSums, L2Norm, Max, Mean, MeanVar, RowSums, Sum,
    argmax, argmax_rows, column_mean_var, column_sums, l2_norm, max, mean, mean_var, row_sums, sum,
};
pub use regression::{Distance, RegressionLoss, regression_loss};
pub use sigmoid_cross_entropy::{SigmoidCrossEntropy, sigmoid_cross_entropy};
pub use softmax::{
    LogSoftmax, LogSoftmaxBackward, LogSumExp, Softmax, SoftmaxBackward, log_softmax,
    log_softmax_backward, log_sum_exp, softmax, softmax_backward,
};
pub use storage::Storage;
pub use vector_math::{Erf, Exp, Expm1, Ln, Log1p, Rsqrt, erf, exp, expm1, ln, log1p, rsqrt};
pub use window::{ImageDims, Window};
