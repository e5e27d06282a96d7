//! Automatic differentiation: write the forward pass in ordinary Rust, get the gradients.
//!
//! A [`Tape`] runs operations as they are written down and remembers them; [`Var::gradients`] walks back
//! over it. [`Variables`] hold what steps change. Nothing is global: tapes and variables belong to whoever
//! made them.
//!
//! ```
//! use tilewise_nn::autodiff::{Tape, Tensor, Variables};
//! use tilewise_nn::optim::Adam;
//!
//! let x = Tensor::new(vec![0.0_f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
//! let mut variables = Variables::new();
//! let w = variables.add(Tensor::new(vec![0.1, -0.2, 0.3, 0.4], &[2, 2])?);
//! let b = variables.add(Tensor::zeros(&[2])?);
//! let mut losses = Vec::new();
//! for _ in 0..50 {
//!     let tape = Tape::new();
//!     let (w, b) = (tape.watch(&variables, w), tape.watch(&variables, b));
//!     let logits = tape.input("x", x.clone()).matmul(w) + b;
//!     let loss = logits.softmax_cross_entropy(tape.labels("y", &[0, 0, 1, 1]));
//!     losses.push(loss.item()?);
//!     variables.step(&Adam::default().learning_rate(0.1), &loss.gradients()?)?;
//! }
//! assert!(losses[49] < 0.1 * losses[0]);
//! # Ok::<(), tilewise_nn::Error>(())
//! ```
//!
//! An operation of one's own is an [`Op`]: forward and backward. [`check_gradients`] compares gradients
//! with differences, [`check_layer`] does so for a [`Layer`](crate::layers::Layer).

mod broadcast;
mod check;
mod elementwise;
mod op;
mod ops;
mod plan;
mod shape;
mod tape;
mod tensor;
mod var;
mod variables;

pub use check::{check_gradients, check_layer};
pub use op::{InputGradients, MAX_INPUTS, Op, Saved, Uses, View};
pub use ops::{BatchNorm, CrossEntropy};
pub use plan::{Explanation, Feed, Plan, PlanStep};
pub use shape::{MAX_RANK, Shape};
pub use tape::{Gradients, Tape};
pub use tensor::Tensor;
pub use var::{Var, add, div, mul, neg, sub};
pub use variables::{Variable, Variables};
