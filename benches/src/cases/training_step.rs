//! A whole training step: forward, softmax cross-entropy, backward, Adam.

use tilewise_kernels::{AdamStep, Exec, Float, Precision, available, available_for_halves};
use tilewise_nn::layers::Parameter;
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::{Adam, BatchNormConvention, Matrix, Sequential, SoftmaxCrossEntropy};
use tilewise_nn::{SequentialBuilder, StepRule};

use super::naive_network::NaiveNetwork;
use crate::case::{Case, Implementation, Who, Work, Workload};
use crate::data::{Random, assert_close};
use crate::peers::{self, Network, Owned, Peer};

/// Rows of the minibatch, and the widths from features to classes: the digits, a small classifier,
/// and the network of the fashion example.
const NETWORKS: &[(usize, &[usize])] = &[
    (64, &[64, 128, 10]),
    (128, &[64, 25, 12, 6]),
    (512, &[64, 25, 12, 6]),
    (128, &[784, 512, 256, 10]),
    (512, &[784, 512, 256, 10]),
];

/// Images of the minibatch, their channels, height and width, filters of 3 x 3 in each layer, and classes:
/// as large as the digits of MNIST, and as the photographs of CIFAR-10.
const IMAGES: &[(usize, [usize; 3], &[usize], usize)] =
    &[(64, [1, 28, 28], &[16, 32], 10), (32, [3, 32, 32], &[32, 64], 10)];

/// One case per network, with batch norm and ReLU behind all layers but the last, and max pooling of 2 x 2
/// behind those of images. Work counts the matrix products only.
pub fn cases<T: Float>() -> Vec<Case> {
    let of_rows = |&(rows, widths)| case_of_rows::<T>(rows, widths, Precision::F32);
    let images = IMAGES.iter().map(|&images| case_of_images::<T>(images));
    NETWORKS.iter().map(of_rows).chain(images).collect()
}

/// Features from which on a network of rows is large enough for other precisions to be worth asking for.
const PRECISION_FEATURES: usize = 784;

/// The large networks of rows in `f32`, with products at other precisions.
pub fn cases_at_precisions() -> Vec<Case> {
    let large = NETWORKS.iter().filter(|(_, widths)| widths[0] >= PRECISION_FEATURES);
    let at = |&(rows, widths): &(usize, &'static [usize])| {
        [Precision::Bf16x6, Precision::Bf16].map(|precision| {
            let mut case = case_of_rows::<f32>(rows, widths, precision);
            case.paths = available_for_halves;
            case
        })
    };
    large.flat_map(at).collect()
}

fn case_of_rows<T: Float>(rows: usize, widths: &'static [usize], precision: Precision) -> Case {
    let names: Vec<_> = widths.iter().map(usize::to_string).collect();
    let plain = precision == Precision::F32;
    let name = if plain { T::NAME.to_owned() } else { format!("{}-as-{precision}", T::NAME) };
    let id = format!("training_step/{name}/{rows}x{}", names.join("-"));
    let products: usize = widths.windows(2).map(|ends| 3 * ends[0] * ends[1]).sum();
    // Nobody needs the gradient by the features.
    let flops = 2 * rows * (products - widths[0] * widths[1]);
    let make = move || Step::<T>::of_rows(rows, widths, precision);
    Case::new(id, Work::Flops(flops as u64), make)
        .moving(least_values(rows, widths, 6) * size_of::<T>())
        .holding(least_values(rows, widths, 3) * size_of::<T>())
}

