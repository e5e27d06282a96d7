//! A whole training step: forward, softmax cross-entropy, backward, Adam.

use tilewise_kernels::{AdamStep, Exec, Float};
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::{Adam, BatchNormConvention, Matrix, Sequential, SoftmaxCrossEntropy};

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

/// One case per network, with batch norm and ReLU behind all layers but the last. Work counts the
/// matrix products only.
pub fn cases<T: Float>() -> Vec<Case> {
    let case = |&(rows, widths): &(usize, &'static [usize])| {
        let names: Vec<_> = widths.iter().map(usize::to_string).collect();
        let id = format!("training_step/{}/{rows}x{}", T::NAME, names.join("-"));
        let products: usize = widths.windows(2).map(|ends| 3 * ends[0] * ends[1]).sum();
        // Nobody needs the gradient by the features.
        let flops = 2 * rows * (products - widths[0] * widths[1]);
        Case::new(id, Work::Flops(flops as u64), move || Step::<T>::new(rows, widths))
            .moving(least_values(rows, widths, 6) * size_of::<T>())
            .holding(least_values(rows, widths, 3) * size_of::<T>())
    };
    NETWORKS.iter().map(case).collect()
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

struct Step<T: Float> {
    model: Sequential<T>,
    adam: Adam,
    state: OptimizerState<T>,
    naive: NaiveNetwork<T>,
    /// Whose gradients are the last ones.
    by_naive: bool,
    x: Matrix<T>,
    labels: Vec<usize>,
    loss: f64,
}

impl<T: Float> Step<T> {
    fn new(rows: usize, widths: &[usize]) -> Self {
        let mut builder = Sequential::new();
        for (i, ends) in widths.windows(2).enumerate() {
            builder = builder.linear(ends[0], ends[1]);
            if i + 2 < widths.len() {
                builder = builder.batch_norm().relu();
            }
        }
        let model = builder.build_as::<T>(1).expect("layers that fit each other");
        let parameters: Vec<Vec<T>> =
            model.layers().flat_map(|layer| layer.parameters()).map(|p| p.value.clone()).collect();
        let mut random = Random::new(1);
        let (features, classes) = (widths[0], widths[widths.len() - 1]);
        let x = Matrix::new(random.uniform(rows * features, -1.0, 1.0), rows, features);
        let epsilon = BatchNormConvention::default().epsilon();
        Self {
            model,
            // With a learning rate of 0 every step does all its work and meets the same weights, so
            // that repeating it does not train into ever smaller gradients.
            adam: Adam::default().learning_rate(0.0),
            state: OptimizerState::new(),
            naive: NaiveNetwork::new(rows, widths, &parameters, epsilon, naive_adam()),
            by_naive: false,
            x: x.expect("a matrix of this shape"),
            labels: random.below(rows, classes),
            loss: 0.0,
        }
    }

    /// The last gradients, tensor by tensor.
    fn gradients(&self) -> Vec<Vec<f64>> {
        let widened = |values: &[T]| values.iter().map(|value| value.to_f64()).collect();
        if self.by_naive {
            return self.naive.gradients().map(widened).collect();
        }
        let parameters = self.model.layers().flat_map(|layer| layer.parameters());
        parameters.map(|parameter| widened(&parameter.gradient)).collect()
    }

    fn fast(&mut self, exec: Exec) -> tilewise_nn::Result<f64> {
        self.model.set_exec(exec);
        let loss = SoftmaxCrossEntropy::default();
        let loss = self.model.loss_and_gradients(&self.x, &self.labels, &loss)?;
        self.state.step(&self.adam, &mut self.model)?;
        Ok(loss)
    }
}

/// What [`Adam`] is by default, at rest.
fn naive_adam() -> AdamStep {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
    AdamStep { lr: 0.0, beta1, beta2, epsilon, ..AdamStep::default() }
}

impl<T: Float> Workload for Step<T> {
    fn run(&mut self, by: Implementation) {
        self.by_naive = by.exec().is_none();
        self.loss = match by.exec() {
            Some(exec) => self.fast(exec).expect("valid arguments"),
            None => self.naive.step(self.x.data(), &self.labels).to_f64(),
        };
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
