//! Other people's code: who there is, what they can do, and safe functions that let them do it.
//!
//! Rust crates are built in behind the feature `peers`. Native libraries are opened when the program
//! runs. Without the feature the vocabulary stays and all of them are absent, so that nobody who asks
//! needs to know the feature.

#![cfg_attr(not(feature = "peers"), allow(unused_variables, reason = "nobody can be asked"))]

#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod blas;
#[cfg(feature = "all-peers")]
mod candle;
#[cfg(feature = "all-peers")]
#[allow(unsafe_code)]
mod crates;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod gemm;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod library;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod libxsmm;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod onednn;
mod operation;
mod product;

use std::fmt;

pub use operation::{
    Batch, Gradients, Network, Owned, Statistics, batch_norm, batch_norm_backward,
    batch_norm_inference, own_batch_norm, own_cross_entropy, own_product, own_softmax,
    own_training_step, softmax, softmax_backward,
};
pub use product::{Element, HalfElement, multiply, multiply_batch, multiply_half};

/// The environment variable that lists directories of native libraries, separated by colons.
pub const PEERS_VARIABLE: &str = "TILEWISE_PEERS";

/// A crate, which may be built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RustCrate {
    /// The `gemm` crate.
    Gemm,
    /// The `matrixmultiply` crate.
    MatrixMultiply,
    /// The `faer` crate.
    Faer,
    /// The `ndarray` crate, whose products are those of `matrixmultiply`.
    NdArray,
    /// The `candle-core` and `candle-nn` crates.
    Candle,
    /// The `nano-gemm` crate, which `faer` uses for small products.
    NanoGemm,
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
    /// libxsmm, for products with a short side, by a kernel that is kept.
    LibXsmm,
    /// The same, asked for its kernel in every call, as whoever multiplies now and then would.
    LibXsmmAsked,
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
    pub const ALL: [Self; 6] =
        [Self::Gemm, Self::MatrixMultiply, Self::Faer, Self::NdArray, Self::Candle, Self::NanoGemm];

    /// As in benchmark ids, which is the name of the package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::MatrixMultiply => "matrixmultiply",
            Self::Faer => "faer",
            Self::NdArray => "ndarray",
            Self::Candle => "candle",
            Self::NanoGemm => "nano-gemm",
        }
    }

    /// Whether it was built in and can run a case, `<op>/<dtype>/<shape>`, on exactly so many threads.
    pub fn can(self, case: &str, threads: usize) -> bool {
        let able = match (self, Problem::product(case)) {
            (_, Some(product)) if !product.is_plain() => false,
            (Self::Candle, product) => {
                let known = case.starts_with("gemm/") && product.is_some() || is_candle(case);
                known && candle_threads() == Some(threads)
            }
            (_, None) => false,
            (Self::Gemm | Self::Faer, Some(_)) => true,
            // matrixmultiply reads its thread count from the environment, once.
            (Self::MatrixMultiply | Self::NdArray, Some(_)) => threads == 1,
            // It packs nothing and cuts nothing into blocks.
            (Self::NanoGemm, Some(product)) => {
                threads == 1 && product.sizes.iter().all(|&size| size <= 64)
            }
        };
        able && self.version().is_ok()
    }

    /// The version that this was built with.
    ///
    /// # Errors
    /// If it was not.
    pub fn version(self) -> Result<&'static str, String> {
        let (feature, built) = match self {
            Self::Gemm | Self::MatrixMultiply => ("peers", cfg!(feature = "peers")),
            _ => ("all-peers", cfg!(feature = "all-peers")),
        };
        if !built {
            return Err(format!("not built in: needs the feature {feature}"));
        }
        let lock = include_str!("../../../Cargo.lock");
        let package = if self == Self::Candle { "candle-core" } else { self.name() };
        let package = format!("name = \"{package}\"\nversion = \"");
        let rest = lock.split_once(&package).map(|found| found.1);
        Ok(rest.and_then(|rest| rest.split('"').next()).unwrap_or("unknown version"))
    }
}

impl Native {
    /// All that are known.
    pub const ALL: [Self; 6] =
        [Self::Mkl, Self::OpenBlas, Self::Blis, Self::LibXsmm, Self::LibXsmmAsked, Self::OneDnn];

