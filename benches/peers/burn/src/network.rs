//! The network as burn's users write it.

use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::reference;

/// A linear layer, and where it is hidden what follows it.
#[derive(Module, Debug)]
struct Layer {
    linear: Linear,
    norm: Option<BatchNorm>,
}

/// Batch normalisation and ReLU behind all layers but the last.
#[derive(Module, Debug)]
struct Network {
    layers: Vec<Layer>,
}

impl Network {
    fn new(widths: &[usize], device: &Device) -> Self {
        let layer = |(i, ends): (usize, &[usize])| {
            let is_last = i + 2 == widths.len();
            let linear = LinearConfig::new(ends[0], ends[1]).with_bias(is_last).init(device);
            let norm = (!is_last).then(|| BatchNormConfig::new(ends[1]).init(device));
            Layer { linear, norm }
        };
        Self { layers: widths.windows(2).enumerate().map(layer).collect() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(x, |x, layer| {
            let y = layer.linear.forward(x);
            match &layer.norm {
                Some(norm) => relu(norm.forward(y)),
                None => y,
            }
        })
    }
}

/// A training step with all that it needs.
pub struct Step {
    /// The optimiser takes it and gives another one back.
    network: Option<Network>,
    adam: ModuleOptimizer,
    loss: CrossEntropyLoss,
    x: Tensor<2>,
    labels: Tensor<1, Int>,
    /// What `x` and `labels` hold.
    inputs: Vec<f32>,
    classes: Vec<usize>,
}

impl Step {
    /// Of a network of those widths, on features and labels that are drawn.
    pub fn new(rows: usize, widths: &[usize]) -> Self {
        let device = Device::flex().autodiff();
        let mut random = Random(1);
        let inputs: Vec<f32> = (0..rows * widths[0]).map(|_| random.unit() * 2.0 - 1.0).collect();
        let count = widths[widths.len() - 1];
        let class = |_| ((random.unit() * count as f32) as usize).min(count - 1);
        let classes: Vec<usize> = (0..rows).map(class).collect();
        let labels: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
        Self {
            network: Some(Network::new(widths, &device)),
            adam: AdamConfig::new().with_epsilon(1e-8).init(),
            loss: CrossEntropyLossConfig::new().init(&device),
            x: Tensor::from_data(TensorData::new(inputs.clone(), [rows, widths[0]]), &device),
            labels: Tensor::from_data(TensorData::new(labels, [rows]), &device),
            inputs,
            classes,
        }
    }

    fn gradients(&self, network: &Network) -> (Tensor<1>, GradientsParams) {
        let loss = self.loss.forward(network.forward(self.x.clone()), self.labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), network);
        (loss, gradients)
    }

    /// One step at a learning rate of 0, like all others: it does its work and meets the same weights.
    pub fn run(&mut self) {
        let network = self.network.take().expect("put back by the call before");
        let (_, gradients) = self.gradients(&network);
        self.network = Some(self.adam.step(0.0, network, gradients));
    }

    /// Whether loss and gradients are right.
    pub fn check(&self) -> Result<(), String> {
        let network = self.network.as_ref().expect("put back by the call before");
        let (loss, gradients) = self.gradients(network);
        let (mut layers, mut found) = (Vec::new(), Vec::new());
        for layer in &network.layers {
            found.push(gradient(&gradients, &layer.linear.weight)?);
            let norm = layer.norm.iter().flat_map(|norm| [&norm.gamma, &norm.beta]);
            let vectors: Vec<_> = norm.chain(&layer.linear.bias).collect();
            for vector in &vectors {
                found.push(gradient(&gradients, vector)?);
            }
            let weight = layer.linear.weight.val();
            let [inputs, outputs] = weight.dims();
            let vectors =
                vectors.iter().map(|vector| wide(vector.val())).collect::<Result<_, _>>()?;
            layers.push(reference::Layer { inputs, outputs, weight: wide(weight)?, vectors });
        }
        let x: Vec<f64> = self.inputs.iter().map(|&x| x.into()).collect();
        let expected = reference::gradients(&layers, &x, &self.classes);
        reference::compare(&expected, wide(loss)?[0], &found)
    }
}

fn gradient<const D: usize>(
    all: &GradientsParams,
    parameter: &Param<Tensor<D>>,
) -> Result<Vec<f64>, String> {
    let gradient = all.get::<D>(parameter.id);
    wide(gradient.ok_or("expected a gradient by each parameter, got none by one")?)
}

fn wide<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>, String> {
    let values = tensor.into_data().try_to_vec::<f32>().map_err(|error| error.to_string())?;
    Ok(values.into_iter().map(f64::from).collect())
}

/// Steele, Lea and Flood's `SplitMix64`.
struct Random(u64);

impl Random {
    /// At least 0 and below 1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits >> 40) as f32 / (1 << 24) as f32
    }
}
