//! Optimiser steps: one pass over memory each, read and written once per element.
//!
//! A step is a plain value that holds the hyperparameters in `f64`, whatever the type of the
//! parameters, so that `1 - beta` is not taken from a rounded `beta`. State (velocity, moments)
//! belongs to the caller: zeros before the first step, as long as the parameters.
//!
//! With `g` the gradient and `w` the parameters; an L2 penalty `weight_decay` adds
//! `weight_decay * w` to `g` first:
//!
//! | step | state | update |
//! |---|---|---|
//! | [`SgdStep`] | | `w -= lr g` |
//! | [`MomentumStep`], classical | `v = beta v + g` | `w -= lr v` |
//! | [`MomentumStep`], average | `v = beta v + (1 - beta) g` | `w -= lr v` |
//! | [`MomentumStep`], Nesterov | `v = beta v + g` | `w -= lr (g + beta v)` |
//! | [`RmsPropStep`] | `s = beta s + (1 - beta) g^2` | `w -= lr g / (sqrt(s) + epsilon)` |
//! | [`AdagradStep`] | `s = s + g^2` | `w -= lr g / (sqrt(s) + epsilon)` |
//! | [`AdamStep`] | `m`, `v`: averages of `g` and `g^2` | `w -= lr m' / (sqrt(v') + epsilon)` |
//!
//! [`StepOptions`] undo the scale of a loss and clip gradients on their way in; [`global_norm`] and
//! [`clip_factor`] give the factor that clips by the norm of all gradients together. A [`State`] of
//! `bf16` beside `f32` parameters halves the memory of the state.
//!
//! `run` takes one tensor, `run_many` all of a model's ([`StepTensor`]): one entry and one division of
//! the work among threads for all of them, with the bits of one after the other, but where state is
//! rounded at random: a tensor's place among them is a part of its key.
//!
//! # What is not finite
//! Elements are independent: a NaN in a gradient makes its parameter and its state NaN and no other's.
//! An infinite gradient makes the state infinite and the parameter infinite or NaN; with a limit it
//! counts as the limit. Whoever wants to leave out a step with such gradients, as scaled losses need,
//! asks [`global_norm`] first: it is finite only if all gradients are.
//!
//! # Traffic
//! Parameters and state are read and written, gradients read, each once, which is the minimum; a line
//! that is written has been read before, so that no further traffic hides behind the stores. Bytes per
//! parameter:
//!
//! | step | `f32` | `f32`, state in `bf16` | `f64` |
//! |---|---|---|---|
//! | [`SgdStep`] | 12 | | 24 |
//! | [`MomentumStep`], [`RmsPropStep`], [`AdagradStep`] | 20 | 16 | 40 |
//! | [`AdamStep`] | 28 | 20 | 56 |
//! | [`global_norm`] | 4 | | 8 |

mod adam;
mod adaptive;
mod descent;
mod many;
mod norm;
mod options;
mod state;
mod update;

pub use adam::{AdamStep, Moments};
pub use adaptive::{AdagradStep, EpsilonPlacement, RmsPropStep};
pub use descent::{MomentumForm, MomentumStep, SgdStep};
pub use many::StepTensor;
pub use norm::{GlobalNorm, clip_factor, global_norm};
pub use options::{StateRounding, StepOptions};
pub use state::State;

use std::fmt::Display;

use crate::error::{Error, Result, check_len};
use crate::simd::{Float, Simd};

/// What one step does to one vector of parameters that has `N` vectors of state.
trait Rule<T: Float, const N: usize>: Copy + Send + Sync {
    /// The new parameters; `state` is updated in place. Mark it `#[inline(always)]`.
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; N]) -> S::V;
}

/// Checks that gradients and state are as long as the parameters.
fn check_lengths<T, M, const N: usize>(
    what: &str,
    names: [&str; N],
    tensor: &StepTensor<'_, T, N, M>,
) -> Result<()> {
    let StepTensor { params, grads, state } = tensor;
    // Names are put together where there is an error only: steady use allocates nothing.
    let check = |name: &str, got: usize| match got == params.len() {
        true => Ok(()),
        false => check_len(&format!("{what} {name}"), params.len(), got),
    };
    check("gradients", grads.len())?;
    names.iter().zip(state).try_for_each(|(name, state)| check(name, state.len()))
}

/// Checks a learning rate or a weight decay.
fn check_rate(what: &str, rate: f64) -> Result<()> {
    check(rate.is_finite() && rate >= 0.0, what, "a finite value of at least 0", rate)
}

/// Checks the decay of a moving average.
fn check_beta(what: &str, beta: f64) -> Result<()> {
    check((0.0..1.0).contains(&beta), what, "a value in [0, 1)", beta)
}

/// Checks the term that keeps a quotient finite; it must not vanish in the parameters' type.
fn check_epsilon<T: Float>(what: &str, epsilon: f64) -> Result<()> {
    let rounded = T::from_f64(epsilon);
    let expected = format_args!("a finite value above 0 in {}", T::NAME);
    check(rounded.is_finite() && rounded > T::ZERO, what, expected, epsilon)
}

fn check(holds: bool, what: impl Display, expected: impl Display, got: f64) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::value(what.to_string(), expected, got))
}