    /// As in benchmark ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkl => "mkl",
            Self::OpenBlas => "openblas",
            Self::Blis => "blis",
            Self::LibXsmm => "libxsmm",
            Self::LibXsmmAsked => "libxsmm-asked",
            Self::OneDnn => "onednn",
        }
    }

    /// Whether it can run a case, `<op>/<dtype>/<shape>`, if it is here.
    pub fn knows(self, case: &str) -> bool {
        let Some(product) = Problem::product(case) else {
            return self == Self::OneDnn && is_onednn(case);
        };
        let half = ["bf16", "f16"].contains(&product.dtype);
        match self {
            Self::Mkl => product.is_plain() || half,
            Self::OpenBlas | Self::Blis => product.is_plain(),
            // It cuts nothing into blocks, and reads a left operand (which by columns is our right one)
            // only as it lies.
            Self::LibXsmm | Self::LibXsmmAsked => {
                product.is_plain()
                    && product.sizes.iter().any(|&size| size <= 128)
                    && !["nt", "tt"].contains(&product.layout)
            }
            // Its batches are products of another kind.
            Self::OneDnn => case.starts_with("gemm/") && (product.dtype == "f32" || half),
        }
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
            Self::LibXsmm | Self::LibXsmmAsked => libxsmm::version(threads),
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

/// How many threads candle uses, where it was built in: what the environment says.
fn candle_threads() -> Option<usize> {
    #[cfg(feature = "all-peers")]
    return Some(candle::threads());
    #[cfg(not(feature = "all-peers"))]
    None
}

/// The end of the ids of batch normalisations that add a residual, which nobody else does in one pass.
const RESIDUAL: &str = "-add-relu";

/// Whether candle can run a case that is not a matrix product.
fn is_candle(case: &str) -> bool {
    // It multiplies f32 where we split it into halves, which is as accurate. Of images, its gradient of
    // pooling by the largest value goes to all of several equal ones, as behind a ReLU: another network.
    if ["training_step/f32/", "training_step/f32-as-bf16x6/"].iter().any(|op| case.starts_with(op))
    {
        return true;
    }
    let op = case.split_once("/f32/").map(|parts| parts.0);
    let known = op
        .is_some_and(|op| ["batch_norm", "softmax", "log_softmax", "cross_entropy"].contains(&op));
    known && !case.ends_with(RESIDUAL)
}

/// Whether oneDNN can run a case that is not a matrix product.
fn is_onednn(case: &str) -> bool {
    let mut parts = case.split('/');
    let (op, dtype, shape) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let known = match op.unwrap_or_default() {
        "batch_norm" | "batch_norm_inference" => !shape.ends_with(RESIDUAL),
        // With a ReLU it needs what the forward pass has kept for it.
        "batch_norm_backward" => !shape.ends_with("-relu"),
        "softmax" | "log_softmax" | "softmax_backward" | "log_softmax_backward" => true,
        _ => false,
    };
    known && dtype == Some("f32")
}

/// What the id of a matrix product says.
struct Problem<'a> {
    dtype: &'a str,
    /// Rows, columns and depth.
    sizes: [usize; 3],
    /// Which operands are transposed, such as `tn`; empty where none is.
    layout: &'a str,
}

impl<'a> Problem<'a> {
    /// Of a `gemm/<dtype>/MxNxK[-<layout>]`, or one of the products of a
    /// `gemm_batched/<dtype>/<count>xMxNxK`; nothing of other operations.
    fn product(case: &'a str) -> Option<Self> {
        let (op, rest) = case.split_once('/')?;
        let (dtype, shape) = rest.split_once('/')?;
        let shape = match op {
            "gemm" => shape,
            "gemm_batched" => shape.split_once('x')?.1,
            _ => return None,
        };
        let (sizes, layout) = shape.split_once('-').unwrap_or((shape, ""));
        let mut sizes = sizes.split('x').map(|size| size.parse().ok());
        let sizes = [sizes.next()??, sizes.next()??, sizes.next()??];
        Some(Self { dtype, sizes, layout })
    }

    /// Whether input and output are of one type that every library knows.
    fn is_plain(&self) -> bool {
        ["f32", "f64"].contains(&self.dtype)
    }
}
