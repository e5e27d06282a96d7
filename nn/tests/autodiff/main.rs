//! Automatic differentiation, through the crate's public face.

mod common;
mod errors;
mod gradients;
mod layers;
mod numbers;
mod own_op;
mod shapes;
mod tapes;
