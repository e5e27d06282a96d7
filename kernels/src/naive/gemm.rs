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

/// The same for `count` pairs of matrices: each view is of the first one, and the others begin so many
/// elements further on in the same slice.
///
/// # Panics
/// If the shapes do not fit, or a matrix ends outside its slice.
pub fn batched_gemm<T: Float, E: SumsTo<T>>(
    count: usize,
    alpha: T,
    (a, a_stride): (MatRef<'_, E>, usize),
    (b, b_stride): (MatRef<'_, E>, usize),
    beta: T,
    (mut c, c_stride): (MatMut<'_, T>, usize),
) {
    let ([m, n], c_strides) = ([c.rows(), c.cols()], [c.row_stride(), c.col_stride()]);
    for i in 0..count {
        // An empty matrix begins anywhere.
        let start = (i * c_stride).min(c.data_mut().len());
        let c = &mut c.data_mut()[start..];
        let c = MatMut::with_strides(c, [m, n], c_strides).expect("a matrix within the slice");
        gemm(alpha, further(a, i * a_stride), further(b, i * b_stride), beta, c);
    }
}

/// The matrix of the same shape that begins `distance` elements further on.
fn further<E>(first: MatRef<'_, E>, distance: usize) -> MatRef<'_, E> {
    let strides = [first.row_stride(), first.col_stride()];
    let data = &first.data()[distance.min(first.data().len())..];
    MatRef::with_strides(data, [first.rows(), first.cols()], strides)
        .expect("a matrix within the slice")
}
