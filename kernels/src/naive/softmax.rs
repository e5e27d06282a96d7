//! Softmax and its logarithm along rows.

use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `y = exp(x) / Σ exp(x)` along each row; a row of only -∞ gives 1 / columns.
///
/// # Panics
/// If the shapes differ.
pub fn softmax<T: Float>(x: MatRef<'_, T>, mut y: MatMut<'_, T>) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
    for i in 0..x.rows() {
        let (shift, sum) = shift_and_sum(&x, i);
        for j in 0..x.cols() {
            y.set(i, j, T::from_f64(shifted(&x, [i, j], shift).exp() / sum));
        }
    }
}

/// `y = x - ln Σ exp(x)` along each row; a row of only -∞ gives -ln columns.
///
/// # Panics
/// If the shapes differ.
pub fn log_softmax<T: Float>(x: MatRef<'_, T>, mut y: MatMut<'_, T>) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
    for i in 0..x.rows() {
        let (shift, sum) = shift_and_sum(&x, i);
        for j in 0..x.cols() {
            y.set(i, j, T::from_f64(shifted(&x, [i, j], shift) - sum.ln()));
        }
    }
}

/// `dx = y (dy - Σ dy y)` along each row.
///
/// # Panics
/// If the shapes differ.
pub fn softmax_backward<T: Float>(y: MatRef<'_, T>, dy: MatRef<'_, T>, mut dx: MatMut<'_, T>) {
    assert_eq!((y.rows(), y.cols()), (dy.rows(), dy.cols()));
    assert_eq!((y.rows(), y.cols()), (dx.rows(), dx.cols()));
    for i in 0..y.rows() {
        let dot: f64 = (0..y.cols()).map(|j| y.at(i, j).to_f64() * dy.at(i, j).to_f64()).sum();
        for j in 0..y.cols() {
            let (y, dy) = (y.at(i, j).to_f64(), dy.at(i, j).to_f64());
            dx.set(i, j, T::from_f64(y * (dy - dot)));
        }
    }
}

/// `dx = dy - exp(y) Σ dy` along each row.
///
/// # Panics
/// If the shapes differ.
pub fn log_softmax_backward<T: Float>(y: MatRef<'_, T>, dy: MatRef<'_, T>, mut dx: MatMut<'_, T>) {
    assert_eq!((y.rows(), y.cols()), (dy.rows(), dy.cols()));
    assert_eq!((y.rows(), y.cols()), (dx.rows(), dx.cols()));
    for i in 0..y.rows() {
        let total: f64 = (0..y.cols()).map(|j| dy.at(i, j).to_f64()).sum();
        for j in 0..y.cols() {
            let (y, dy) = (y.at(i, j).to_f64(), dy.at(i, j).to_f64());
            dx.set(i, j, T::from_f64(dy - y.exp() * total));
        }
    }
}

/// `out[i] = ln Σ exp(x[i, ..])`.
///
/// # Panics
/// If `out` has not one place per row.
pub fn log_sum_exp<T: Float>(x: MatRef<'_, T>, out: &mut [T]) {
    assert_eq!(x.rows(), out.len());
    for (i, out) in out.iter_mut().enumerate() {
        let max = row_max(&x, i);
        *out = T::from_f64(if max.is_infinite() {
            max
        } else {
            let sum: f64 = (0..x.cols()).map(|j| (x.at(i, j).to_f64() - max).exp()).sum();
            max + sum.ln()
        });
    }
}

/// The largest element of row `i`; NaN if there is one.
fn row_max<T: Float>(x: &MatRef<'_, T>, i: usize) -> f64 {
    (0..x.cols())
        .map(|j| x.at(i, j).to_f64())
        .fold(f64::NEG_INFINITY, |max, x| if max.is_nan() || max >= x { max } else { x })
}

/// What row `i` is shifted by, its maximum, and Σ exp(x - shift). The shift of a row of only -∞ is
/// -∞ too, and every one of its elements counts as 0 after it: see [`shifted`].
pub(super) fn shift_and_sum<T: Float>(x: &MatRef<'_, T>, i: usize) -> (f64, f64) {
    let shift = row_max(x, i);
    (shift, (0..x.cols()).map(|j| shifted(x, [i, j], shift).exp()).sum())
}

/// `x[i, j] - shift`, with -∞ - -∞ = 0.
pub(super) fn shifted<T: Float>(x: &MatRef<'_, T>, [i, j]: [usize; 2], shift: f64) -> f64 {
    if shift == f64::NEG_INFINITY { 0.0 } else { x.at(i, j).to_f64() - shift }
}
