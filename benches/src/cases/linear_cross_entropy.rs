//! Cross-entropy behind a linear layer: the mean loss and all gradients.

use tilewise_kernels::{Exec, Float, LinearCrossEntropy, LinearCrossEntropyGrads, Result, naive};

use super::{counts, matrix, matrix_mut};
use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// Rows, depth and classes: within a tile, and of several tiles each way.
const SHAPES: [[usize; 3]; 2] = [[128, 64, 1000], [640, 256, 5000]];

/// The loss with the gradients of hidden matrix and weights.
pub fn cases<T: Float>() -> Vec<Case> {
    let case = |[rows, depth, classes]: [usize; 3]| {
        let id = format!("linear_cross_entropy/{}/{rows}x{depth}x{classes}", T::NAME);
        // The logits, and the products of their gradient with either side; that they are computed twice
        // here is our affair. A maximum, an exponential, a sum, a scale for each.
        let logits = rows * classes;
        let flops = 6 * logits * depth + (counts::exp::<T>() + 4) * logits;
        // Both matrices are read and their gradients written; one label per row.
        let bytes = 2 * (rows + classes) * depth * size_of::<T>() + rows * size_of::<usize>();
        Case::new(id, Work::Flops(flops as u64), move || Layer::<T>::new([rows, depth, classes]))
            .moving(bytes)
    };
    SHAPES.map(case).into()
}

struct Layer<T> {
    shape: [usize; 3],
    hidden: Vec<T>,
    weights: Vec<T>,
    labels: Vec<usize>,
    workspace: Vec<T>,
    dhidden: Vec<T>,
    dweights: Vec<T>,
    loss: T,
}

impl<T: Float> Layer<T> {
    fn new(shape: [usize; 3]) -> Self {
        let [rows, depth, classes] = shape;
        let mut random = Random::new(1);
        // Logits of a deviation near 1.
        let bound = (9.0 / depth as f64).sqrt();
        let mut layer = Self {
            shape,
            hidden: random.uniform(rows * depth, -1.0, 1.0),
            weights: random.uniform(depth * classes, -bound, bound),
            labels: random.below(rows, classes),
            workspace: Vec::new(),
            dhidden: vec![T::ZERO; rows * depth],
            dweights: vec![T::ZERO; depth * classes],
            loss: T::ZERO,
        };
        layer.workspace = vec![T::ZERO; layer.room().expect("a tile of usual size")];
        layer
    }

    fn room(&self) -> Result<usize> {
        let [rows, depth, classes] = self.shape;
        let hidden = matrix(&self.hidden, [rows, depth]);
        let weights = matrix(&self.weights, [depth, classes]);
        LinearCrossEntropy::new(hidden, weights, &self.labels)?.workspace()
    }

    fn compute(&mut self, exec: Option<Exec>) -> Result<T> {
        let Self { shape: [rows, depth, classes], hidden, weights, labels, workspace, .. } = self;
        let hidden = matrix(hidden, [*rows, *depth]);
        let weights = matrix(weights, [*depth, *classes]);
        let grads = LinearCrossEntropyGrads {
            dhidden: matrix_mut(&mut self.dhidden, [*rows, *depth]),
            dweights: matrix_mut(&mut self.dweights, [*depth, *classes]),
            dbias: None,
        };
        let loss = match exec {
            Some(exec) => LinearCrossEntropy::new(hidden, weights, labels)?
                .loss_and_gradients(grads, workspace, exec)?,
            None => {
                let options = naive::CrossEntropyOptions::default();
                naive::linear_cross_entropy(hidden, weights, None, labels, options, grads)
            }
        };
        Ok(loss.value)
    }
}

impl<T: Float> Workload for Layer<T> {
    fn run(&mut self, by: Implementation) {
        self.loss = self.compute(by.exec()).expect("valid arguments");
    }

    /// The gradients, times the rows, since the mean makes them small, and the loss.
    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        append(&self.dhidden, &mut all);
        append(&self.dweights, &mut all);
        all.iter_mut().for_each(|gradient| *gradient *= self.shape[0] as f64);
        all.push(self.loss.to_f64());
        all
    }

    /// Sums over each of the extents in turn, with a few roundings more.
    fn tolerance(&self) -> f64 {
        (self.shape.iter().sum::<usize>() + 16) as f64 * T::EPSILON.to_f64()
    }
}
