//! Everything that is tested through the crate's public face. One program, because each would
//! compile all the kernels that it uses anew.

mod batch_norm;
mod callbacks;
mod checkpoints;
mod common;
mod data;
mod init;
mod losses;
mod metrics;
mod schedules;
mod training;
mod weights;
