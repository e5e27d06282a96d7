//! Normalisation of rows, by mean and variance or by the root mean square.

use crate::ops::NormGrads;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `y = γ·(x - mean) / √(variance + ε) + β` along each row.
///
/// # Panics
/// If shapes differ.
pub fn layer_norm<T: Float>(
    x: MatRef<'_, T>,
    [gamma, beta]: [&[T]; 2],
    epsilon: T,
    mut y: MatMut<'_, T>,
) {
    for i in 0..x.rows() {
        for (j, x) in normalised(&x, i, true, epsilon).0.into_iter().enumerate() {
            y.set(i, j, T::from_f64(x * gamma[j].to_f64() + beta[j].to_f64()));
        }
    }
}

/// `y = γ·x / √(mean of x² + ε)` along each row.
///
/// # Panics
/// If shapes differ.
pub fn rms_norm<T: Float>(x: MatRef<'_, T>, gamma: &[T], epsilon: T, mut y: MatMut<'_, T>) {
    for i in 0..x.rows() {
        for (j, x) in normalised(&x, i, false, epsilon).0.into_iter().enumerate() {
            y.set(i, j, T::from_f64(x * gamma[j].to_f64()));
        }
    }
}

/// The gradients of [`layer_norm`].
///
/// # Panics
/// If shapes differ.
pub fn layer_norm_backward<T: Float>(
    x: MatRef<'_, T>,
    gamma: &[T],
    epsilon: T,
    dy: MatRef<'_, T>,
    grads: NormGrads<'_, T>,
) {
    backward([x, dy], gamma, epsilon, true, grads);
}

/// The gradients of [`rms_norm`].
///
/// # Panics
/// If shapes differ.
pub fn rms_norm_backward<T: Float>(
    x: MatRef<'_, T>,
    gamma: &[T],
    epsilon: T,
    dy: MatRef<'_, T>,
    grads: NormGrads<'_, T>,
) {
    backward([x, dy], gamma, epsilon, false, grads);
}

fn backward<T: Float>(
    [x, dy]: [MatRef<'_, T>; 2],
    gamma: &[T],
    epsilon: T,
    centred: bool,
    NormGrads { mut dx, dgamma, dbeta }: NormGrads<'_, T>,
) {
    let cols = x.cols();
    let (mut scale, mut shift) = (vec![0.0; cols], vec![0.0; cols]);
    for i in 0..x.rows() {
        let (normal, inv_std) = normalised(&x, i, centred, epsilon);
        let g: Vec<f64> = (0..cols).map(|j| dy.at(i, j).to_f64() * gamma[j].to_f64()).collect();
        let mean = if centred { g.iter().sum::<f64>() / cols as f64 } else { 0.0 };
        let along = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / cols as f64;
        for j in 0..cols {
            dx.set(i, j, T::from_f64(inv_std * (g[j] - mean - normal[j] * along)));
            scale[j] += dy.at(i, j).to_f64() * normal[j];
            shift[j] += dy.at(i, j).to_f64();
        }
    }
    dgamma.iter_mut().zip(scale).for_each(|(to, sum)| *to = T::from_f64(sum));
    dbeta.iter_mut().zip(shift).for_each(|(to, sum)| *to = T::from_f64(sum));
}

/// Row `i` normalised, and what it was scaled by.
fn normalised<T: Float>(x: &MatRef<'_, T>, i: usize, centred: bool, epsilon: T) -> (Vec<f64>, f64) {
    let row: Vec<f64> = (0..x.cols()).map(|j| x.at(i, j).to_f64()).collect();
    let count = row.len().max(1) as f64;
    let mean = if centred { row.iter().sum::<f64>() / count } else { 0.0 };
    // What rounding took from the mean counts where the row is far from 0.
    let low = if centred { row.iter().map(|x| x - mean).sum::<f64>() / count } else { 0.0 };
    let from_mean: Vec<f64> = row.iter().map(|x| (x - mean) - low).collect();
    let var = from_mean.iter().map(|d| d * d).sum::<f64>() / count;
    let inv_std = 1.0 / (var + epsilon.to_f64()).sqrt();
    (from_mean.iter().map(|d| d * inv_std).collect(), inv_std)
}
