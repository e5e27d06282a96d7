//! Batch normalisation, one channel after the other.

use crate::ops::{Affine, BatchNormDims, BatchNormGrads, BatchStats, Running, Storage};
use crate::simd::Float;

/// The places of a channel's values, in order.
fn places(dims: BatchNormDims, c: usize) -> impl Iterator<Item = usize> {
    let BatchNormDims { outer, channels, inner } = dims;
    (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * channels + c) * inner + i))
}

fn wide<T: Float>(x: impl Storage<T>) -> f64 {
    x.widen().to_f64()
}

/// `y = gamma (x - mean) / sqrt(var + epsilon) + beta`, and the batch's statistics. A channel with
/// a NaN or an infinity has NaN statistics.
///
/// # Panics
/// If a length does not fit `dims` or a channel has fewer than 2 values.
pub fn batch_norm_forward<T: Float, E: Storage<T>>(
    x: &[E],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    epsilon: T,
    y: &mut [E],
    stats: &mut BatchStats<T>,
) {
    assert!(x.len() == dims.len().unwrap() && y.len() == x.len());
    let count = (dims.outer * dims.inner) as f64;
    assert!(dims.channels == 0 || count >= 2.0);
    for c in 0..dims.channels {
        // Relative to the first value, so that f64 batches with a large offset lose nothing.
        let pivot = places(dims, c).next().map_or(0.0, |at| wide(x[at]));
        let shift = places(dims, c).map(|at| wide(x[at]) - pivot).sum::<f64>() / count;
        let centred = |at: usize| (wide(x[at]) - pivot) - shift;
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
            y[at] = E::narrow(T::from_f64(gamma * inv_std * centred(at) + beta));
        }
    }
}

/// The gradients of [`batch_norm_forward`]:
/// `dx = gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat))`, `dgamma = sum(dy x_hat)`,
/// `dbeta = sum(dy)`.
///
/// # Panics
/// If a length does not fit `dims`.
pub fn batch_norm_backward<T: Float, E: Storage<T>>(
    x: &[E],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    stats: &BatchStats<T>,
    dy: &[E],
    grads: BatchNormGrads<'_, T, E>,
) {
    let BatchNormGrads { dx, dgamma, dbeta } = grads;
    assert!(x.len() == dims.len().unwrap() && dy.len() == x.len() && dx.len() == x.len());
    let count = (dims.outer * dims.inner) as f64;
    for c in 0..dims.channels {
        let (mean, low) = (stats.mean[c].to_f64(), stats.mean_low[c].to_f64());
        let inv_std = stats.inv_std[c].to_f64();
        let x_hat = |at: usize| ((wide(x[at]) - mean) - low) * inv_std;
        let sum: f64 = places(dims, c).map(|at| wide(dy[at])).sum();
        let dot: f64 = places(dims, c).map(|at| wide(dy[at]) * x_hat(at)).sum();
        dgamma[c] = T::from_f64(dot);
        dbeta[c] = T::from_f64(sum);
        let scale = affine.gamma[c].to_f64() * inv_std;
        for at in places(dims, c) {
            let centred = wide(dy[at]) - sum / count - x_hat(at) * (dot / count);
            dx[at] = E::narrow(T::from_f64(scale * centred));
        }
    }
}

/// `y = gamma (x - mean) / sqrt(var + epsilon) + beta` with running statistics.
///
/// # Panics
/// If a length does not fit `dims`.
pub fn batch_norm_inference<T: Float, E: Storage<T>>(
    x: &[E],
    dims: BatchNormDims,
    affine: Affine<'_, T>,
    running: Running<'_, T>,
    epsilon: T,
    y: &mut [E],
) {
    assert!(x.len() == dims.len().unwrap() && y.len() == x.len());
    for c in 0..dims.channels {
        let inv_std = 1.0 / (running.var[c].to_f64() + epsilon.to_f64()).sqrt();
        let (gamma, beta) = (affine.gamma[c].to_f64(), affine.beta[c].to_f64());
        for at in places(dims, c) {
            let centred = wide(x[at]) - running.mean[c].to_f64();
            y[at] = E::narrow(T::from_f64(gamma * inv_std * centred + beta));
        }
    }
}

/// What a residual and a ReLU make of normalised values: `z = x + r`, or 0 where that is negative.
///
/// # Panics
/// If the lengths differ.
pub fn add_residual<T: Float, E: Storage<T>>(x: &[E], r: &[E], relu: bool, z: &mut [E]) {
    assert!(x.len() == r.len() && x.len() == z.len());
    for ((x, r), z) in x.iter().zip(r).zip(z) {
        let sum = wide(*x) + wide(*r);
        *z = E::narrow(T::from_f64(if relu && sum < 0.0 { 0.0 } else { sum }));
    }
}

/// The gradient of either addend of [`add_residual`]: `dz`, or 0 where a ReLU cut off or met zero.
///
/// # Panics
/// If the lengths differ.
pub fn add_residual_backward<T: Float, E: Storage<T>>(
    [x, r]: [&[E]; 2],
    relu: bool,
    dz: &[E],
    gradient: &mut [E],
) {
    assert!(x.len() == r.len() && x.len() == dz.len() && x.len() == gradient.len());
    for (i, gradient) in gradient.iter_mut().enumerate() {
        let off = relu && wide(x[i]) + wide(r[i]) <= 0.0;
        *gradient = if off { E::default() } else { dz[i] };
    }
}
