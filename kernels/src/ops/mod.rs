//! The operations: one file per family, forward and backward adjacent, each with its twin of the
//! same name in [`naive`](crate::naive).

mod activation;
mod elementwise;

pub use activation::{Activate, ActivateBackward, Activation, activate, activate_backward};
