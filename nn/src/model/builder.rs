//! The words in which a model is written down.

use tilewise_kernels::{Activation, Float, ImageDims, Pooling, Precision, Window};

use super::Sequential;
use super::plan::{Assembly, LayerPlan, Plan, Shape};
use crate::error::{Error, Result};
use crate::init::Init;
use crate::layers::BatchNormConvention;

/// A network to be: layers in order, first to last.
///
/// ```
/// use tilewise_nn::prelude::*;
///
/// let model = Sequential::new()
///     .input_image(1, 28, 28)
///     .conv2d(8, 3)
///     .batch_norm()
///     .relu()
///     .max_pool(2)
///     .residual(|block| block.conv2d_same(8, 3).batch_norm().relu().conv2d_same(8, 3).batch_norm())
///     .relu()
///     .global_average_pool()
///     .flatten()
///     .linear(8, 10)
///     .build(1)?;
/// assert_eq!((model.inputs(), model.outputs()), (28 * 28, 10));
/// # Ok::<(), Error>(())
/// ```
///
/// A [`linear`](Self::linear) or [`conv2d`](Self::conv2d) layer directly before a
/// [`batch_norm`](Self::batch_norm) gets no bias, because the normalisation would take it out again. A
/// [`relu`](Self::relu) directly behind a batch normalisation runs in its passes; it keeps its position
/// in the names of tensors. An image is a row of columns: channel by channel, and each of them row by
/// row, as PyTorch flattens it.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SequentialBuilder {
    plans: Vec<Plan>,
    init: Option<Init>,
    input: Option<Shape>,
    precision: Precision,
}

impl SequentialBuilder {
    /// Says that a row has `features` columns: needed where the first layer is not linear.
    pub fn input(self, features: usize) -> Self {
        Self { input: Some(Shape::Flat(features)), ..self }
    }

    /// Says that a row is an image, channel by channel and each of them row by row.
    pub fn input_image(self, channels: usize, height: usize, width: usize) -> Self {
        Self { input: Some(Shape::Image(ImageDims { channels, height, width })), ..self }
    }

    /// Convolution with `filters` filters of `window`: the side of a square that moves by 1 without
    /// padding, or a [`Window`](tilewise_kernels::Window).
    pub fn conv2d(self, filters: usize, window: impl Into<Window>) -> Self {
        let init = self.init.unwrap_or_default();
        self.with(LayerPlan::Conv2d { filters, window: window.into(), init })
    }

    /// Convolution with `filters` square filters of odd `side`, padded so that the image keeps its size.
    pub fn conv2d_same(self, filters: usize, side: usize) -> Self {
        let around = side.saturating_sub(1) / 2;
        self.conv2d(filters, Window::from(side).padding(around, around))
    }

    /// The largest value of each square of `side`, which do not overlap.
    pub fn max_pool(self, side: usize) -> Self {
        self.max_pool_window(Window::from(side).stride(side, side))
    }

    /// The largest value of each position of `window`.
    pub fn max_pool_window(self, window: Window) -> Self {
        self.with(LayerPlan::Pool { kind: Pooling::Max, window: Some(window) })
    }

    /// The mean of each square of `side`, which do not overlap.
    pub fn average_pool(self, side: usize) -> Self {
        self.average_pool_window(Window::from(side).stride(side, side))
    }

    /// The mean of each position of `window`; padding does not count.
    pub fn average_pool_window(self, window: Window) -> Self {
        self.with(LayerPlan::Pool { kind: Pooling::Mean, window: Some(window) })
    }

    /// The mean of each channel.
    pub fn global_average_pool(self) -> Self {
        self.with(LayerPlan::Pool { kind: Pooling::Mean, window: None })
    }

    /// Sees an image as columns from here on. Nothing moves; it keeps a position in the names of tensors.
    pub fn flatten(mut self) -> Self {
        self.plans.push(Plan::Flatten);
        self
    }

    /// Adds what `body` makes of its input to that input (He and others 2016); both have one shape.
    pub fn residual(self, body: impl FnOnce(Self) -> Self) -> Self {
        self.residual_with(body, |shortcut| shortcut)
    }

    /// Adds what `body` makes of its input to what `shortcut` makes of it, such as
    /// `|shortcut| shortcut.conv2d(32, 1)` where the body has 32 channels.
    pub fn residual_with(
        mut self,
        body: impl FnOnce(Self) -> Self,
        shortcut: impl FnOnce(Self) -> Self,
    ) -> Self {
        let branch = || Self { init: self.init, ..Self::default() };
        let (body, shortcut) = (body(branch()).plans, shortcut(branch()).plans);
        self.plans.push(Plan::Residual { body, shortcut });
        self
    }

    /// A vector of `dim` values for each of `count` numbers: every column holds one, `0.0`, `1.0` and so
    /// on. For the first layer, after [`input`](Self::input).
    pub fn embedding(self, count: usize, dim: usize) -> Self {
        self.with(LayerPlan::Embedding { count, dim })
    }