fn case_of_images<T: Float>(
    (images, dims, filters, classes): (usize, [usize; 3], &'static [usize], usize),
) -> Case {
    let [mut channels, mut height, mut width] = dims;
    let names: Vec<_> = filters.iter().chain([&classes]).map(usize::to_string).collect();
    let shape = format!("{images}x{channels}x{height}x{width}-{}", names.join("-"));
    let features = images * channels * height * width;
    let (mut products, mut parameters) = (0, 0);
    for (i, count) in filters.iter().enumerate() {
        let passes = if i == 0 { 2 } else { 3 };
        products += passes * 9 * channels * count * height * width;
        // γ and β instead of a bias.
        parameters += (9 * channels + 2) * count;
        (channels, height, width) = (*count, height / 2, width / 2);
    }
    let last = channels * height * width;
    products += 3 * last * classes;
    parameters += (last + 1) * classes;
    let id = format!("conv_step/{}/{shape}", T::NAME);
    let make = move || Step::<T>::of_images(images, dims, filters, classes);
    // As of rows.
    let least = |per_parameter| (features + per_parameter * parameters) * size_of::<T>();
    let mut case = Case::new(id, Work::Flops(2 * (images * products) as u64), make)
        .moving(least(6))
        .holding(least(3));
    // The twin is the same network in f64: right, but no measure of anything.
    case.naive = false;
    case
}

/// Values that a step must move even if all else stays in registers: the features once, and
/// `per_parameter` for each parameter: it and Adam's two averages, which are read and written.
fn least_values(rows: usize, widths: &[usize], per_parameter: usize) -> usize {
    let weights: usize = widths.windows(2).map(|ends| ends[0] * ends[1]).sum();
    let hidden: usize = widths[1..widths.len() - 1].iter().sum();
    // γ and β behind hidden layers, a bias in the last.
    let parameters = weights + 2 * hidden + widths[widths.len() - 1];
    rows * widths[0] + per_parameter * parameters
}

/// Whose gradients are right.
enum Twin<T: Float> {
    Naive(NaiveNetwork<T>),
    /// The same network in `f64` on the portable path, which differences of the loss have checked.
    Wide(Box<Sequential<f64>>, Matrix<f64>),
}

struct Step<T: Float> {
    model: Sequential<T>,
    adam: Adam,
    state: OptimizerState<T>,
    twin: Twin<T>,
    /// The same network in a peer's own memory.
    owned: Option<Box<dyn Owned>>,
    /// Whose the last gradients are.
    by: Implementation,
    x: Matrix<T>,
    /// Its shape: rows, or images.
    dims: Vec<usize>,
    labels: Vec<usize>,
    loss: f64,
    tolerance: Tolerance,
}

/// How far a loss and a tensor's gradient may lie from the twin's, relative to their own size.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    loss: f64,
    gradient: f64,
}

impl Tolerance {
    /// Of a network of so many layers whose products are computed at that precision.
    fn new<T: Float>(layers: usize, precision: Precision) -> Self {
        if precision != Precision::Bf16 {
            let both = 30.0 * T::EPSILON.to_f64().sqrt();
            return Self { loss: both, gradient: both };
        }
        // Rounding both factors to halves moves a product by up to 2u of its size, and so the input of the
        // ReLU of layer l by up to 2ul of its standard deviation. A normal density is at most 0.4, so up to
        // 0.8 * 2ul of these inputs change sides of zero, of the half that pass their gradient on: in
        // squares, that share of the gradient is another one.
        let moved = 2.0 * 2.0_f64.powi(-8);
        let hidden = layers - 1;
        let flipped = 1.6 * moved * (hidden * (hidden + 1) / 2) as f64;
        // Forward and backward through every layer.
        let rounded = moved * 2.0 * layers as f64;
        Self { loss: rounded, gradient: flipped.sqrt() + rounded }
    }
}

impl<T: Float> Step<T> {
    fn of_rows(rows: usize, widths: &[usize], precision: Precision) -> Self {
        let mut builder = Sequential::new().precision(precision);
        for (i, ends) in widths.windows(2).enumerate() {
            builder = builder.linear(ends[0], ends[1]);
            if i + 2 < widths.len() {
                builder = builder.batch_norm().relu();
            }
        }
        let classes = widths[widths.len() - 1];
        let tolerance = Tolerance::new::<T>(widths.len() - 1, precision);
        Self::new(builder, vec![rows, widths[0]], classes, tolerance, |model, _| {
            let parameters = model.layers().flat_map(|layer| layer.parameters());
            let parameters: Vec<Vec<T>> = parameters.map(|p| p.value.clone()).collect();
            let epsilon = BatchNormConvention::default().epsilon();
            Twin::Naive(NaiveNetwork::new(rows, widths, &parameters, epsilon, naive_adam()))
        })
    }

