//! What is measured and how: shared by the criterion suite (`cargo bench`) and by `compare`, which
//! interleaves all implementations in one process.
//!
//! A [`Case`] is one operation on one shape. It prepares a [`Workload`], which owns the buffers and
//! runs any [`Implementation`] on them, so that all of them see the same memory. Nothing is timed
//! before its result has been compared with the naive twin's.

mod case;
pub mod cases;
pub mod ceilings;
pub mod contest;
mod data;
mod harness;
pub mod machine;
pub mod measure;
pub mod noise;
pub mod peers;
pub mod record;
pub mod report;
pub mod worker;

pub use case::{Case, Implementation, Who, Work, Workload};
pub use harness::bench;
pub use peers::{Native, PEERS_VARIABLE, RustCrate};
