//! Fast, safe numeric kernels for training and running neural networks on a CPU.

#[allow(unsafe_code)]
mod buffer;
mod dispatch;
mod error;
mod exec;
mod gemm;
pub mod naive;
mod ops;
#[allow(unsafe_code)]
mod parallel;
#[allow(unsafe_code)]
pub mod simd;
mod view;

pub use dispatch::{ISA_NAMES, Isa, MAX_ISA_VARIABLE, available};
pub use error::{Error, ErrorKind, Result};
pub use exec::Exec;
pub use gemm::{Blocking, Gemm, GemmPlan, PackedB, gemm};
pub use ops::*;
pub use parallel::{Par, Split};
pub use simd::Float;
pub use view::{MatMut, MatRef};
