//! Matrix multiplication.

use crate::gemm::SumsTo;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `C <- alpha * A * B + beta * C`; C is not read where `beta` is zero.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm<T: Float, E: SumsTo<T>>(
    alpha: T,
    a: MatRef<'_, E>,
    b: MatRef<'_, E>,
    beta: T,
    mut c: MatMut<'_, T>,
) {
    let wide = |x: E| x.widen().to_f64();
    assert!(a.cols() == b.rows() && c.rows() == a.rows() && c.cols() == b.cols());
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let sum: f64 = (0..a.cols()).map(|p| wide(a.at(i, p)) * wide(b.at(p, j))).sum();
            let old = if beta == T::ZERO { 0.0 } else { beta.to_f64() * c.at(i, j).to_f64() };
            c.set(i, j, T::from_f64(alpha.to_f64() * sum + old));
        }
    }
}
