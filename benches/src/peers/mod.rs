//! Other people's code: who there is, what they can do, and safe functions that let them do it.
//!
//! Rust crates are built in behind the feature `peers`. Native libraries are opened when the program
//! runs. Without the feature the vocabulary stays and all of them are absent, so that nobody who asks
//! needs to know the feature.

#![cfg_attr(not(feature = "peers"), allow(unused_variables, reason = "nobody can be asked"))]

#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod blas;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod gemm;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod library;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod onednn;

use std::fmt;

#[cfg(not(feature = "peers"))]
pub use tilewise_kernels::Float as Element;
use tilewise_kernels::{MatMut, MatRef};

/// The environment variable that lists directories of native libraries, separated by colons.
pub const PEERS_VARIABLE: &str = "TILEWISE_PEERS";

/// Element types whose matrices the peers multiply.
#[cfg(feature = "peers")]
pub trait Element: blas::CblasElement + gemm::MatrixMultiply + onednn::OneDnnElement {}

#[cfg(feature = "peers")]
impl<T: blas::CblasElement + gemm::MatrixMultiply + onednn::OneDnnElement> Element for T {}

/// A crate, which may be built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RustCrate {
    /// The `gemm` crate.
    Gemm,
    /// The `matrixmultiply` crate.
    MatrixMultiply,
}

/// A native library, which may be there when the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// Intel's Math Kernel Library.
    Mkl,
    /// OpenBLAS, plain or as packaged for `SciPy`.
    OpenBlas,
    /// BLIS.
    Blis,
    /// oneDNN.
    OneDnn,
}

/// Any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A crate.
    Crate(RustCrate),
    /// A native library.
    Native(Native),
}

impl RustCrate {
    /// All that are known.
    pub const ALL: [Self; 2] = [Self::Gemm, Self::MatrixMultiply];

    /// As in benchmark ids, which is the name of the package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::MatrixMultiply => "matrixmultiply",
        }
    }

    /// Whether it was built in and can run a case, `<op>/<dtype>/<shape>`, on exactly so many threads.
    pub fn can(self, case: &str, threads: usize) -> bool {
        // matrixmultiply reads its thread count from the environment, once.
        let able = threads == 1 || self != Self::MatrixMultiply;
        able && ["f32", "f64"].iter().any(|dtype| is(case, "gemm", dtype)) && self.version().is_ok()
    }

    /// The version that this was built with.
    ///
    /// # Errors
    /// If it was not.
    pub fn version(self) -> Result<&'static str, String> {
        if !cfg!(feature = "peers") {
            return Err("not built in: needs the feature peers".into());
        }
        let lock = include_str!("../../../Cargo.lock");
        let package = format!("name = \"{}\"\nversion = \"", self.name());
        let rest = lock.split_once(&package).map(|found| found.1);
        Ok(rest.and_then(|rest| rest.split('"').next()).unwrap_or("unknown version"))
    }
}

impl Native {
    /// All that are known.
    pub const ALL: [Self; 4] = [Self::Mkl, Self::OpenBlas, Self::Blis, Self::OneDnn];

    /// As in benchmark ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkl => "mkl",
            Self::OpenBlas => "openblas",
            Self::Blis => "blis",
            Self::OneDnn => "onednn",
        }
    }

    /// Whether it can run a case, `<op>/<dtype>/<shape>`, if it is here.
    pub fn knows(self, case: &str) -> bool {
        is(case, "gemm", "f32") || (self != Self::OneDnn && is(case, "gemm", "f64"))
    }

    /// Whether it is here and can run a case on that many threads.
    pub fn can(self, case: &str, threads: usize) -> bool {
        self.knows(case) && self.version(threads).is_ok()
    }

    /// The library's own words about its version, or why it cannot be used on that many threads.
    /// The first question opens the library, and `threads` decides for the whole process whether
    /// MKL gets a thread pool.
    ///
    /// # Errors
    /// If the library is absent, lacks a function, or cannot run on that many threads.
    pub fn version(self, threads: usize) -> Result<&'static str, String> {
        match self {
            #[cfg(feature = "peers")]
            Self::Mkl | Self::OpenBlas | Self::Blis => blas::version(self, threads),
            #[cfg(feature = "peers")]
            Self::OneDnn => onednn::version(),
            #[cfg(not(feature = "peers"))]
            _ => Err("not built in: needs the feature peers".into()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crate(rust) => rust.name(),
            Self::Native(native) => native.name(),
        })
    }
}

fn is(case: &str, op: &str, dtype: &str) -> bool {
    let rest = case.strip_prefix(op).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.strip_prefix(dtype)).is_some_and(|rest| rest.starts_with('/'))
}

/// `C = A B`.
///
/// # Panics
/// If the shapes do not fit, if the peer cannot multiply that type, or if it is not there.
pub fn multiply<T: Element>(who: Peer, a: MatRef<T>, b: MatRef<T>, c: MatMut<T>, threads: usize) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Crate(RustCrate::Gemm) => gemm::gemm_crate(a, b, c, threads),
        #[cfg(feature = "peers")]
        Peer::Crate(RustCrate::MatrixMultiply) => T::matrixmultiply(a, b, c),
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => T::onednn(a, b, c, threads),
        #[cfg(feature = "peers")]
        Peer::Native(which) => blas::multiply(which, a, b, c, threads),
        #[cfg(not(feature = "peers"))]
        _ => panic!("{who}: not built in"),
    }
}

/// What every product takes for granted.
#[cfg(feature = "peers")]
fn check_shapes<T>(a: &MatRef<T>, b: &MatRef<T>, c: &MatMut<T>) {
    assert!(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
}
