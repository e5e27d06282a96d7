//! Networks drawn at random, for plans to agree with tapes on.

use tilewise_kernels::{Activation, Float};
use tilewise_nn::autodiff::{Tape, Tensor, Var, Variable, Variables};
use tilewise_nn::random::Random;

/// One step of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece {
    Linear {
        weight: usize,
        bias: Option<usize>,
        transposed: bool,
    },
    BatchNorm {
        gamma: usize,
        beta: usize,
    },
    Activation(Activation),
    /// Adds what went into the piece before the last one.
    Residual,
    Scale,
    Halves,
    Dropout,
}

/// A network with its variables.
#[derive(Debug)]
pub(crate) struct Network<T: Float> {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) variables: Variables<T>,
    pub(crate) handles: Vec<Variable>,
    pub(crate) inputs: usize,
    pub(crate) classes: usize,
    penalised: bool,
}

impl<T: Float> Network<T> {
    /// The network of a seed; the same with every call.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let inputs = 1 + random.below(40);
        let mut network = Self {
            pieces: Vec::new(),
            variables: Variables::new(),
            handles: Vec::new(),
            inputs,
            classes: 2 + random.below(9),
            penalised: random.uniform() < 0.3,
        };
        let mut width = inputs;
        for _ in 0..1 + random.below(3) {
            width = network.linear(&mut random, width, None);
            if random.uniform() < 0.5 {
                let gamma = network.variable(&mut random, &[width], 1.0);
                let beta = network.variable(&mut random, &[width], 0.0);
                network.pieces.push(Piece::BatchNorm { gamma, beta });
            }
            let all = [Activation::Relu, Activation::Tanh, Activation::Gelu, Activation::Sigmoid];
            network.pieces.push(match random.below(8) {
                kind @ 0..4 => Piece::Activation(all[kind]),
                4 => Piece::Residual,
                5 => Piece::Scale,
                6 => Piece::Dropout,
                _ => Piece::Halves,
            });
        }
        network.linear(&mut random, width, Some(network.classes));
        network
    }

    fn linear(&mut self, random: &mut Random, width: usize, to: Option<usize>) -> usize {
        let to = to.unwrap_or_else(|| 2 + 2 * random.below(35));
        let transposed = random.uniform() < 0.5;
        let dims = if transposed { [to, width] } else { [width, to] };
        let weight = self.variable(random, &dims, 0.0);
        let bias = (random.uniform() < 0.6).then(|| self.variable(random, &[to], 0.0));
        self.pieces.push(Piece::Linear { weight, bias, transposed });
        to
    }

    fn variable(&mut self, random: &mut Random, dims: &[usize], centre: f64) -> usize {
        let len = dims.iter().product();
        let values = (0..len).map(|_| T::from_f64(centre + 0.3 * random.normal())).collect();
        self.handles.push(self.variables.add(Tensor::new(values, dims).unwrap()));
        self.handles.len() - 1
    }

    /// The loss on a batch.
    pub(crate) fn loss<'t>(
        &self,
        tape: &'t Tape<T>,
        (x, labels): &(Tensor<T>, Vec<usize>),
    ) -> Var<'t, T> {
        let at: Vec<_> = self.handles.iter().map(|w| tape.watch(&self.variables, *w)).collect();
        let (mut before, mut x) = (None, tape.input("x", x.clone()));
        for piece in &self.pieces {
            let y = match *piece {
                Piece::Linear { weight, bias, transposed } => {
                    let product =
                        if transposed { x.matmul_t(at[weight]) } else { x.matmul(at[weight]) };
                    bias.map_or(product, |bias| product + at[bias])
                }
                Piece::BatchNorm { gamma, beta } => x.batch_norm(at[gamma], at[beta], 1e-5),
                Piece::Activation(f) => x.activation(f),
                Piece::Residual => match before {
                    Some(before) => x * T::HALF + shaped_like(before, x),
                    None => x,
                },
                Piece::Scale => (x * x).mean_over(&[1]).reshape(&[labels.len(), 1]) + x,
                Piece::Dropout => x.dropout(0.25, 3),
                Piece::Halves => {
                    let half = x.shape().unwrap().dims()[1] / 2;
                    x.slice(1, half, half).concat(&[x.slice(1, 0, half)], 1)
                }
            };
            (before, x) = (Some(x), y);
        }
        let loss = x.output("logits").softmax_cross_entropy(tape.labels("y", labels));
        if self.penalised {
            loss * T::HALF + at[0].square().sum() * T::from_f64(0.01)
        } else {
            loss
        }
    }

    /// A batch of a seed.
    pub(crate) fn batch(&self, seed: u64, rows: usize) -> (Tensor<T>, Vec<usize>) {
        let mut random = Random::new(1000 + seed);
        let values = (0..rows * self.inputs).map(|_| T::from_f64(random.normal())).collect();
        let labels = (0..rows).map(|_| random.below(self.classes)).collect();
        (Tensor::new(values, &[rows, self.inputs]).unwrap(), labels)
    }

    /// All variables, one after the other.
    pub(crate) fn values(&self) -> Vec<T> {
        self.handles.iter().flat_map(|w| self.variables.data(*w).unwrap().to_vec()).collect()
    }
}

/// `x` if it has the shape of `other`, its mean otherwise.
fn shaped_like<'t, T: Float>(x: Var<'t, T>, other: Var<'t, T>) -> Var<'t, T> {
    if x.shape().unwrap() == other.shape().unwrap() { x } else { x.mean() }
}
