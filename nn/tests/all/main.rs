//! Everything that is tested through the crate's public face. One program, because each would
//! compile all the kernels that it uses anew.

mod arrays;
mod batch_norm;
mod board;
mod boundaries;
mod callbacks;
mod checkpoints;
mod common;
mod curves;
mod data;
mod folders;
mod images;
mod init;
mod layers;
mod losses;
mod metrics;
mod others;
mod pipeline;
mod precision;
mod regression;
mod schedules;
mod steps;
mod streams;
mod tables;
mod training;
mod weights;
