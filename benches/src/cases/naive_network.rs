//! A network of naive twins: what a training step costs when every operation is the obvious loop.

use tilewise_kernels::{
    Activation, AdamStep, Affine, BatchNormDims, BatchNormGrads, BatchStats, Float, Moments,
    Targets, naive,
};

use super::{matrix, matrix_mut};

/// A trained tensor with its gradient and Adam's averages.
struct Tensor<T> {
    value: Vec<T>,
    gradient: Vec<T>,
    first: Vec<T>,
    second: Vec<T>,
}

impl<T: Float> Tensor<T> {
    fn new(value: &[T]) -> Self {
        let zeros = || vec![T::ZERO; value.len()];
        Self { value: value.to_vec(), gradient: zeros(), first: zeros(), second: zeros() }
    }

    fn update(&mut self, adam: &AdamStep, step: u64) {
        let Self { value, gradient, first, second } = self;
        naive::adam_step(adam, value, gradient, Moments { first, second }, step);
    }
}

/// A linear layer, `rows` times, and where it is hidden what follows it: batch norm and ReLU.
struct Layer<T> {
    inputs: usize,
    outputs: usize,
    weight: Tensor<T>,
    /// γ and β, or the bias of the last layer.
    vectors: Vec<Tensor<T>>,
    stats: BatchStats<T>,
    /// The product, and its gradient.
    z: Vec<T>,
    dz: Vec<T>,
    /// What batch norm makes of it, then ReLU; and their gradients.
    normalised: Vec<T>,
    dnormalised: Vec<T>,
    h: Vec<T>,
    dh: Vec<T>,
}

/// Linear layers, batch norm and ReLU behind all but the last, softmax cross-entropy, Adam.
pub(super) struct NaiveNetwork<T> {
    rows: usize,
    layers: Vec<Layer<T>>,
    epsilon: T,
    adam: AdamStep,
    step: u64,
}

impl<T: Float> NaiveNetwork<T> {
    /// For minibatches of `rows`. `parameters`: in the order of the layers, weight first.
    pub(super) fn new(
        rows: usize,
        widths: &[usize],
        parameters: &[Vec<T>],
        epsilon: f64,
        adam: AdamStep,
    ) -> Self {
        let mut tensors = parameters.iter().map(|value| Tensor::new(value));
        let mut next = || tensors.next().expect("one per parameter");
        let layers = widths.windows(2).enumerate().map(|(i, ends)| {
            let (inputs, outputs) = (ends[0], ends[1]);
            let is_last = i + 2 == widths.len();
            let zeros = || vec![T::ZERO; rows * outputs];
            Layer {
                inputs,
                outputs,
                weight: next(),
                vectors: (0..if is_last { 1 } else { 2 }).map(|_| next()).collect(),
                stats: BatchStats::new(outputs),
                z: zeros(),
                dz: zeros(),
                normalised: zeros(),
                dnormalised: zeros(),
                h: zeros(),
                dh: zeros(),
            }
        });
        let layers = layers.collect();
        Self { rows, layers, epsilon: T::from_f64(epsilon), adam, step: 0 }
    }

    /// One step; returns the loss before it.
    pub(super) fn step(&mut self, x: &[T], labels: &[usize]) -> T {
        let rows = self.rows;
        for i in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(i);
            let input = before.last().map_or(x, |layer| &layer.h);
            rest[0].forward(input, rows, self.epsilon);
        }
        let last = self.layers.last_mut().expect("at least one layer");
        let shape = [rows, last.outputs];
        let loss = naive::softmax_cross_entropy(
            matrix(&last.z, shape),
            Targets::Classes(labels),
            naive::CrossEntropyOptions::default(),
            matrix_mut(&mut last.dz, shape),
        );
        for i in (0..self.layers.len()).rev() {
            let (before, rest) = self.layers.split_at_mut(i);
            rest[0].backward(before.last_mut(), x, rows);
        }
        self.step += 1;
        for layer in &mut self.layers {
            layer.weight.update(&self.adam, self.step);
            layer.vectors.iter_mut().for_each(|tensor| tensor.update(&self.adam, self.step));
        }
        loss.value
    }

    /// All gradients, in the order of the parameters.
    pub(super) fn gradients(&self) -> impl Iterator<Item = &[T]> {
        self.layers.iter().flat_map(|layer| {
            std::iter::once(&layer.weight).chain(&layer.vectors).map(|tensor| &tensor.gradient[..])
        })
    }
}

impl<T: Float> Layer<T> {
    fn forward(&mut self, input: &[T], rows: usize, epsilon: T) {
        let input = matrix(input, [rows, self.inputs]);
        let weight = matrix(&self.weight.value, [self.outputs, self.inputs]).t();
        let z = matrix_mut(&mut self.z, [rows, self.outputs]);
        match &self.vectors[..] {
            [bias] => {
                naive::gemm(T::ONE, input, weight, T::ZERO, z);
                for row in self.z.chunks_exact_mut(self.outputs) {
                    row.iter_mut().zip(&bias.value).for_each(|(z, &bias)| *z += bias);
                }
            }
            [gamma, beta, ..] => {
                naive::gemm(T::ONE, input, weight, T::ZERO, z);
                let dims = BatchNormDims::rows(rows, self.outputs);
                let affine = Affine { gamma: &gamma.value, beta: &beta.value };
                let (y, stats) = (&mut self.normalised, &mut self.stats);
                naive::batch_norm_forward(&self.z, dims, affine, epsilon, y, stats);
                naive::activate(Activation::Relu, &self.normalised, &mut self.h);
            }
            [] => unreachable!("a layer has a bias or batch norm"),
        }
    }

    /// From `dz` of the last layer, `dh` of a hidden one, to all gradients of this layer and to `dh`
    /// of the one before.
    fn backward(&mut self, before: Option<&mut Self>, x: &[T], rows: usize) {
        let shape = [rows, self.outputs];
        match &mut self.vectors[..] {
            [bias] => naive::column_sums(matrix(&self.dz, shape), &mut bias.gradient),
            [gamma, beta, ..] => {
                let da = &mut self.dnormalised;
                naive::activate_backward(Activation::Relu, &self.h, &self.dh, da);
                let dims = BatchNormDims::rows(rows, self.outputs);
                let affine = Affine { gamma: &gamma.value, beta: &beta.value };
                let (dgamma, dbeta) = (&mut gamma.gradient[..], &mut beta.gradient[..]);
                let grads = BatchNormGrads { dx: &mut self.dz, dgamma, dbeta };
                naive::batch_norm_backward(&self.z, dims, affine, &self.stats, da, grads);
            }
            [] => unreachable!("a layer has a bias or batch norm"),
        }
        let dz = matrix(&self.dz, shape);
        let input = before.as_ref().map_or(x, |layer| &layer.h);
        let dweight = matrix_mut(&mut self.weight.gradient, [self.outputs, self.inputs]);
        naive::gemm(T::ONE, dz.t(), matrix(input, [rows, self.inputs]), T::ZERO, dweight);
        if let Some(before) = before {
            let weight = matrix(&self.weight.value, [self.outputs, self.inputs]);
            let dh = matrix_mut(&mut before.dh, [rows, self.inputs]);
            naive::gemm(T::ONE, dz, weight, T::ZERO, dh);
        }
    }
}
