//! Layers: forward for training, inference, and backward, each made of kernels.

mod activation;
mod add;
mod batch_norm;
mod conv2d;
mod convention;
mod dropout;
mod embedding;
mod linear;
mod pool;
mod row_norm;
mod share;

use std::fmt::Debug;

use tilewise_kernels::{Activation, ColumnSums, Exec, Float, MatRef, Precision, Result, RowSums};

pub use activation::ActivationLayer;
pub(crate) use add::Add;
pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use convention::{BatchNormConvention, NewWeight};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::Linear;
pub use pool::Pool2d;
pub use row_norm::RowNormalization;

use crate::matrix::Matrix;

/// What a parameter is for; optimisers decide by it whether weight decay applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterKind {
    /// The matrix of a linear layer, the filters of a convolution, the vectors of an embedding.
    Weight,
    /// An additive vector: a bias, or the shift β of a normalisation.
    Bias,
    /// A multiplicative vector: the scale γ of a normalisation.
    Scale,
}

/// A trained tensor with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter<T = f32> {
    /// The name within the layer, as PyTorch has it.
    pub name: &'static str,
    /// What it is for.
    pub kind: ParameterKind,
    /// The extents of `value` and `gradient`, outermost first.
    pub shape: Vec<usize>,
    /// The current values.
    pub value: Vec<T>,
    /// The derivative of the loss by each value, of the last backward pass.
    pub gradient: Vec<T>,
    /// A factor on the learning rate, 1 at first; 0 keeps the values as they are.
    pub rate: f64,
    /// A factor on weight decay: at first 1 for a weight and 0 for everything else.
    pub decay: f64,
}

impl<T: Float> Parameter<T> {
    /// A parameter whose values are all `fill`.
    pub fn new(name: &'static str, kind: ParameterKind, shape: &[usize], fill: T) -> Self {
        let len = shape.iter().product();
        Self {
            name,
            kind,
            shape: shape.to_vec(),
            value: vec![fill; len],
            gradient: vec![T::ZERO; len],
            rate: 1.0,
            decay: if kind == ParameterKind::Weight { 1.0 } else { 0.0 },
        }
    }
}

/// State that is saved with the weights but not trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Buffer<'a, T> {
    /// A vector.
    Values(&'a [T]),
    /// A counter.
    Count(u64),
}

/// The same, to be replaced.
#[derive(Debug, PartialEq)]
pub enum BufferMut<'a, T> {
    /// A vector.
    Values(&'a mut [T]),
    /// A counter.
    Count(&'a mut u64),
}

/// How a training pass runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass {
    /// Instruction set and threads.
    pub exec: Exec,
    /// The number of the step; random layers draw by it, so that a step can be repeated exactly.
    pub step: u64,
    /// Layers keep their running statistics as they are.
    pub freeze_statistics: bool,
    /// How exactly matrix products are computed; everything else, and every sum, is in the type of the
    /// values.
    pub precision: Precision,
}

/// What a layer gets back from its forward pass, and the gradient by its output.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a, T> {
    /// The input of the forward pass.
    pub x: &'a Matrix<T>,
    /// Its output.
    pub y: &'a Matrix<T>,
    /// The derivative of the loss by the output.
    pub dy: &'a Matrix<T>,
}

/// A scale and a shift of each channel, and perhaps a ReLU behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelAffine {
    /// Factors, one per channel.
    pub scale: Vec<f64>,
    /// What is added to the products.
    pub shift: Vec<f64>,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// One step of a network, from one row of `x` to one row of `y`.
///
/// The model gives every layer outputs of the right shape: as many rows as `x` and
/// [`output_width`](Self::output_width) columns. Inference takes `&self`: it cannot change state.
pub trait Layer<T: Float>: Debug + Send + Sync {
    /// The layer's kind in error messages and summaries, such as `batch_norm`.
    fn kind(&self) -> &'static str;

    /// The number of columns that come out where `input` columns go in.
    ///
    /// # Errors
    /// If the layer cannot take that many.
    fn output_width(&self, input: usize) -> Result<usize>;

    /// The forward pass of a training step; may take notes for [`backward`](Self::backward).
    ///
    /// # Errors
    /// If the batch is unfit for training.
    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()>;

    /// The forward pass of a trained layer.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()>;

    /// From the gradient by the output to the gradients of the parameters and, where `dx` is given,
    /// by the input.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()>;

    /// The trained tensors.
    fn parameters(&self) -> &[Parameter<T>] {
        &[]
    }

