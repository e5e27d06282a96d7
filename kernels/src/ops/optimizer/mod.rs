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
//! | [`AdamStep`] | `m`, `v`: averages of `g` and `g^2` | `w -= lr m' / (sqrt(v') + epsilon)` |

//! `run` takes one tensor, `run_many` all of a model's ([`StepTensor`]): one entry and one division of
//! the work among threads for all of them, with the bits of one after the other.
//!
//! # Traffic
//! Parameters and state are read and written, gradients read, each once, which is the minimum; a line
//! that is written has been read before, so that no further traffic hides behind the stores. Bytes per
//! parameter:
//!
//! | step | `f32` | `f64` |
//! |---|---|---|
//! | [`SgdStep`] | 12 | 24 |
//! | [`MomentumStep`], [`RmsPropStep`] | 20 | 40 |
//! | [`AdamStep`] | 28 | 56 |

mod adaptive;
mod descent;
mod many;

pub use adaptive::{AdamStep, EpsilonPlacement, Moments, RmsPropStep};
pub use descent::{MomentumForm, MomentumStep, SgdStep};
pub use many::StepTensor;

use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Parameters below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 14;

/// What one step does to one vector of parameters that has `N` vectors of state.
trait Rule<T: Float, const N: usize>: Copy + Send + Sync {
    /// The new parameters; `state` is updated in place. Mark it `#[inline(always)]`.
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; N]) -> S::V;
}

/// Applies `rule` to all parameters; the slices have equal lengths.
fn apply<T: Float, R: Rule<T, N>, const N: usize>(
    rule: R,
    params: &mut [T],
    grads: &[T],
    state: [&mut [T]; N],
    exec: Exec,
) -> Result<()> {
    let isa = exec.path()?;
    let work = Update { rule, params, grads, state };
    exec.threads().divide(work, GRAIN, &|piece| isa.run(piece));
    Ok(())
}

struct Update<'a, T, R, const N: usize> {
    rule: R,
    params: &'a mut [T],
    grads: &'a [T],
    state: [&'a mut [T]; N],
}

impl<T: Float, R: Rule<T, N>, const N: usize> Split for Update<'_, T, R, N> {
    fn units(&self) -> usize {
        self.params.len()
    }

    fn split(mut self, mid: usize) -> (Self, Self) {
        let (params, params_rest) = self.params.split_at_mut(mid);
        let (grads, grads_rest) = self.grads.split_at(mid);
        let state_rest = self.state.each_mut().map(|state| {
            let (head, rest) = std::mem::take(state).split_at_mut(mid);
            *state = head;
            rest
        });
        let rest =
            Self { rule: self.rule, params: params_rest, grads: grads_rest, state: state_rest };
        (Self { params, grads, ..self }, rest)
    }
}

impl<T: Float, R: Rule<T, N>, const N: usize> Kernel<T> for Update<'_, T, R, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let mut at = 0;
        let mut params = self.params.chunks_exact_mut(S::LANES);
        let mut grads = self.grads.chunks_exact(S::LANES);
        for (w, g) in params.by_ref().zip(grads.by_ref()) {
            let mut state = [simd.zero(); N];
            for (v, state) in state.iter_mut().zip(&self.state) {
                *v = simd.load(&state[at..]);
            }
            let new = self.rule.update(simd, simd.load(w), simd.load(g), &mut state);
            simd.store(new, w);
            for (state, new) in self.state.iter_mut().zip(state) {
                simd.store(new, &mut state[at..]);
            }
            at += S::LANES;
        }
        let w = params.into_remainder();
        let g = simd.load_partial(grads.remainder());
        let mut state = [simd.zero(); N];
        for (v, state) in state.iter_mut().zip(&self.state) {
            *v = simd.load_partial(&state[at..]);
        }
        let new = self.rule.update(simd, simd.load_partial(w), g, &mut state);
        simd.store_partial(new, w);
        for (state, new) in self.state.iter_mut().zip(state) {
            simd.store_partial(new, &mut state[at..]);
        }
    }
}

/// Checks that gradients and state are as long as the parameters.
fn check_lengths<T>(what: &str, params: &[T], grads: &[T], state: &[(&str, &[T])]) -> Result<()> {
    let fits = |other: &[T]| other.len() == params.len();
    if fits(grads) && state.iter().all(|(_, state)| fits(state)) {
        return Ok(());
    }
    check_len(&format!("{what} gradients"), params.len(), grads.len())?;
    state.iter().try_for_each(|(name, state)| {
        check_len(&format!("{what} {name}"), params.len(), state.len())
    })
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
    let expected = format!("a finite value above 0 in {}", T::NAME);
    check(rounded.is_finite() && rounded > T::ZERO, what, expected, epsilon)
}

fn check(holds: bool, what: &str, expected: impl std::fmt::Display, got: f64) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::value(what, expected, got))
}
