//! Matrix multiplication.

use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `C <- alpha * A * B + beta * C`; C is not read where `beta` is zero.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm<T: Float>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    assert!(a.cols() == b.rows() && c.rows() == a.rows() && c.cols() == b.cols());
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let sum: f64 = (0..a.cols()).map(|p| a.at(i, p).to_f64() * b.at(p, j).to_f64()).sum();
            let old = if beta == T::ZERO { 0.0 } else { beta.to_f64() * c.at(i, j).to_f64() };
            c.set(i, j, T::from_f64(alpha.to_f64() * sum + old));
        }
    }
}
