//! A whole training step: forward, softmax cross-entropy, backward, Adam.

use tilewise_kernels::{AdamStep, Exec, Float, available};
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::{Adam, BatchNormConvention, Matrix, Sequential, SoftmaxCrossEntropy};
use tilewise_nn::{SequentialBuilder, StepRule};

use super::naive_network::NaiveNetwork;
use crate::case::{Case, Implementation, Who, Work, Workload};
use crate::data::{Random, assert_close};

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
    let rows = NETWORKS.iter().map(|&(rows, widths)| case_of_rows::<T>(rows, widths));
    let images = IMAGES.iter().map(|&images| case_of_images::<T>(images));
    rows.chain(images).collect()
}

fn case_of_rows<T: Float>(rows: usize, widths: &'static [usize]) -> Case {
    let names: Vec<_> = widths.iter().map(usize::to_string).collect();
    let id = format!("training_step/{}/{rows}x{}", T::NAME, names.join("-"));
    let products: usize = widths.windows(2).map(|ends| 3 * ends[0] * ends[1]).sum();
    // Nobody needs the gradient by the features.
    let flops = 2 * rows * (products - widths[0] * widths[1]);
    Case::new(id, Work::Flops(flops as u64), move || Step::<T>::of_rows(rows, widths))
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
    /// Whether the last gradients are the twin's.
    by_twin: bool,
    x: Matrix<T>,
    labels: Vec<usize>,
    loss: f64,
}

impl<T: Float> Step<T> {
    fn of_rows(rows: usize, widths: &[usize]) -> Self {
        let mut builder = Sequential::new();
        for (i, ends) in widths.windows(2).enumerate() {
            builder = builder.linear(ends[0], ends[1]);
            if i + 2 < widths.len() {
                builder = builder.batch_norm().relu();
            }
        }
        let (features, classes) = (widths[0], widths[widths.len() - 1]);
        Self::new(builder, [rows, features, classes], |model, _| {
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
        Self::new(builder, [images, channels * height * width, classes], |_, x| {
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
        [rows, features, classes]: [usize; 3],
        twin: impl FnOnce(&Sequential<T>, &Matrix<T>) -> Twin<T>,
    ) -> Self {
        let model = builder.build_as::<T>(1).expect("layers that fit each other");
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
            by_twin: false,
            x,
            labels: random.below(rows, classes),
            loss: 0.0,
        }
    }

    /// The last gradients, tensor by tensor.
    fn gradients(&self) -> Vec<Vec<f64>> {
        fn widened<T: Float>(values: &[T]) -> Vec<f64> {
            values.iter().map(|value| value.to_f64()).collect()
        }
        match &self.twin {
            Twin::Naive(naive) if self.by_twin => naive.gradients().map(widened).collect(),
            Twin::Wide(wide, _) if self.by_twin => {
                let parameters = wide.layers().flat_map(|layer| layer.parameters());
                parameters.map(|parameter| parameter.gradient.clone()).collect()
            }
            _ => {
                let parameters = self.model.layers().flat_map(|layer| layer.parameters());
                parameters.map(|parameter| widened(&parameter.gradient)).collect()
            }
        }
    }

    fn fast(&mut self, exec: Exec) -> tilewise_nn::Result<f64> {
        self.model.set_exec(exec);
        let loss = SoftmaxCrossEntropy::default();
        let rule = StepRule { loss: &loss, optimizer: &self.adam, rate: 1.0 };
        self.model.train_step(&self.x, &self.labels, &rule, &mut self.state)
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
        self.by_twin = by.exec().is_none();
        let done = match by.exec() {
            Some(exec) => self.fast(exec),
            None => self.slow(),
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
        30.0 * T::EPSILON.to_f64().sqrt()
    }

    /// Compares gradients as vectors: where the input of a ReLU is within rounding of zero, it may
    /// be on in one network and off in the other, which moves a few elements by more than rounding.
    fn verify(&mut self, by: Implementation) {
        self.run(Implementation::serial(Who::Naive));
        let (expected, loss) = (self.gradients(), self.loss);
        self.run(by);
        assert_close(&format!("{by}, loss"), &[loss], &[self.loss], self.tolerance());
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
