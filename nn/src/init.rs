//! Initial weights.
//!
//! A weight matrix is stored `[outputs, inputs]`; `fan_in` is the number of inputs and `fan_out`
//! that of outputs. Draws are made in `f64` and rounded once, so a seed gives the same values in
//! both element types, and the same bits on every CPU.

use tilewise_kernels::Float;

use crate::random::Random;

/// A distribution of initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Init {
    /// Uniform within ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010): for tanh and sigmoid.
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out).
    XavierNormal,
    /// Uniform within ±√(6 / fan_in) (He et al. 2015): for ReLU.
    #[default]
    HeUniform,
    /// Normal with variance 2 / fan_in.
    HeNormal,
    /// Uniform within ±√(3 / fan_in) (LeCun et al. 1998): for self-normalising networks.
    LecunUniform,
    /// Normal with variance 1 / fan_in.
    LecunNormal,
    /// Uniform within ±1/√fan_in: what layers of Torch7 and PyTorch begin with unless told otherwise.
    TorchUniform,
    /// Rows (or columns, where there are fewer of them) of length 1 at right angles to each other
    /// (Saxe, McClelland and Ganguli 2014): norms pass unchanged. Takes about
    /// `4·min²·max` operations for `min` and `max` of inputs and outputs.
    Orthogonal,
    /// All 0.
    Zeros,
    /// All the same value.
    Constant(f64),
}

impl Init {
    /// Draws a weight matrix `[outputs, inputs]` into `weights`, row after row.
    pub fn fill<T: Float>(self, weights: &mut [T], inputs: usize, outputs: usize, seed: u64) {
        self.fill_filters(weights, [inputs, outputs], 1, seed);
    }

    /// The same for `outputs` filters, each of `inputs` weights over all channels of a window of `area`
    /// positions. An input reaches each filter at `area` positions, which counts for `fan_out`.
    pub fn fill_filters<T: Float>(
        self,
        weights: &mut [T],
        [inputs, outputs]: [usize; 2],
        area: usize,
        seed: u64,
    ) {
        let mut random = Random::new(seed);
        // A layer without inputs has no weights; 1 keeps the variance finite.
        let fan_in = inputs.max(1) as f64;
        let fan_sum = (inputs as f64 + outputs as f64 * area as f64).max(1.0);
        match self {
            Self::XavierUniform => uniform(weights, (6.0 / fan_sum).sqrt(), &mut random),
            Self::XavierNormal => normal(weights, (2.0 / fan_sum).sqrt(), &mut random),
            Self::HeUniform => uniform(weights, (6.0 / fan_in).sqrt(), &mut random),
            Self::HeNormal => normal(weights, (2.0 / fan_in).sqrt(), &mut random),
            Self::LecunUniform => uniform(weights, (3.0 / fan_in).sqrt(), &mut random),
            Self::LecunNormal => normal(weights, (1.0 / fan_in).sqrt(), &mut random),
            Self::TorchUniform => uniform(weights, (1.0 / fan_in).sqrt(), &mut random),
            Self::Orthogonal => orthogonal(weights, [inputs, outputs], &mut random),
            Self::Zeros => weights.fill(T::ZERO),
            Self::Constant(value) => weights.fill(T::from_f64(value)),
        }
    }
}

fn uniform<T: Float>(weights: &mut [T], limit: f64, random: &mut Random) {
    for weight in weights {
        *weight = T::from_f64((2.0 * random.uniform() - 1.0) * limit);
    }
}

fn normal<T: Float>(weights: &mut [T], deviation: f64, random: &mut Random) {
    for weight in weights {
        *weight = T::from_f64(random.normal() * deviation);
    }
}

/// Normal directions made orthogonal one after another (Gram and Schmidt), each of them twice: once
/// leaves what rounding brought back, twice is enough (Giraud and others 2005).
fn orthogonal<T: Float>(weights: &mut [T], [inputs, outputs]: [usize; 2], random: &mut Random) {
    let (count, length) = (inputs.min(outputs), inputs.max(outputs));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..length).map(|_| random.normal()).collect();
        let before = dot(&v, &v);
        for _ in 0..2 {
            for b in &basis {
                let along = dot(b, &v);
                v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
            }
        }
        let square = dot(&v, &v);
        // As good as never: a direction that the others span would be made of rounding errors.
        if square > 1e-12 * before {
            let scale = 1.0 / square.sqrt();
            v.iter_mut().for_each(|v| *v *= scale);
            basis.push(v);
        }
    }
    for (i, weight) in weights.iter_mut().enumerate() {
        let (output, input) = (i / inputs, i % inputs);
        let value = if outputs <= inputs { basis[output][input] } else { basis[input][output] };
        *weight = T::from_f64(value);
    }
}

/// Summed in order, as every CPU does it.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
