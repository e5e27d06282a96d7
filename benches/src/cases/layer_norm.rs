//! Normalisation of rows, forward and backward.

use tilewise_kernels::{Float, NormGrads, RowNorm, RowNormBackward, RowStats, naive};

use super::{matrix, matrix_mut};
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// Rows and columns: a small network, and the hidden states of language models.
const SHAPES: [[usize; 2]; 3] = [[128, 64], [512, 768], [256, 4096]];

/// Near the usual 1e-5.
const EPSILON: f64 = 1.0 / 131_072.0;

/// Both kinds on every shape.
pub fn cases<T: Float>() -> Vec<Case> {
    let on = |shape| {
        [true, false].map(|centred| [forward::<T>(centred, shape), backward::<T>(centred, shape)])
    };
    SHAPES.into_iter().flat_map(on).flatten().collect()
}

fn name(centred: bool) -> &'static str {
    if centred { "layer_norm" } else { "rms_norm" }
}

/// x, γ, β and dy.
fn inputs<T: Float>([rows, cols]: [usize; 2]) -> Vec<Vec<T>> {
    let mut random = Random::new(1);
    vec![
        random.uniform(rows * cols, -1.0, 1.0),
        random.uniform(cols, 0.5, 1.5),
        random.uniform(cols, -1.0, 1.0),
        random.uniform(rows * cols, -1.0, 1.0),
    ]
}

/// Sums of `cols` terms, each with a few roundings.
fn tolerance<T: Float>(cols: usize) -> f64 {
    (cols as f64 + 32.0) * T::EPSILON.to_f64()
}

fn forward<T: Float>(centred: bool, shape: [usize; 2]) -> Case {
    let [rows, cols] = shape;
    let (id, len) = (format!("{}/{}/{rows}x{cols}", name(centred), T::NAME), rows * cols);
    let epsilon = T::from_f64(EPSILON);
    Case::new(id, Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            inputs(shape),
            len,
            tolerance::<T>(cols),
            move |inputs, y, exec| {
                let (x, affine) = (matrix(&inputs[0], shape), [&inputs[1][..], &inputs[2]]);
                let op = match centred {
                    true => RowNorm::layer(x, affine, epsilon)?,
                    false => RowNorm::rms(x, affine[0], epsilon)?,
                };
                op.run(matrix_mut(y, shape), &mut RowStats::new(rows), exec)
            },
            move |inputs, y| {
                let (x, y) = (matrix(&inputs[0], shape), matrix_mut(y, shape));
                match centred {
                    true => naive::layer_norm(x, [&inputs[1], &inputs[2]], epsilon, y),
                    false => naive::rms_norm(x, &inputs[1], epsilon, y),
                }
            },
        )
    })
    // The sums, the distance from the mean, and what is made of it.
    .counting((if centred { 12 } else { 4 }) * len)
}

fn backward<T: Float>(centred: bool, shape: [usize; 2]) -> Case {
    let [rows, cols] = shape;
    let (id, len) = (format!("{}_backward/{}/{rows}x{cols}", name(centred), T::NAME), rows * cols);
    let epsilon = T::from_f64(EPSILON);
    Case::new(id, Work::values::<T>(3 * len), move || {
        let inputs = inputs::<T>(shape);
        let (mut stats, mut y) = (RowStats::new(rows), vec![T::ZERO; len]);
        let x = matrix(&inputs[0], shape);
        let op = match centred {
            true => RowNorm::layer(x, [&inputs[1], &inputs[2]], epsilon),
            false => RowNorm::rms(x, &inputs[1], epsilon),
        };
        op.and_then(|op| op.run(matrix_mut(&mut y, shape), &mut stats, Default::default()))
            .expect("a matrix and its parameters");
        let shifts = if centred { cols } else { 0 };
        Simple::<T, _, _>::new(
            inputs,
            len,
            tolerance::<T>(cols),
            move |inputs, dx, exec| {
                let (x, dy) = (matrix(&inputs[0], shape), matrix(&inputs[3], shape));
                let op = match centred {
                    true => RowNormBackward::layer(x, &inputs[1], &stats)?,
                    false => RowNormBackward::rms(x, &inputs[1], &stats)?,
                };
                let (mut dgamma, mut dbeta) = (vec![T::ZERO; cols], vec![T::ZERO; shifts]);
                let dx = matrix_mut(dx, shape);
                op.run(dy, NormGrads { dx, dgamma: &mut dgamma, dbeta: &mut dbeta }, exec)
            },
            move |inputs, dx| {
                let (x, dy) = (matrix(&inputs[0], shape), matrix(&inputs[3], shape));
                let (mut dgamma, mut dbeta) = (vec![T::ZERO; cols], vec![T::ZERO; shifts]);
                let dx = matrix_mut(dx, shape);
                let grads = NormGrads { dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
                match centred {
                    true => naive::layer_norm_backward(x, &inputs[1], epsilon, dy, grads),
                    false => naive::rms_norm_backward(x, &inputs[1], epsilon, dy, grads),
                }
            },
        )
    })
    .counting((if centred { 20 } else { 14 }) * len)
}