    fn of_images(images: usize, dims: [usize; 3], filters: &[usize], classes: usize) -> Self {
        let [channels, height, width] = dims;
        let mut builder = Sequential::new().input_image(channels, height, width);
        for &count in filters {
            builder = builder.conv2d_same(count, 3).batch_norm().relu().max_pool(2);
        }
        let scale = 1 << filters.len();
        let last = filters[filters.len() - 1] * (height / scale) * (width / scale);
        let builder = builder.flatten().linear(last, classes);
        let wide = builder.clone();
        let tolerance = Tolerance::new::<T>(filters.len() + 1, Precision::F32);
        Self::new(builder, vec![images, channels, height, width], classes, tolerance, |_, x| {
            let mut wide = wide.build_as::<f64>(1).expect("layers that fit each other");
            let portable = available().expect("a known cap")[0];
            wide.set_exec(Exec::serial().isa(portable));
            let x = x.data().iter().map(|x| x.to_f64()).collect();
            let x = Matrix::new(x, images, channels * height * width);
            Twin::Wide(Box::new(wide), x.expect("a matrix of this shape"))
        })
    }

    fn new(
        builder: SequentialBuilder,
        dims: Vec<usize>,
        classes: usize,
        tolerance: Tolerance,
        twin: impl FnOnce(&Sequential<T>, &Matrix<T>) -> Twin<T>,
    ) -> Self {
        let model = builder.build_as::<T>(1).expect("layers that fit each other");
        let (rows, features) = (dims[0], dims[1..].iter().product());
        let mut random = Random::new(1);
        let x = Matrix::new(random.uniform(rows * features, -1.0, 1.0), rows, features);
        let x = x.expect("a matrix of this shape");
        Self {
            // With a learning rate of 0 every step does all its work and meets the same weights, so
            // that repeating it does not train into ever smaller gradients.
            adam: Adam::default().learning_rate(0.0),
            state: OptimizerState::new(),
            twin: twin(&model, &x),
            model,
            owned: None,
            by: Implementation::serial(Who::Naive),
            x,
            dims,
            labels: random.below(rows, classes),
            loss: 0.0,
            tolerance,
        }
    }

    /// The last gradients, tensor by tensor.
    fn gradients(&self) -> Vec<Vec<f64>> {
        fn widened<T: Float>(values: &[T]) -> Vec<f64> {
            values.iter().map(|value| value.to_f64()).collect()
        }
        let parameters = self.model.layers().flat_map(|layer| layer.parameters());
        match (&self.twin, &self.owned) {
            (_, Some(owned)) if self.by.owns_memory() => {
                let all = owned.outputs();
                let mut rest = &all[..];
                let next = |parameter: &Parameter<T>| {
                    let (next, others) = rest.split_at(parameter.value.len());
                    rest = others;
                    next.to_vec()
                };
                parameters.map(next).collect()
            }
            _ if self.by.is_tilewise() => {
                parameters.map(|parameter| widened(&parameter.gradient)).collect()
            }
            (Twin::Naive(naive), _) => naive.gradients().map(widened).collect(),
            (Twin::Wide(wide, _), _) => {
                let parameters = wide.layers().flat_map(|layer| layer.parameters());
                parameters.map(|parameter| parameter.gradient.clone()).collect()
            }
        }
    }

    fn fast(&mut self, exec: Exec) -> tilewise_nn::Result<f64> {
        self.model.set_exec(exec);
        let loss = SoftmaxCrossEntropy::default();
        let rule = StepRule { loss: &loss, optimizer: &self.adam, rate: 1.0 };
        self.model.train_step(&self.x, &self.labels, &rule, &mut self.state)
    }

    fn theirs(&mut self, peer: Peer) {
        let Self { model, owned, x, dims, labels, .. } = self;
        let owned = owned.get_or_insert_with(|| {
            let parameters = model.layers().flat_map(|layer| layer.parameters());
            let network = Network {
                parameters: parameters.map(|p| (&p.shape[..], &p.value[..])).collect(),
                x: x.data(),
                dims,
                labels,
                epsilon: BatchNormConvention::default().epsilon(),
            };
            peers::own_training_step(peer, &network)
        });
        owned.run();
    }

