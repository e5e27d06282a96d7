//! How the running statistics of batch normalisation are kept, tradition by tradition.

/// The weight that the statistics of a new minibatch get in the running ones.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum NewWeight {
    /// Always the same: an exponentially weighted average that starts from mean 0 and variance 1.
    Fixed(f64),
    /// 1/k for minibatch k: the plain average of all.
    Cumulative,
    /// An exponentially weighted average divided by the sum of its weights: old minibatches fade by
    /// this factor, and the starting values do not count.
    Debiased(f64),
    /// `1 - exp(-rows / T)` for a time constant of T rows; the first minibatch replaces the starting
    /// values.
    Rows(f64),
}

impl NewWeight {
    /// The weight of minibatch `k`, counted from 1, of that many rows.
    pub(super) fn of(self, k: u64, rows: usize) -> f64 {
        match self {
            Self::Fixed(weight) => weight,
            Self::Cumulative => 1.0 / k as f64,
            // Weights 1, keep, keep², … sum to (1 - keep^k) / (1 - keep).
            Self::Debiased(keep) => (1.0 - keep) / (1.0 - keep.powf(k as f64)),
            Self::Rows(_) if k == 1 => 1.0,
            Self::Rows(constant) => -(-(rows as f64) / constant).exp_m1(),
        }
    }
}

/// How running statistics are kept, named after those who keep them so. There is no bare
/// `momentum`: for half of these it is the weight of the new minibatch, for the others of the old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BatchNormConvention {
    /// New weight 0.1, unbiased running variance, ε 1e-5. Also Torch7, dfdx and candle.
    #[default]
    PyTorch,
    /// The plain average of all minibatches, unbiased, ε 1e-5: PyTorch's `momentum=None`.
    Cumulative,
    /// New weight 0.1, biased, ε 1e-5: ONNX, PaddlePaddle on a CPU, Gluon, DL4J and burn.
    Onnx,
    /// New weight 0.1, biased, ε 1e-3: the operator of MXNet.
    MxNet,
    /// New weight 0.01, biased, ε 1e-3.
    Keras,
    /// New weight 0.01, unbiased, ε 1e-3.
    TensorFlowFused,
    /// New weight 0.001, biased, ε 1e-3: `tf.contrib.layers.batch_norm` without fusing.
    TensorFlowContrib,
    /// Fading by 0.999, normalised by the sum of the weights, unbiased, ε 1e-5.
    Caffe,
    /// Weight `1 - exp(-rows / 5000)`, the first minibatch as it is, unbiased, ε 1e-5.
    Cntk,
    /// New weight 0.1, unbiased, ε 1e-4.
    Theano,
    /// New weight 0.1 in averages of the mean and of 1/√(σ² + ε) instead of σ², biased, ε 1e-4. What is
    /// kept here is the σ² that has this average; another ε should be given before training.
    Lasagne,
    /// Fading by 0.9 with bias correction, biased variance, ε 1e-5: the moving average of
    /// introductory courses.
    CourseEwa,
}

impl BatchNormConvention {
    /// The weight of a new minibatch.
    pub fn new_weight(self) -> NewWeight {
        match self {
            Self::PyTorch | Self::Onnx | Self::MxNet | Self::Theano | Self::Lasagne => {
                NewWeight::Fixed(0.1)
            }
            Self::Cumulative => NewWeight::Cumulative,
            Self::Keras | Self::TensorFlowFused => NewWeight::Fixed(0.01),
            Self::TensorFlowContrib => NewWeight::Fixed(0.001),
            Self::Caffe => NewWeight::Debiased(0.999),
            Self::Cntk => NewWeight::Rows(5000.0),
            Self::CourseEwa => NewWeight::Debiased(0.9),
        }
    }

    /// Whether the running variance is m/(m-1) times the minibatch's. The minibatch itself is
    /// always normalised by its biased variance.
    pub fn unbiased(self) -> bool {
        match self {
            Self::PyTorch
            | Self::Cumulative
            | Self::TensorFlowFused
            | Self::Caffe
            | Self::Cntk
            | Self::Theano => true,
            Self::Onnx
            | Self::MxNet
            | Self::Keras
            | Self::TensorFlowContrib
            | Self::Lasagne
            | Self::CourseEwa => false,
        }
    }

    /// What is added to the variance under the root.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::MxNet | Self::Keras | Self::TensorFlowFused | Self::TensorFlowContrib => 1e-3,
            Self::Theano | Self::Lasagne => 1e-4,
            _ => 1e-5,
        }
    }

    /// Whether 1/√(σ² + ε) is averaged in the place of σ².
    pub fn averages_inverse_deviations(self) -> bool {
        self == Self::Lasagne
    }

    /// The variance before the first minibatch: averages of 1/√(σ² + ε) begin at 1 too.
    pub(super) fn first_variance(self, epsilon: f64) -> f64 {
        if self.averages_inverse_deviations() { 1.0 - epsilon } else { 1.0 }
    }
}
