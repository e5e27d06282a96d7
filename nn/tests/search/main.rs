//! Tests of `tilewise_nn::search`; names begin with the line of the specification that they prove.

mod common;
mod crash;
mod journal;
mod launch;
mod panda;
mod population;
mod runner;
mod samplers;
mod schedulers;
#[cfg(feature = "grpc")]
mod service;
mod space;
mod understanding;
