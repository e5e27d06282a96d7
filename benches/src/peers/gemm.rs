//! The crates `gemm` and `matrixmultiply`.

use tilewise_kernels::{Float, MatMut, MatRef};

use super::product::{check_shapes, signed};

/// `C = A B` by the `gemm` crate.
pub(super) fn gemm_crate<T: Float>(a: MatRef<T>, b: MatRef<T>, mut c: MatMut<T>, threads: usize) {
    check_shapes(&a, &b, &c);
    let parallelism =
        if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let (c_col, c_row) = (signed(c.col_stride()), signed(c.row_stride()));
    // SAFETY: the views prove that all three matrices lie inside their slices, `check` that the
    // shapes fit, and `c` is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows(),
            b.cols(),
            a.cols(),
            c.data_mut().as_mut_ptr(),
            c_col,
            c_row,
            false,
            a.data().as_ptr(),
            signed(a.col_stride()),
            signed(a.row_stride()),
            b.data().as_ptr(),
            signed(b.col_stride()),
            signed(b.row_stride()),
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Element types that `matrixmultiply` knows.
pub trait MatrixMultiply: Float {
    /// `C = A B` on one thread.
    fn matrixmultiply(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>);
}

macro_rules! impl_matrixmultiply {
    ($t:ident, $function:ident) => {
        impl MatrixMultiply for $t {
            fn matrixmultiply(a: MatRef<Self>, b: MatRef<Self>, mut c: MatMut<Self>) {
                check_shapes(&a, &b, &c);
                let (c_row, c_col) = (signed(c.row_stride()), signed(c.col_stride()));
                // SAFETY: the views prove that all three matrices lie inside their slices, `check`
                // that the shapes fit, and `c` is borrowed mutably, so it overlaps neither input.
                unsafe {
                    matrixmultiply::$function(
                        a.rows(),
                        a.cols(),
                        b.cols(),
                        1.0,
                        a.data().as_ptr(),
                        signed(a.row_stride()),
                        signed(a.col_stride()),
                        b.data().as_ptr(),
                        signed(b.row_stride()),
                        signed(b.col_stride()),
                        0.0,
                        c.data_mut().as_mut_ptr(),
                        c_row,
                        c_col,
                    );
                }
            }
        }
    };
}

impl_matrixmultiply!(f32, sgemm);
impl_matrixmultiply!(f64, dgemm);
