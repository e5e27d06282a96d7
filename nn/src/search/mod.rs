//! The search for hyperparameters: one model watched closely (panda), many at once (caviar), and what
//! lies between.
//!
//! ```
//! use tilewise_nn::search::{Asha, Caviar, CoarseToFine, Study};
//!
//! let study = Study::minimize("parabola")
//!     .seed(7)
//!     .sampler(CoarseToFine::new(3, 20)?)
//!     .pruner(Asha::new(1, 3)?)
//!     .open()?;
//! Caviar::new(60).workers(2).run(&study, |trial| {
//!     let alpha = trial.log("alpha", 1e-4, 1.0)?;
//!     let loss = (alpha.log10() + 2.3).powi(2);
//!     for epoch in 1..=9 {
//!         trial.report(epoch, loss + 1.0 / epoch as f64)?;
//!     }
//!     Ok(loss)
//! })?;
//! let best = study.best()?.expect("at least one trial is complete");
//! assert!(best.value < Some(0.01));
//! # Ok::<(), tilewise_nn::Error>(())
//! ```
//!
//! Draws are keyed by study seed, trial number and parameter name. With random search, grids, Sobol's
//! sequence, coarse to fine and batches of TPE, a study has the same trials for any number of workers.

mod builder;
mod caviar;
mod distribution;
mod history;
mod importance;
mod origin;
mod panda;
mod population;
mod pruner;
mod record;
mod report;
mod sampler;
mod space;
mod storage;
mod study;
mod trial;
mod value;

pub use builder::StudyBuilder;
pub use caviar::Caviar;
pub use distribution::{Choice, Distribution, Param, Value};
pub use history::History;
pub use importance::Importance;
pub(crate) use origin::fingerprint_of;
pub use origin::{Origin, Retest, Stale, fingerprint};
pub use panda::{Change, Nudge, Nudged, Panda};
pub use population::{Lineage, Member, Population, Turn};
pub use pruner::{Asha, Hyperband, Median, Pruner};
pub use record::{Direction, State, TrialRecord};
pub use sampler::{Ask, CoarseToFine, Grid, RandomSearch, Sampler, Sobol, Tpe};
pub use space::{Dimension, Space, Tier, ewa_window};
pub use study::Study;
pub use trial::Trial;

/// The examples of the guide, compiled and run with the other documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/search.md")]
struct Guide;
