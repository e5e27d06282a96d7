//! Reductions, one element after the other in `f64`.

use crate::simd::Float;
use crate::view::MatRef;

/// The sum; 0 of nothing.
pub fn sum<T: Float>(x: &[T]) -> T {
    T::from_f64(x.iter().map(|x| x.to_f64()).sum())
}

/// The mean.
///
/// # Panics
/// If `x` is empty.
pub fn mean<T: Float>(x: &[T]) -> T {
    assert!(!x.is_empty());
    T::from_f64(x.iter().map(|x| x.to_f64()).sum::<f64>() / x.len() as f64)
}

/// The mean and the biased variance; NaN both if an element is not finite.
///
/// # Panics
/// If `x` is empty.
pub fn mean_var<T: Float>(x: &[T]) -> (T, T) {
    assert!(!x.is_empty());
    moments(x.iter().copied())
}

fn moments<T: Float>(values: impl Iterator<Item = T> + Clone) -> (T, T) {
    let count = values.clone().count() as f64;
    let mean = values.clone().map(T::to_f64).sum::<f64>() / count;
    let var = values.map(|x| (x.to_f64() - mean).powi(2)).sum::<f64>() / count;
    (T::from_f64(if var.is_nan() { f64::NAN } else { mean }), T::from_f64(var))
}

/// The largest element; NaN if one is NaN.
///
/// # Panics
/// If `x` is empty.
pub fn max<T: Float>(x: &[T]) -> T {
    assert!(!x.is_empty());
    x.iter().copied().fold(x[0], |best, x| if x.is_nan() || x > best { x } else { best })
}

/// The index of the largest element, the first one of equals.
///
/// # Panics
/// If `x` is empty or an element is NaN.
pub fn argmax<T: Float>(x: &[T]) -> usize {
    assert!(!x.is_empty() && !x.iter().any(|x| x.is_nan()));
    (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}

/// The square root of the sum of squares.
pub fn l2_norm<T: Float>(x: &[T]) -> T {
    let largest = x.iter().fold(0.0, |best: f64, x| best.max(x.to_f64().abs()));
    if largest == 0.0 || !largest.is_finite() {
        // `f64::max` passes over NaN; the sum does not.
        return T::from_f64(largest + x.iter().map(|x| x.to_f64().abs()).sum::<f64>());
    }
    let scaled: f64 = x.iter().map(|x| (x.to_f64() / largest).powi(2)).sum();
    T::from_f64(largest * scaled.sqrt())
}

/// The sum of each column.
///
/// # Panics
/// If there are not as many outputs as columns.
pub fn column_sums<T: Float>(x: MatRef<'_, T>, out: &mut [T]) {
    assert_eq!(x.cols(), out.len());
    for (j, out) in out.iter_mut().enumerate() {
        *out = T::from_f64((0..x.rows()).map(|i| x.at(i, j).to_f64()).sum());
    }
}

/// The mean and the biased variance of each column.
///
/// # Panics
/// If there are not as many outputs as columns, or no rows.
pub fn column_mean_var<T: Float>(x: MatRef<'_, T>, mean: &mut [T], var: &mut [T]) {
    assert!(x.cols() == mean.len() && x.cols() == var.len() && (x.rows() > 0 || x.cols() == 0));
    for j in 0..x.cols() {
        (mean[j], var[j]) = moments((0..x.rows()).map(|i| x.at(i, j)));
    }
}

/// The sum of each row.
///
/// # Panics
/// If there are not as many outputs as rows.
pub fn row_sums<T: Float>(x: MatRef<'_, T>, out: &mut [T]) {
    assert_eq!(x.rows(), out.len());
    for (i, out) in out.iter_mut().enumerate() {
        *out = T::from_f64((0..x.cols()).map(|j| x.at(i, j).to_f64()).sum());
    }
}

/// The index of the largest element of each row, the first one of equals.
///
/// # Panics
/// If there are not as many outputs as rows, a row is empty or an element is NaN.
pub fn argmax_rows<T: Float>(x: MatRef<'_, T>, out: &mut [usize]) {
    assert_eq!(x.rows(), out.len());
    for (i, out) in out.iter_mut().enumerate() {
        let row: Vec<T> = (0..x.cols()).map(|j| x.at(i, j)).collect();
        *out = argmax(&row);
    }
}