    /// The trained tensors, to be stepped.
    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut []
    }

    /// State beside the parameters, with names.
    fn buffers(&self) -> Vec<(&'static str, Buffer<'_, T>)> {
        Vec::new()
    }

    /// The same, to be loaded.
    fn buffers_mut(&mut self) -> Vec<(&'static str, BufferMut<'_, T>)> {
        Vec::new()
    }

    /// The smallest minibatch the layer can be trained with.
    fn min_training_rows(&self) -> usize {
        1
    }

    /// Takes the statistics that inference needs from `x`, the layer's input for a whole data set.
    ///
    /// # Errors
    /// If `x` is unfit.
    fn recalibrate(&mut self, _x: &Matrix<T>, _exec: Exec) -> Result<()> {
        Ok(())
    }

    /// What inference does, where that is a scale and a shift of each channel.
    fn channel_affine(&self) -> Option<ChannelAffine> {
        None
    }

    /// Takes scale and shift of the output's channels into the weights, whatever the activation behind them
    /// is. Gives whether it did; if not, nothing has changed.
    fn absorb(&mut self, _affine: &ChannelAffine) -> bool {
        false
    }

    /// What else runs in this layer's passes, such as a bias or an activation in the store of its product;
    /// for reports.
    fn fused(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Additions, multiplications and elementary functions of the forward pass over `rows` rows of `input`
    /// columns, for reports; the backward pass is taken to need as many for the gradient by the input, and
    /// as many for those of the parameters. One for each value that comes in, unless told otherwise.
    fn flops(&self, rows: usize, input: usize) -> u64 {
        (rows * input) as u64
    }

    /// Takes an activation behind this layer into its store. Gives whether it did.
    fn take_activation(&mut self, _f: Activation) -> bool {
        false
    }

    /// Whether training uses running statistics instead of the minibatch's, and whether it updates
    /// them; layers without statistics ignore it.
    fn set_statistics(&mut self, _use_running: bool, _update_running: bool) {}
}

/// The first `len` elements of `room`, which grows where it has fewer; what they hold means nothing.
fn room<T: Float>(room: &mut Vec<T>, len: usize) -> &mut [T] {
    if room.len() < len {
        room.resize(len, T::ZERO);
    }
    &mut room[..len]
}

/// Where a gradient of the shape of `x` goes: to `wanted`, or else to `unwanted`, which becomes as large.
fn wanted_or<'a, T: Float>(
    wanted: Option<&'a mut Matrix<T>>,
    unwanted: &'a mut Matrix<T>,
    x: &Matrix<T>,
) -> &'a mut Matrix<T> {
    wanted.unwrap_or_else(|| {
        unwanted.resize_like(x);
        unwanted
    })
}

/// The sums of `values` of shape `[rows, channels, positions]` by channel: along positions first, for
/// which there is `space`, then over rows.
fn channel_sums<T: Float>(
    values: &[T],
    [rows, channels, positions]: [usize; 3],
    sums: &mut [T],
    space: &mut Vec<T>,
    exec: Exec,
) -> Result<()> {
    if positions == 1 {
        return ColumnSums::new(MatRef::new(values, rows, channels)?, sums)?.run(exec);
    }
    let planes = room(space, rows * channels);
    RowSums::new(MatRef::new(values, rows * channels, positions)?, planes)?.run(exec)?;
    ColumnSums::new(MatRef::new(planes, rows, channels)?, sums)?.run(exec)
}

/// Scales filters (rows of a weight, the first of `parameters`) and shifts the bias, which is made where
/// there is none. Gives whether there is one scale for each filter.
fn absorb<T: Float>(parameters: &mut Vec<Parameter<T>>, affine: &ChannelAffine) -> bool {
    let filters = affine.scale.len();
    let Some(weight) = parameters.first_mut().filter(|weight| weight.shape[0] == filters) else {
        return false;
    };
    let width = weight.value.len() / filters.max(1);
    for (filter, scale) in weight.value.chunks_mut(width.max(1)).zip(&affine.scale) {
        filter.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * scale));
    }
    if parameters.len() == 1 {
        parameters.push(Parameter::new("bias", ParameterKind::Bias, &[filters], T::ZERO));
    }
    let values = affine.scale.iter().zip(&affine.shift);
    for (bias, (scale, shift)) in parameters[1].value.iter_mut().zip(values) {
        *bias = T::from_f64(bias.to_f64() * scale + shift);
    }
    true
}
