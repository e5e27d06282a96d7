//! Who multiplies matrices, and how each of them is called.

#[cfg(not(feature = "peers"))]
pub use tilewise_kernels::Float as Element;
use tilewise_kernels::{MatMut, MatRef};

use super::Peer;
#[cfg(feature = "peers")]
use super::{
    Native, RustCrate,
    blas::{CblasElement, CblasHalf},
    gemm::MatrixMultiply,
    libxsmm::XsmmElement,
    onednn::{OneDnnElement, OneDnnHalf},
};

#[cfg(feature = "all-peers")]
use super::crates::CrateElement;
#[cfg(all(feature = "peers", not(feature = "all-peers")))]
use tilewise_kernels::Float as CrateElement;

/// Element types whose matrices everybody multiplies.
#[cfg(feature = "peers")]
pub trait Element:
    CblasElement + CrateElement + MatrixMultiply + OneDnnElement + XsmmElement
{
}

#[cfg(feature = "peers")]
impl<T: CblasElement + CrateElement + MatrixMultiply + OneDnnElement + XsmmElement> Element for T {}

/// Half-precision types of inputs.
#[cfg(not(feature = "peers"))]
pub trait HalfElement: Copy {}

#[cfg(not(feature = "peers"))]
impl<H: Copy> HalfElement for H {}

/// Half-precision types of inputs.
#[cfg(feature = "peers")]
pub trait HalfElement: CblasHalf + OneDnnHalf {}

#[cfg(feature = "peers")]
impl<H: CblasHalf + OneDnnHalf> HalfElement for H {}

/// `C = A B`.
///
/// # Panics
/// If the shapes do not fit, if the peer cannot multiply that type, or if it is not there.
pub fn multiply<T: Element>(who: Peer, a: MatRef<T>, b: MatRef<T>, c: MatMut<T>, threads: usize) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Crate(RustCrate::Gemm) => super::gemm::gemm_crate(a, b, c, threads),
        #[cfg(feature = "peers")]
        Peer::Crate(RustCrate::MatrixMultiply) => T::matrixmultiply(a, b, c),
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Faer) => T::faer(a, b, c, threads),
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::NdArray) => T::ndarray(a, b, c),
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::NanoGemm) => T::nano_gemm(a, b, c),
        #[cfg(feature = "peers")]
        Peer::Native(Native::LibXsmm) => super::libxsmm::multiply(a, b, c, true),
        #[cfg(feature = "peers")]
        Peer::Native(Native::LibXsmmAsked) => super::libxsmm::multiply(a, b, c, false),
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => T::onednn(a, b, c, threads),
        #[cfg(feature = "peers")]
        Peer::Native(which @ (Native::Mkl | Native::OpenBlas | Native::Blis)) => {
            super::blas::multiply(which, a, b, c, threads);
        }
        _ => panic!("{who} does not multiply in here, or was not built in"),
    }
}

/// `C = A B` for each of `[count, m, n, k]` products whose matrices follow each other: in one call where
/// the peer has such a call, else one by one, as its users do.
///
/// # Panics
/// As [`multiply`] does, and if the slices have other lengths.
pub fn multiply_batch<T: Element>(
    who: Peer,
    shape: [usize; 4],
    [a, b]: [&[T]; 2],
    c: &mut [T],
    threads: usize,
) {
    let [count, m, n, k] = shape;
    assert_eq!([a.len(), b.len(), c.len()], [m * k, k * n, m * n].map(|size| count * size));
    #[cfg(feature = "peers")]
    if who == Peer::Native(Native::Mkl) && super::blas::multiply_batch(shape, [a, b], c, threads) {
        return;
    }
    let matrices = a.chunks_exact(m * k).zip(b.chunks_exact(k * n)).zip(c.chunks_exact_mut(m * n));
    for ((a, b), c) in matrices {
        let (a, b, c) = (MatRef::new(a, m, k), MatRef::new(b, k, n), MatMut::new(c, m, n));
        let fits = "a matrix of this shape";
        multiply(who, a.expect(fits), b.expect(fits), c.expect(fits), threads);
    }
}

/// `C = A B`, in `f32` from halves.
///
/// # Panics
/// As [`multiply`] does.
pub fn multiply_half<H: HalfElement>(
    who: Peer,
    a: MatRef<H>,
    b: MatRef<H>,
    c: MatMut<f32>,
    threads: usize,
) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => super::onednn::multiply_half(a, b, c, threads),
        #[cfg(feature = "peers")]
        Peer::Native(Native::Mkl) => super::blas::multiply_half(a, b, c, threads),
        _ => panic!("{who} multiplies no {}", std::any::type_name::<H>()),
    }
}

/// What every product takes for granted.
#[cfg(feature = "peers")]
pub(super) fn check_shapes<I, O>(a: &MatRef<I>, b: &MatRef<I>, c: &MatMut<O>) {
    assert!(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
}

/// Strides as crates want them. Views prove that every index fits `isize`.
#[cfg(feature = "peers")]
pub(super) fn signed(stride: usize) -> isize {
    stride as isize
}
