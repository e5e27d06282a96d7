//! What is measured and how: shared by the criterion suite (`cargo bench`) and by `compare`, which
//! interleaves all implementations in one process.
//!
//! A [`Case`] is one operation on one shape. It prepares a [`Workload`], which owns the buffers and
//! runs any [`Implementation`] on them, so that all of them see the same memory. Nothing is timed
//! before its result has been compared with the naive twin's.

mod case;
pub mod cases;
pub mod ceilings;
mod data;
mod harness;
pub mod machine;
pub mod measure;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod native;
pub mod noise;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod onednn;
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
mod peers;
pub mod record;
pub mod report;

pub use case::{Case, Implementation, Who, Work, Workload};
pub use harness::{configured, register};
#[cfg(feature = "peers")]
pub use native::{Native, PEERS_VARIABLE};
#[cfg(feature = "peers")]
pub use peers::RustCrate;
