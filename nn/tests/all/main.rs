//! Everything that is tested through the crate's public face. One program, because each would
//! compile all the kernels that it uses anew.

mod arrays;
mod batch_norm;
mod callbacks;
mod checkpoints;
mod common;
mod curves;
mod data;
mod images;
mod init;
mod layers;
mod losses;
mod metrics;
mod pipeline;
mod schedules;
mod steps;
mod tables;
mod training;
mod weights;
