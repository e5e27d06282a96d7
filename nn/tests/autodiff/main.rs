//! Automatic differentiation, through the crate's public face.

mod common;
mod errors;
mod gradients;
mod layers;
mod networks;
mod numbers;
mod own_op;
mod plans;
mod shapes;
mod tapes;
