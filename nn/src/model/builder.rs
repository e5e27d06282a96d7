//! From a list of layers to a model: widths are checked, biases before batch normalisation dropped
//! and weights drawn.

use tilewise_kernels::{Activation, Float};

use super::Sequential;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::layers::{ActivationLayer, BatchNorm, BatchNormConvention, Dropout, Layer, Linear};
use crate::random::Random;

#[derive(Debug, Clone, Copy)]
enum Plan {
    Linear { inputs: usize, outputs: usize, init: Init },
    BatchNorm { convention: BatchNormConvention, epsilon: f64 },
    Activation(Activation),
    Dropout(f64),
}

/// A network to be: layers in order, first to last.
///
/// A [`linear`](Self::linear) layer directly before a [`batch_norm`](Self::batch_norm) gets no
/// bias, because the normalisation would take it out again. A [`relu`](Self::relu) directly behind
/// a batch normalisation runs in its passes; it keeps its position in the names of tensors.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SequentialBuilder {
    plans: Vec<Plan>,
    init: Option<Init>,
}

impl SequentialBuilder {
    /// A fully connected layer.
    pub fn linear(self, inputs: usize, outputs: usize) -> Self {
        let init = self.init.unwrap_or_default();
        self.with(Plan::Linear { inputs, outputs, init })
    }

    /// Batch normalisation of the columns, with PyTorch's running statistics.
    pub fn batch_norm(self) -> Self {
        self.batch_norm_like(BatchNormConvention::default())
    }

    /// Batch normalisation with the running statistics and the ε of `convention`.
    pub fn batch_norm_like(self, convention: BatchNormConvention) -> Self {
        self.with(Plan::BatchNorm { convention, epsilon: convention.epsilon() })
    }

    /// Batch normalisation with the running statistics of `convention` and an ε of its own.
    pub fn batch_norm_epsilon(self, convention: BatchNormConvention, epsilon: f64) -> Self {
        self.with(Plan::BatchNorm { convention, epsilon })
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.with(Plan::Activation(Activation::Relu))
    }

    /// `1 / (1 + e^-x)`, for hidden layers; a sigmoid at the end belongs to the loss.
    pub fn sigmoid(self) -> Self {
        self.with(Plan::Activation(Activation::Sigmoid))
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.with(Plan::Activation(Activation::Tanh))
    }

    /// `max(x, slope·x)`, for slopes of 0 to 1.
    pub fn leaky_relu(self, slope: f64) -> Self {
        self.with(Plan::Activation(Activation::LeakyRelu { slope }))
    }

    /// `x` above 0, `alpha·(e^x - 1)` below it (Clevert, Unterthiner and Hochreiter 2016).
    pub fn elu(self, alpha: f64) -> Self {
        self.with(Plan::Activation(Activation::Elu { alpha }))
    }

    /// `x·Φ(x)` with the normal distribution Φ (Hendrycks and Gimpel 2016), by the error function.
    pub fn gelu(self) -> Self {
        self.with(Plan::Activation(Activation::Gelu))
    }

    /// GELU with the customary approximation of Φ by a hyperbolic tangent.
    pub fn gelu_tanh(self) -> Self {
        self.with(Plan::Activation(Activation::GeluTanh))
    }

    /// `x / (1 + e^-x)`, also called swish.
    pub fn silu(self) -> Self {
        self.with(Plan::Activation(Activation::Silu))
    }

    /// `ln(1 + e^x)`, a ReLU without the kink.
    pub fn softplus(self) -> Self {
        self.with(Plan::Activation(Activation::Softplus))
    }

    /// Dropout of each value with probability `rate`.
    pub fn dropout(self, rate: f64) -> Self {
        self.with(Plan::Dropout(rate))
    }

    /// Sets the initial weights of the [`linear`](Self::linear) layers that follow; they are
    /// [`Init::HeUniform`] otherwise.
    pub fn init(self, init: Init) -> Self {
        Self { init: Some(init), ..self }
    }

    /// The model in `f32`.
    ///
    /// # Errors
    /// If there is no layer, the first one is not linear, or a layer cannot take what the one
    /// before it gives; the error names the layer.
    pub fn build(self, seed: u64) -> Result<Sequential<f32>> {
        self.build_as(seed)
    }

    /// The model in `T`. Weights are drawn in `f64` and rounded, so that a seed gives the same
    /// model in both types.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub fn build_as<T: Float>(self, seed: u64) -> Result<Sequential<T>> {
        let Some(&Plan::Linear { inputs, .. }) = self.plans.first() else {
            let first = self.plans.first().map_or("no layer", Plan::kind);
            return Err(Error::shape("model", "a linear layer first", first));
        };
        let random = Random::new(seed);
        let mut layers: Vec<(usize, Box<dyn Layer<T>>)> = Vec::with_capacity(self.plans.len());
        let mut width = inputs;
        let mut plans = self.plans.iter().enumerate().peekable();
        while let Some((index, plan)) = plans.next() {
            let next = plans.peek().map(|(_, next)| **next);
            let seed = random.stream(index as u64).bits();
            let layer = plan
                .make(&mut width, next, seed)
                .map_err(|error| error.within(format!("layer {index} {}", plan.kind())))?;
            layers.push((index, layer));
            if plan.takes_in(next) {
                plans.next();
            }
        }
        Sequential::from_positions(inputs, layers)
    }

    fn with(mut self, plan: Plan) -> Self {
        self.plans.push(plan);
        self
    }
}

impl Plan {
    fn kind(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activation(_) => "activation",
            Self::Dropout(_) => "dropout",
        }
    }

    /// Whether this layer does the work of the next one too.
    fn takes_in(&self, next: Option<Self>) -> bool {
        matches!((self, next), (Self::BatchNorm { .. }, Some(Self::Activation(Activation::Relu))))
    }

    /// The layer behind one of `width` outputs, which becomes this layer's.
    fn make<T: Float>(
        &self,
        width: &mut usize,
        next: Option<Self>,
        seed: u64,
    ) -> Result<Box<dyn Layer<T>>> {
        Ok(match *self {
            Self::Linear { inputs, outputs, init } => {
                *width = outputs;
                let bias = !matches!(next, Some(Self::BatchNorm { .. }));
                Box::new(Linear::new([inputs, outputs], bias, init, seed)?)
            }
            Self::BatchNorm { convention, epsilon } => {
                let layer = BatchNorm::new(*width, convention).epsilon(epsilon)?;
                Box::new(layer.relu(self.takes_in(next)))
            }
            Self::Activation(f) => Box::new(ActivationLayer(f)),
            Self::Dropout(rate) => Box::new(Dropout::new(rate, seed)?),
        })
    }
}