    fn slow(&mut self) -> tilewise_nn::Result<f64> {
        match &mut self.twin {
            Twin::Naive(naive) => Ok(naive.step(self.x.data(), &self.labels).to_f64()),
            Twin::Wide(wide, x) => {
                wide.loss_and_gradients(x, &self.labels, &SoftmaxCrossEntropy::default())
            }
        }
    }
}

/// What [`Adam`] is by default, at rest.
fn naive_adam() -> AdamStep {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
    AdamStep { lr: 0.0, beta1, beta2, epsilon, ..AdamStep::default() }
}

impl<T: Float> Workload for Step<T> {
    fn run(&mut self, by: Implementation) {
        self.by = by;
        let done = match (by.exec(), by.peer()) {
            (Some(exec), _) => self.fast(exec),
            (None, Some(peer)) => return self.theirs(peer),
            (None, None) => self.slow(),
        };
        self.loss = done.expect("valid arguments");
    }

    /// The gradients, and the loss.
    fn outputs(&self) -> Vec<f64> {
        let mut all = self.gradients().concat();
        all.push(self.loss);
        all
    }

    /// Of the loss as a value, of each tensor's gradient as a vector.
    fn tolerance(&self) -> f64 {
        self.tolerance.gradient
    }

    /// Compares gradients as vectors: where the input of a ReLU is within rounding of zero, it may
    /// be on in one network and off in the other, which moves a few elements by more than rounding.
    fn verify(&mut self, by: Implementation) {
        self.run(Implementation::serial(Who::Naive));
        let (expected, loss) = (self.gradients(), self.loss);
        self.run(by);
        if let Some(owned) = self.owned.as_ref().filter(|_| by.owns_memory()) {
            self.loss = *owned.outputs().last().expect("the loss");
        }
        assert_close(&format!("{by}, loss"), &[loss], &[self.loss], self.tolerance.loss);
        for (i, (want, got)) in expected.iter().zip(self.gradients()).enumerate() {
            let apart = norm(want.iter().zip(&got).map(|(want, got)| want - got));
            let bound = self.tolerance() * norm(want.iter().copied());
            assert!(apart <= bound, "{by}, gradient {i}: {apart} from the naive twin's");
        }
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use tilewise_kernels::Isa;

    use super::*;

    const WIDTHS: &[usize] = &[96, 64, 48, 10];

    fn ours() -> Implementation {
        Implementation::serial(Who::Tilewise(Isa::best_for_halves().expect("a path")))
    }

    /// How far the first gradient is from the twin's, of its length.
    fn apart(precision: Precision) -> f64 {
        let mut step = Step::<f32>::of_rows(256, WIDTHS, precision);
        step.verify(ours());
        let got = step.gradients();
        step.run(Implementation::serial(Who::Naive));
        let want = step.gradients();
        let apart = norm(want[0].iter().zip(&got[0]).map(|(want, got)| want - got));
        apart / norm(want[0].iter().copied())
    }

    #[test]
    fn a_step_is_right_at_every_precision_and_halves_are_really_rounded() {
        assert!(apart(Precision::Bf16x6) < 0.002);
        assert!(apart(Precision::Bf16) > 0.002);
    }

    #[test]
    #[should_panic(expected = "from the naive twin's")]
    fn a_network_that_differs_in_its_factors_is_told_apart_in_halves() {
        let mut step = Step::<f32>::of_rows(256, WIDTHS, Precision::Bf16);
        let parameters = step.model.layers().flat_map(|layer| layer.parameters());
        let mut parameters: Vec<_> = parameters.map(|p| p.value.clone()).collect();
        // The first γ: what follows is normalised again, so that only its own gradient halves.
        parameters[1].fill(2.0);
        let epsilon = BatchNormConvention::default().epsilon();
        let other = NaiveNetwork::new(256, WIDTHS, &parameters, epsilon, naive_adam());
        step.twin = Twin::Naive(other);
        step.verify(ours());
    }
}
