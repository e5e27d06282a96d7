//! Cross-entropy behind a linear layer: the mean loss and all gradients, tile by tile and, to compare,
//! with all logits in memory.

use tilewise_kernels::{
    Exec, Float, Gemm, LinearCrossEntropy, LinearCrossEntropyGrads, Result, SoftmaxCrossEntropy,
    Targets, naive,
};

use super::{counts, matrix, matrix_mut};
use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// Rows, depth and classes: within a tile, and of several tiles each way.
const SHAPES: [[usize; 3]; 2] = [[128, 64, 1000], [640, 256, 5000]];

/// The loss with the gradients of hidden matrix and weights.
pub fn cases<T: Float>() -> Vec<Case> {
    let case = |([rows, depth, classes], way): ([usize; 3], Way)| {
        let op = match way {
            Way::Tiles => "linear_cross_entropy",
            Way::Whole => "whole_cross_entropy",
        };
        let id = format!("{op}/{}/{rows}x{depth}x{classes}", T::NAME);
        // The logits, and the products of their gradient with either side; that they are computed twice
        // here is our affair. A maximum, an exponential, a sum, a scale for each.
        let logits = rows * classes;
        let flops = 6 * logits * depth + (counts::exp::<T>() + 4) * logits;
        // Both matrices are read and their gradients written; one label per row.
        let bytes = 2 * (rows + classes) * depth * size_of::<T>() + rows * size_of::<usize>();
        Case::new(id, Work::Flops(flops as u64), move || {
            Layer::<T>::new([rows, depth, classes], way)
        })
        .moving(bytes)
    };
    SHAPES.iter().flat_map(|&shape| [(shape, Way::Tiles), (shape, Way::Whole)]).map(case).collect()
}

/// Where the logits go.
#[derive(Clone, Copy)]
enum Way {
    /// A tile of them at a time, twice.
    Tiles,
    /// All of them, once: a product, the loss and its gradient in place, two products.
    Whole,
}

struct Layer<T> {
    way: Way,
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
    fn new(shape: [usize; 3], way: Way) -> Self {
        let [rows, depth, classes] = shape;
        let mut random = Random::new(1);
        // Logits of a deviation near 1.
        let bound = (9.0 / depth as f64).sqrt();
        let mut layer = Self {
            way,
            shape,
            hidden: random.uniform(rows * depth, -1.0, 1.0),
            weights: random.uniform(depth * classes, -bound, bound),
            labels: random.below(rows, classes),
            workspace: Vec::new(),
            dhidden: vec![T::ZERO; rows * depth],
            dweights: vec![T::ZERO; depth * classes],
            loss: T::ZERO,
        };
        let room = match way {
            Way::Tiles => layer.room().expect("a tile of usual size"),
            Way::Whole => rows * classes,
        };
        layer.workspace = vec![T::ZERO; room];
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
            Some(exec) if matches!(self.way, Way::Whole) => return self.whole(exec),
            Some(exec) => LinearCrossEntropy::new(hidden, weights, labels)?
                .loss_and_gradients(grads, workspace, exec)?,
            None => {
                let options = naive::CrossEntropyOptions::default();
                naive::linear_cross_entropy(hidden, weights, None, labels, options, grads)
            }
        };
        Ok(loss.value)
    }

    /// What a program without the fused operation does.
    fn whole(&mut self, exec: Exec) -> Result<T> {
        let Self { shape: [rows, depth, classes], hidden, weights, labels, .. } = self;
        let hidden = matrix(hidden, [*rows, *depth]);
        let weights = matrix(weights, [*depth, *classes]);
        let shape = [*rows, *classes];
        Gemm::new(hidden, weights)?.run(matrix_mut(&mut self.workspace, shape), exec)?;
        let logits = matrix_mut(&mut self.workspace, shape);
        let targets = Targets::Classes(labels);
        let loss = SoftmaxCrossEntropy::in_place(logits, targets)?.replace_by_gradient(exec)?;
        let dlogits = matrix(&self.workspace, shape);
        let dhidden = matrix_mut(&mut self.dhidden, [*rows, *depth]);
        Gemm::new(dlogits, weights.t())?.run(dhidden, exec)?;
        let dweights = matrix_mut(&mut self.dweights, [*depth, *classes]);
        Gemm::new(hidden.t(), dlogits)?.run(dweights, exec)?;
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
