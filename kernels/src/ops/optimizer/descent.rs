//! Gradient descent, plain and with momentum.

use super::many::{StepTensor, apply};
use super::{Rule, State, StepOptions, check_beta, check_rate};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::{Float, Simd};

/// Plain gradient descent: `w -= lr (g + weight_decay w)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Learning rate, finite and at least 0.
    pub lr: f64,
    /// L2 penalty, finite and at least 0.
    pub weight_decay: f64,
    /// Of gradients.
    pub options: StepOptions,
}

impl Default for SgdStep {
    /// Learning rate 0.01, no weight decay.
    fn default() -> Self {
        Self { lr: 0.01, weight_decay: 0.0, options: StepOptions::default() }
    }
}

impl SgdStep {
    /// Updates `params` in place. Traffic: two reads and one write per parameter.
    ///
    /// # Errors
    /// If the lengths differ or a hyperparameter is outside its domain; nothing is written then.
    pub fn run<T: Float>(&self, params: &mut [T], grads: &[T], exec: Exec) -> Result<()> {
        self.run_many(&mut [StepTensor { params, grads, state: [] }], exec)
    }

    /// Updates many tensors, as [`run`](Self::run) does each of them.
    ///
    /// # Errors
    /// As [`run`](Self::run), naming the tensor; nothing is written then.
    pub fn run_many<T: Float>(
        &self,
        tensors: &mut [StepTensor<'_, T, 0>],
        exec: Exec,
    ) -> Result<()> {
        (T::compiled().sgd)(self, tensors, exec)
    }

    pub(crate) fn execute<T: Float>(
        &self,
        tensors: &mut [StepTensor<'_, T, 0>],
        exec: Exec,
    ) -> Result<()> {
        check_rate("sgd learning rate", self.lr)?;
        check_rate("sgd weight decay", self.weight_decay)?;
        let rule = Sgd { lr: T::from_f64(self.lr), decay: T::from_f64(self.weight_decay) };
        apply((rule, self.options.prepare("sgd")?), "sgd", [], tensors, exec)
    }
}

#[derive(Clone, Copy)]
struct Sgd<T> {
    lr: T,
    decay: T,
}

impl<T: Float> Rule<T, 0> for Sgd<T> {
    #[inline(always)]
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, _: &mut [S::V; 0]) -> S::V {
        let g = simd.mul_add(simd.splat(self.decay), w, g);
        simd.neg_mul_add(simd.splat(self.lr), g, w)
    }
}

/// How a velocity is made from gradients, and a step from the velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MomentumForm {
    /// `v = beta v + g`, `w -= lr v` (Polyak's heavy ball).
    #[default]
    Classical,
    /// `v = beta v + (1 - beta) g`, `w -= lr v`: an exponentially weighted average, which needs a
    /// learning rate `1 / (1 - beta)` times as large as the classical form.
    Ewa,
    /// `v = beta v + g`, `w -= lr (g + beta v)`: looks one step ahead (Sutskever et al. 2013).
    Nesterov,
}

/// Gradient descent with momentum; see [`MomentumForm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MomentumStep {
    /// Learning rate, finite and at least 0.
    pub lr: f64,
    /// Decay of the velocity, in [0, 1).
    pub beta: f64,
    /// The form of the update.
    pub form: MomentumForm,
    /// L2 penalty, finite and at least 0.
    pub weight_decay: f64,
    /// Of gradients and the velocity.
    pub options: StepOptions,
}

impl Default for MomentumStep {
    /// Learning rate 0.01, beta 0.9, classical, no weight decay.
    fn default() -> Self {
        let (form, options) = (MomentumForm::Classical, StepOptions::default());
        Self { lr: 0.01, beta: 0.9, form, weight_decay: 0.0, options }
    }
}

impl MomentumStep {
    /// Updates `params` and `velocity` in place. Traffic: three reads and two writes per parameter.
    ///
    /// # Errors
    /// If the lengths differ or a hyperparameter is outside its domain; nothing is written then.
    pub fn run<T: Float, M: State<T>>(
        &self,
        params: &mut [T],
        grads: &[T],
        velocity: &mut [M],
        exec: Exec,
    ) -> Result<()> {
        self.run_many(&mut [StepTensor { params, grads, state: [velocity] }], exec)
    }

    /// Updates many tensors with their velocities, as [`run`](Self::run) does each of them.
    ///
    /// # Errors
    /// As [`run`](Self::run), naming the tensor; nothing is written then.
    pub fn run_many<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        (M::steps().momentum)(self, tensors, exec)
    }

    pub(super) fn execute<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        let (rule, options) = (self.rule()?, self.options.prepare("momentum")?);
        let (what, names) = ("momentum", ["velocity"]);
        match self.form {
            MomentumForm::Nesterov => apply((Lookahead(rule), options), what, names, tensors, exec),
            _ => apply((rule, options), what, names, tensors, exec),
        }
    }

    /// The rule, if the hyperparameters are in their domains.
    fn rule<T: Float>(&self) -> Result<Velocity<T>> {
        check_rate("momentum learning rate", self.lr)?;
        check_beta("momentum beta", self.beta)?;
        check_rate("momentum weight decay", self.weight_decay)?;
        let fresh = match self.form {
            MomentumForm::Ewa => 1.0 - self.beta,
            MomentumForm::Classical | MomentumForm::Nesterov => 1.0,
        };
        Ok(Velocity {
            lr: T::from_f64(self.lr),
            beta: T::from_f64(self.beta),
            fresh: T::from_f64(fresh),
            decay: T::from_f64(self.weight_decay),
        })
    }
}

#[derive(Clone, Copy)]
struct Velocity<T> {
    lr: T,
    beta: T,
    /// Weight of the new gradient.
    fresh: T,
    decay: T,
}

impl<T: Float> Velocity<T> {
    /// The penalised gradient and the new velocity.
    #[inline(always)]
    fn advance<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, v: S::V) -> (S::V, S::V) {
        let g = simd.mul_add(simd.splat(self.decay), w, g);
        let fresh = simd.mul(simd.splat(self.fresh), g);
        (g, simd.mul_add(simd.splat(self.beta), v, fresh))
    }
}

impl<T: Float> Rule<T, 1> for Velocity<T> {
    #[inline(always)]
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; 1]) -> S::V {
        let (_, v) = self.advance(simd, w, g, state[0]);
        state[0] = v;
        simd.neg_mul_add(simd.splat(self.lr), v, w)
    }
}

/// Nesterov's form.
#[derive(Clone, Copy)]
struct Lookahead<T>(Velocity<T>);

impl<T: Float> Rule<T, 1> for Lookahead<T> {
    #[inline(always)]
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; 1]) -> S::V {
        let (g, v) = self.0.advance(simd, w, g, state[0]);
        state[0] = v;
        let ahead = simd.mul_add(simd.splat(self.0.beta), v, g);
        simd.neg_mul_add(simd.splat(self.0.lr), ahead, w)
    }
}
