//! The `candle` crates, which compute in tensors of their own and allocate one per result.
//!
//! They take their number of threads from the environment, once, and what `rayon` gives them.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, BatchNorm, Linear, Module, Optimizer, ParamsAdamW, loss, ops};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tilewise_kernels::{Float, MatRef};

use super::operation::{Batch, Network, Owned};

/// A call with its input tensors, and the tensors that it last returned.
pub(super) struct Call {
    call: Box<dyn FnMut() -> Result<Vec<Tensor>> + Send + Sync>,
    outputs: Vec<Tensor>,
}

/// How many threads it uses: what the environment says.
pub(super) fn threads() -> usize {
    candle_core::utils::get_num_threads()
}

thread_local! {
    /// A pool of this thread alone, where it is to be alone. The crates hand their loops to `rayon`, which
    /// would otherwise run them on a thread of its own, out of sight of this one's clock. This thread stays
    /// in the pool for good, and others would find one thread there.
    static ALONE: Option<ThreadPool> = (threads() == 1)
        .then(|| ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok())
        .flatten();
}

impl Call {
    fn new(call: impl FnMut() -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Self {
        Self { call: Box::new(call), outputs: Vec::new() }
    }
}

impl Owned for Call {
    fn run(&mut self) {
        let call = &mut self.call;
        let outputs = ALONE.with(|pool| match pool {
            // A thread that is in a pool already has none of its own.
            Some(pool) => pool.install(call),
            None => call(),
        });
        self.outputs = outputs.expect("tensors that fit");
    }

    fn outputs(&self) -> Vec<f64> {
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        self.outputs.iter().flat_map(|tensor| values(tensor).expect("a tensor")).collect()
    }
}

/// A tensor of that shape.
fn tensor<T: Float>(values: &[T], shape: &[usize]) -> Tensor {
    let values: Vec<f64> = values.iter().map(|value| value.to_f64()).collect();
    let dtype = if T::NAME == "f64" { DType::F64 } else { DType::F32 };
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu);
    tensor.and_then(|tensor| tensor.to_dtype(dtype)).expect("as many values as the shape has")
}

/// A matrix whose rows, or whose columns, lie one after the other.
fn matrix<T: Float>(matrix: &MatRef<T>) -> Tensor {
    let (rows, cols, len) = (matrix.rows(), matrix.cols(), matrix.rows() * matrix.cols());
    let values = &matrix.data()[..len];
    if matrix.col_stride() == 1 {
        return tensor(values, &[rows, cols]);
    }
    tensor(values, &[cols, rows]).t().expect("two dimensions")
}

pub(super) fn product<T: Float>(a: MatRef<T>, b: MatRef<T>) -> Call {
    let (a, b) = (matrix(&a), matrix(&b));
    Call::new(move || Ok(vec![a.matmul(&b)?]))
}

pub(super) fn softmax(x: MatRef<f32>, log: bool) -> Call {
    let x = matrix(&x);
    Call::new(move || {
        Ok(vec![if log { ops::log_softmax(&x, 1)? } else { ops::softmax_last_dim(&x)? }])
    })
}

fn classes(labels: &[usize]) -> Tensor {
    let classes = labels.iter().map(|&label| u32::try_from(label).expect("a small number"));
    Tensor::from_iter(classes, &Device::Cpu).expect("a tensor")
}

pub(super) fn cross_entropy(logits: MatRef<f32>, labels: &[usize]) -> Call {
    let classes = classes(labels);
    let logits = Var::from_tensor(&matrix(&logits)).expect("a variable");
    Call::new(move || {
        let loss = loss::cross_entropy(&logits, &classes)?;
        let mut gradients = loss.backward()?;
        let gradient = gradients.remove(&logits).expect("the loss depends on the logits");
        Ok(vec![gradient, loss])
    })
}

/// Rows of channels, or planes.
pub(super) fn batch_norm(batch: &Batch) -> Call {
    let dims = batch.dims;
    let x = match dims.inner {
        1 => tensor(batch.x, &[dims.outer, dims.channels]),
        inner => tensor(batch.x, &[dims.outer, dims.channels, inner]),
    };
    let vector = |values: &[f32]| tensor(values, &[dims.channels]);
    let running = || vector(&vec![0.0; dims.channels]);
    let norm = BatchNorm::new_with_momentum(
        dims.channels,
        running(),
        running(),
        vector(batch.gamma),
        vector(batch.beta),
        f64::from(batch.epsilon),
        // What is running is this batch's.
        1.0,
    );
    let (norm, relu) = (norm.expect("vectors of the channels' length"), batch.relu);
    let count = (dims.outer * dims.inner) as f64;
    Call::new(move || {
        let y = norm.forward_train(&x)?;
        let y = if relu { y.relu()? } else { y };
        // It keeps the unbiased variance.
        let var = (norm.running_var() * ((count - 1.0) / count))?;
        Ok(vec![y, norm.running_mean().clone(), var])
    })
}

/// A layer with weights, and what stands behind it: where it is hidden, batch normalisation and ReLU.
struct Layer {
    weight: Tensor,
    bias: Option<Tensor>,
    norm: Option<BatchNorm>,
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = Linear::new(self.weight.clone(), self.bias.clone()).forward(x)?;
        match &self.norm {
            Some(norm) => norm.forward_train(&y)?.relu(),
            None => Ok(y),
        }
    }
}

fn layers(parameters: &[Var], epsilon: f64) -> Result<Vec<Layer>> {
    let mut rest = parameters.iter().map(|parameter| parameter.as_tensor().clone()).peekable();
    let mut layers = Vec::new();
    while let Some(weight) = rest.next() {
        let vector = rest.next().expect("a vector behind each weight");
        // Another vector, and not the next layer's weight: a factor and a shift, and not a bias.
        let layer = match rest.next_if(|next| next.rank() == 1) {
            Some(shift) => {
                let outputs = weight.dim(0)?;
                let zeros = Tensor::zeros(outputs, weight.dtype(), &Device::Cpu)?;
                let ones = zeros.ones_like()?;
                let norm = BatchNorm::new(outputs, zeros, ones, vector, shift, epsilon)?;
                Layer { weight, bias: None, norm: Some(norm) }
            }
            None => Layer { weight, bias: Some(vector), norm: None },
        };
        layers.push(layer);
    }
    Ok(layers)
}

/// The gradients by all parameters, then the loss.
pub(super) fn training_step<T: Float>(network: &Network<T>) -> Call {
    let parameters = network.parameters.iter().map(|(shape, values)| tensor(values, shape));
    let parameters: Vec<Var> =
        parameters.map(|values| Var::from_tensor(&values).expect("a variable")).collect();
    let layers = layers(&parameters, network.epsilon).expect("layers that fit each other");
    // At rest, like ours.
    let rule = ParamsAdamW { lr: 0.0, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut adam = AdamW::new(parameters.clone(), rule).expect("variables");
    let (x, labels) = (tensor(network.x, network.dims), classes(network.labels));
    Call::new(move || {
        let logits = layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))?;
        let loss = loss::cross_entropy(&logits, &labels)?;
        let mut gradients = loss.backward()?;
        adam.step(&gradients)?;
        let by = |parameter: &Var| gradients.remove(parameter).expect("the loss depends on it");
        let mut outputs: Vec<Tensor> = parameters.iter().map(by).collect();
        outputs.push(loss);
        Ok(outputs)
    })
}
