//! The largest or the mean value of windows.

use super::im2col::place;
use crate::ops::{ImageDims, Pooling, Window};
use crate::simd::Float;

/// The elements of each window inside the image, window by window, row by row.
fn windows(dims: ImageDims, window: Window) -> Vec<Vec<usize>> {
    let [down, across] = window.positions(dims).expect("a window that fits");
    let mut windows = Vec::new();
    for channel in 0..dims.channels {
        for y in 0..down {
            for x in 0..across {
                let mut inside = Vec::new();
                for i in 0..window.kernel[0] {
                    for j in 0..window.kernel[1] {
                        let row = place(window, 0, [y, i], dims.height);
                        let col = place(window, 1, [x, j], dims.width);
                        if let (Some(row), Some(col)) = (row, col) {
                            inside.push((channel * dims.height + row) * dims.width + col);
                        }
                    }
                }
                windows.push(inside);
            }
        }
    }
    windows
}

/// The first of the largest elements, or the first NaN.
fn largest<T: Float>(x: &[T], window: &[usize]) -> usize {
    let better = |a: usize, b: usize| x[b] > x[a] || (x[b].is_nan() && !x[a].is_nan());
    window.iter().copied().reduce(|a, b| if better(a, b) { b } else { a }).expect("a window")
}

/// Pools the planes of `x`.
///
/// # Panics
/// If the window does not fit or a length differs.
pub fn pool<T: Float>(kind: Pooling, x: &[T], dims: ImageDims, window: Window, y: &mut [T]) {
    for (y, window) in y.iter_mut().zip(windows(dims, window)) {
        *y = match kind {
            Pooling::Max => x[largest(x, &window)],
            Pooling::Mean => {
                let sum: f64 = window.iter().map(|&at| x[at].to_f64()).sum();
                T::from_f64(sum / window.len() as f64)
            }
        };
    }
}

/// The gradient of [`pool`] by its input.
///
/// # Panics
/// If the window does not fit or a length differs.
pub fn pool_backward<T: Float>(
    kind: Pooling,
    [x, dy]: [&[T]; 2],
    dims: ImageDims,
    window: Window,
    dx: &mut [T],
) {
    let mut sums = vec![0.0; x.len()];
    for (dy, window) in dy.iter().zip(windows(dims, window)) {
        match kind {
            Pooling::Max => sums[largest(x, &window)] += dy.to_f64(),
            Pooling::Mean => {
                window.iter().for_each(|&at| sums[at] += dy.to_f64() / window.len() as f64);
            }
        }
    }
    dx.iter_mut().zip(sums).for_each(|(to, sum)| *to = T::from_f64(sum));
}