    /// Layer normalisation of each row, with ε = 1e-5.
    pub fn layer_norm(self) -> Self {
        self.with(LayerPlan::RowNorm { centred: true })
    }

    /// Normalisation of each row by its root mean square, with ε = 1e-5.
    pub fn rms_norm(self) -> Self {
        self.with(LayerPlan::RowNorm { centred: false })
    }

    /// A fully connected layer.
    pub fn linear(self, inputs: usize, outputs: usize) -> Self {
        let init = self.init.unwrap_or_default();
        self.with(LayerPlan::Linear { inputs, outputs, init })
    }

    /// Batch normalisation of the columns, or of the channels of an image, with PyTorch's running
    /// statistics.
    pub fn batch_norm(self) -> Self {
        self.batch_norm_like(BatchNormConvention::default())
    }

    /// Batch normalisation with the running statistics and the ε of `convention`.
    pub fn batch_norm_like(self, convention: BatchNormConvention) -> Self {
        self.with(LayerPlan::BatchNorm { convention, epsilon: convention.epsilon() })
    }

    /// Batch normalisation with the running statistics of `convention` and an ε of its own.
    pub fn batch_norm_epsilon(self, convention: BatchNormConvention, epsilon: f64) -> Self {
        self.with(LayerPlan::BatchNorm { convention, epsilon })
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Relu))
    }

    /// `1 / (1 + e^-x)`, for hidden layers; a sigmoid at the end belongs to the loss.
    pub fn sigmoid(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Sigmoid))
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Tanh))
    }

    /// `max(x, slope·x)`, for slopes of 0 to 1.
    pub fn leaky_relu(self, slope: f64) -> Self {
        self.with(LayerPlan::Activation(Activation::LeakyRelu { slope }))
    }

    /// `x` above 0, `alpha·(e^x - 1)` below it (Clevert, Unterthiner and Hochreiter 2016).
    pub fn elu(self, alpha: f64) -> Self {
        self.with(LayerPlan::Activation(Activation::Elu { alpha }))
    }

    /// `x·Φ(x)` with the normal distribution Φ (Hendrycks and Gimpel 2016), by the error function.
    pub fn gelu(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Gelu))
    }

    /// GELU with the customary approximation of Φ by a hyperbolic tangent.
    pub fn gelu_tanh(self) -> Self {
        self.with(LayerPlan::Activation(Activation::GeluTanh))
    }

    /// `x / (1 + e^-x)`, also called swish.
    pub fn silu(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Silu))
    }

    /// `ln(1 + e^x)`, a ReLU without the kink.
    pub fn softplus(self) -> Self {
        self.with(LayerPlan::Activation(Activation::Softplus))
    }

    /// Dropout of each value with probability `rate`.
    pub fn dropout(self, rate: f64) -> Self {
        self.with(LayerPlan::Dropout(rate))
    }

    /// Sets the initial weights of the [`linear`](Self::linear) and [`conv2d`](Self::conv2d) layers that
    /// follow; they are [`Init::HeUniform`] otherwise.
    pub fn init(self, init: Init) -> Self {
        Self { init: Some(init), ..self }
    }

    /// Sets how exactly training multiplies matrices; see
    /// [`set_precision`](Sequential::set_precision).
    ///
    /// ```
    /// use tilewise_kernels::Precision;
    /// use tilewise_nn::prelude::*;
    ///
    /// let (train, test) = digits()?.stratified_split(360, 1)?;
    /// let model = Sequential::new().linear(64, 32).batch_norm().relu().linear(32, 10);
    /// let mut model = model.precision(Precision::Bf16).build(1)?;
    /// let adam = Adam::default().learning_rate(0.01);
    /// Trainer::new(adam).epochs(5).progress(false).fit(&mut model, &train, &test)?;
    /// assert!(model.evaluate(&test)?.accuracy > 0.9);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The model in `f32`.
    ///
    /// # Errors
    /// If there is no layer, the shape of the input is not known, or a layer cannot take what the one
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
        let input = match (self.input, self.plans.first()) {
            (Some(shape), _) => shape,
            (None, Some(Plan::Layer(LayerPlan::Linear { inputs, .. }))) => Shape::Flat(*inputs),
            (None, first) => {
                let expected = "a linear layer first, or its input(features) or input_image(channels, \
                                height, width)";
                let got = if first.is_none() { "no layer" } else { "another layer" };
                return Err(Error::shape("model", expected, got));
            }
        };
        if let Shape::Image(dims) = input {
            dims.len()?;
        }
        let mut model = Assembly::model(&self.plans, input, seed)?;
        model.set_precision(self.precision);
        Ok(model)
    }

    fn with(mut self, plan: LayerPlan) -> Self {
        self.plans.push(Plan::Layer(plan));
        self
    }
}
