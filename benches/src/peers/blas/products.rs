//! Products by the functions of an opened library.

use std::ffi::c_int;

use tilewise_kernels::{Float, MatMut, MatRef, bf16, f16};

use super::{BatchedGemm, Blas, Gemm, open};
use crate::peers::Native;
use crate::peers::product::check_shapes;

/// CBLAS's names for orders and transposes.
const ROW_MAJOR: c_int = 101;
const NOT_TRANSPOSED: c_int = 111;
const TRANSPOSED: c_int = 112;

/// Element types that CBLAS knows.
pub trait CblasElement: Float {
    /// The library's function for it.
    #[doc(hidden)]
    fn gemm(blas: &Blas) -> Gemm<Self>;

    /// The library's function for batches of it, if it has one.
    #[doc(hidden)]
    fn gemm_batch(blas: &Blas) -> Option<BatchedGemm<Self>>;
}

impl CblasElement for f32 {
    fn gemm(blas: &Blas) -> Gemm<f32> {
        blas.sgemm
    }

    fn gemm_batch(blas: &Blas) -> Option<BatchedGemm<f32>> {
        blas.sgemm_batch
    }
}

impl CblasElement for f64 {
    fn gemm(blas: &Blas) -> Gemm<f64> {
        blas.dgemm
    }

    fn gemm_batch(blas: &Blas) -> Option<BatchedGemm<f64>> {
        blas.dgemm_batch
    }
}

/// Half-precision inputs.
pub trait CblasHalf: Copy {
    /// The library's function for them.
    #[doc(hidden)]
    fn gemm(blas: &Blas) -> Option<Gemm<Self, f32>>;
}

impl CblasHalf for bf16 {
    fn gemm(blas: &Blas) -> Option<Gemm<bf16, f32>> {
        blas.bf16
    }
}

impl CblasHalf for f16 {
    fn gemm(blas: &Blas) -> Option<Gemm<f16, f32>> {
        blas.f16
    }
}

/// `C = A B`.
pub(in crate::peers) fn multiply<T: CblasElement>(
    which: Native,
    a: MatRef<T>,
    b: MatRef<T>,
    c: MatMut<T>,
    threads: usize,
) {
    let blas = open(which, threads).unwrap_or_else(|why| panic!("{}: {why}", which.name()));
    blas.use_threads(threads);
    multiply_by(T::gemm(blas), a, b, c);
}

/// Products of matrices that follow each other by MKL, and whether it has such a call.
pub(in crate::peers) fn multiply_batch<T: CblasElement>(
    [count, m, n, k]: [usize; 4],
    [a, b]: [&[T]; 2],
    c: &mut [T],
    threads: usize,
) -> bool {
    let blas = open(Native::Mkl, threads).unwrap_or_else(|why| panic!("mkl: {why}"));
    let Some(gemm) = T::gemm_batch(blas) else { return false };
    blas.use_threads(threads);
    assert_eq!([a.len(), b.len(), c.len()], [m * k, k * n, m * n].map(|size| count * size));
    let distances = [m * k, k * n, m * n].map(int);
    let [count, m, n, k] = [count, m, n, k].map(int);
    // SAFETY: the assertion says that all matrices lie inside their slices, and `c` is borrowed
    // mutably, so it overlaps neither input. C is not read where beta is 0.
    unsafe {
        gemm(
            ROW_MAJOR,
            NOT_TRANSPOSED,
            NOT_TRANSPOSED,
            m,
            n,
            k,
            T::ONE,
            a.as_ptr(),
            k,
            distances[0],
            b.as_ptr(),
            n,
            distances[1],
            T::ZERO,
            c.as_mut_ptr(),
            n,
            distances[2],
            count,
        );
    }
    true
}

/// `C = A B` by MKL, from halves.
pub(in crate::peers) fn multiply_half<H: CblasHalf>(
    a: MatRef<H>,
    b: MatRef<H>,
    c: MatMut<f32>,
    threads: usize,
) {
    let blas = open(Native::Mkl, threads).unwrap_or_else(|why| panic!("mkl: {why}"));
    blas.use_threads(threads);
    multiply_by(H::gemm(blas).expect("an MKL that multiplies halves"), a, b, c);
}

fn multiply_by<I, O: Float>(gemm: Gemm<I, O>, a: MatRef<I>, b: MatRef<I>, mut c: MatMut<O>) {
    check_shapes(&a, &b, &c);
    assert!(c.col_stride() == 1 && c.row_stride() >= c.cols());
    let (a_transposed, a_stride) = layout(&a);
    let (b_transposed, b_stride) = layout(&b);
    let (m, n, k) = (int(a.rows()), int(b.cols()), int(a.cols()));
    let (a, b) = (a.data().as_ptr(), b.data().as_ptr());
    let (c_stride, c) = (int(c.row_stride()), c.data_mut().as_mut_ptr());
    let (one, zero) = (O::ONE, O::ZERO);
    // SAFETY: the views prove that all three matrices lie inside their slices, the assertions that
    // the shapes fit, and `c` is borrowed mutably, so it overlaps neither input. CBLAS does not read
    // C where beta is 0.
    unsafe {
        gemm(
            ROW_MAJOR,
            a_transposed,
            b_transposed,
            m,
            n,
            k,
            one,
            a,
            a_stride,
            b,
            b_stride,
            zero,
            c,
            c_stride,
        );
    }
}

/// Whether CBLAS sees a transposed matrix, and the distance of its rows. A matrix of one row or
/// column can be seen both ways, but CBLAS insists that a stored row be as long as it is wide.
fn layout<T>(matrix: &MatRef<T>) -> (c_int, c_int) {
    if matrix.col_stride() == 1 && matrix.row_stride() >= matrix.cols() {
        return (NOT_TRANSPOSED, int(matrix.row_stride()));
    }
    assert!(matrix.row_stride() == 1 && matrix.col_stride() >= matrix.rows());
    (TRANSPOSED, int(matrix.col_stride()))
}

fn int(value: usize) -> c_int {
    c_int::try_from(value).expect("a size below 2^31")
}
