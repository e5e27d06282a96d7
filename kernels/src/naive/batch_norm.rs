//! Batch normalisation, one channel after the other.

use crate::ops::{Affine, BatchNormDims, BatchNormGrads, BatchStats, Running};
use crate::simd::Float;

/// The places of a channel's values, in order.
fn places(dims: BatchNormDims, c: usize) -> impl Iterator<Item = usize> {
    let BatchNormDims { outer, channels, inner } = dims;
    (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * channels + c) * inner + i))
}

/// `y = gamma (x - mean) / sqrt(var + epsilon) + beta`, and the batch's statistics. A channel with
/// a NaN or an infinity has NaN statistics.
///
/// # Panics
/// If a length does not fit `dims` or a channel has fewer than 2 values.
pub fn batch_norm_forward<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    epsilon: T,
    y: &mut [T],
    stats: &mut BatchStats<T>,
) {
    assert!(x.len() == dims.len().unwrap() && y.len() == x.len());
    let count = (dims.outer * dims.inner) as f64;
    assert!(dims.channels == 0 || count >= 2.0);
    for c in 0..dims.channels {
        // Relative to the first value, so that f64 batches with a large offset lose nothing.
        let pivot = places(dims, c).next().map_or(0.0, |at| x[at].to_f64());
        let shift = places(dims, c).map(|at| x[at].to_f64() - pivot).sum::<f64>() / count;
        let centred = |at: usize| (x[at].to_f64() - pivot) - shift;
        let var = places(dims, c).map(|at| centred(at) * centred(at)).sum::<f64>() / count;
        let mean = T::from_f64(if var.is_nan() { f64::NAN } else { pivot + shift });
        // A variance beyond the range of `T` is infinite in the statistics and the output.
        let var = T::from_f64(var);
        let inv_std = 1.0 / (var.to_f64() + epsilon.to_f64()).sqrt();
        stats.mean[c] = mean;
        stats.mean_low[c] = T::from_f64((pivot - mean.to_f64()) + shift);
        stats.var[c] = var;
        stats.inv_std[c] = T::from_f64(inv_std);
        let (gamma, beta) = (affine.gamma[c].to_f64(), affine.beta[c].to_f64());
        for at in places(dims, c) {
            y[at] = T::from_f64(gamma * inv_std * centred(at) + beta);
        }
    }
}

/// The gradients of [`batch_norm_forward`]:
/// `dx = gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat))`, `dgamma = sum(dy x_hat)`,
/// `dbeta = sum(dy)`.
///
/// # Panics
/// If a length does not fit `dims`.
pub fn batch_norm_backward<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    stats: &BatchStats<T>,
    dy: &[T],
    grads: BatchNormGrads<'_, T>,
) {
    let BatchNormGrads { dx, dgamma, dbeta } = grads;
    assert!(x.len() == dims.len().unwrap() && dy.len() == x.len() && dx.len() == x.len());
    let count = (dims.outer * dims.inner) as f64;
    for c in 0..dims.channels {
        let (mean, low) = (stats.mean[c].to_f64(), stats.mean_low[c].to_f64());
        let inv_std = stats.inv_std[c].to_f64();
        let x_hat = |at: usize| ((x[at].to_f64() - mean) - low) * inv_std;
        let sum: f64 = places(dims, c).map(|at| dy[at].to_f64()).sum();
        let dot: f64 = places(dims, c).map(|at| dy[at].to_f64() * x_hat(at)).sum();
        dgamma[c] = T::from_f64(dot);
        dbeta[c] = T::from_f64(sum);
        let scale = affine.gamma[c].to_f64() * inv_std;
        for at in places(dims, c) {
            let centred = dy[at].to_f64() - sum / count - x_hat(at) * (dot / count);
            dx[at] = T::from_f64(scale * centred);
        }
    }
}

/// `y = gamma (x - mean) / sqrt(var + epsilon) + beta` with running statistics.
///
/// # Panics
/// If a length does not fit `dims`.
pub fn batch_norm_inference<T: Float>(
    x: &[T],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    running: Running<'_, T>,
    epsilon: T,
    y: &mut [T],
) {
    assert!(x.len() == dims.len().unwrap() && y.len() == x.len());
    for c in 0..dims.channels {
        let inv_std = 1.0 / (running.var[c].to_f64() + epsilon.to_f64()).sqrt();
        let (gamma, beta) = (affine.gamma[c].to_f64(), affine.beta[c].to_f64());
        for at in places(dims, c) {
            let centred = x[at].to_f64() - running.mean[c].to_f64();
            y[at] = T::from_f64(gamma * inv_std * centred + beta);
        }
    }
}
