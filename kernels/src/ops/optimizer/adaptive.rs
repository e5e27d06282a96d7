//! Steps scaled by an average, or a sum, of squared gradients.

use super::many::{StepTensor, apply};
use super::{Rule, State, StepOptions, check_beta, check_epsilon, check_rate};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::{Float, Simd};

/// Where the term that keeps the quotient finite is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpsilonPlacement {
    /// `g / (sqrt(s) + epsilon)`
    #[default]
    Outside,
    /// `g / sqrt(s + epsilon)`
    Inside,
}

impl EpsilonPlacement {
    /// What is added inside the root and what outside: adding both, one of them zero, costs less than
    /// a branch.
    fn terms<T: Float>(self, epsilon: f64) -> [T; 2] {
        let epsilon = T::from_f64(epsilon);
        match self {
            Self::Inside => [epsilon, T::ZERO],
            Self::Outside => [T::ZERO, epsilon],
        }
    }
}

/// RMSprop: `s = beta s + (1 - beta) g^2`, `w -= lr g / (sqrt(s) + epsilon)` (Hinton, lecture 6e).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsPropStep {
    /// Learning rate, finite and at least 0.
    pub lr: f64,
    /// Decay of the average of squares, in [0, 1).
    pub beta: f64,
    /// Keeps the quotient finite; finite and above 0 in the parameters' type.
    pub epsilon: f64,
    /// Whether epsilon stands outside or inside the root.
    pub placement: EpsilonPlacement,
    /// L2 penalty, finite and at least 0.
    pub weight_decay: f64,
    /// Of gradients and the average.
    pub options: StepOptions,
}

impl Default for RmsPropStep {
    /// Learning rate 0.001, beta 0.9, epsilon 1e-8 outside the root, no weight decay.
    fn default() -> Self {
        let (placement, options) = (EpsilonPlacement::Outside, StepOptions::default());
        Self { lr: 1e-3, beta: 0.9, epsilon: 1e-8, placement, weight_decay: 0.0, options }
    }
}

impl RmsPropStep {
    /// Updates `params` and the average of squares `square` in place. Traffic: three reads and two
    /// writes per parameter.
    ///
    /// # Errors
    /// If the lengths differ or a hyperparameter is outside its domain; nothing is written then.
    pub fn run<T: Float, M: State<T>>(
        &self,
        params: &mut [T],
        grads: &[T],
        square: &mut [M],
        exec: Exec,
    ) -> Result<()> {
        self.run_many(&mut [StepTensor { params, grads, state: [square] }], exec)
    }

    /// Updates many tensors with their averages of squares, as [`run`](Self::run) does each of them.
    ///
    /// # Errors
    /// As [`run`](Self::run), naming the tensor; nothing is written then.
    pub fn run_many<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        (M::steps().rmsprop)(self, tensors, exec)
    }

    pub(super) fn execute<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        check_rate("rmsprop learning rate", self.lr)?;
        check_beta("rmsprop beta", self.beta)?;
        check_epsilon::<T>("rmsprop epsilon", self.epsilon)?;
        check_rate("rmsprop weight decay", self.weight_decay)?;
        let [inside, outside] = self.placement.terms(self.epsilon);
        let rule = Scaled {
            lr: T::from_f64(self.lr),
            keep: T::from_f64(self.beta),
            fresh: T::from_f64(1.0 - self.beta),
            inside,
            outside,
            decay: T::from_f64(self.weight_decay),
        };
        let options = self.options.prepare("rmsprop")?;
        apply((rule, options), "rmsprop", ["average of squares"], tensors, exec)
    }
}

/// Adagrad: `s = s + g^2`, `w -= lr g / (sqrt(s) + epsilon)` (Duchi, Hazan and Singer 2011, the
/// diagonal form). The sum may start above 0, which tames the first steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdagradStep {
    /// Learning rate, finite and at least 0.
    pub lr: f64,
    /// Keeps the quotient finite; finite and above 0 in the parameters' type.
    pub epsilon: f64,
    /// Whether epsilon stands outside or inside the root.
    pub placement: EpsilonPlacement,
    /// L2 penalty, finite and at least 0.
    pub weight_decay: f64,
    /// Of gradients and the sum.
    pub options: StepOptions,
}

impl Default for AdagradStep {
    /// Learning rate 0.01, epsilon 1e-10 outside the root, no weight decay.
    fn default() -> Self {
        let (placement, options) = (EpsilonPlacement::Outside, StepOptions::default());
        Self { lr: 0.01, epsilon: 1e-10, placement, weight_decay: 0.0, options }
    }
}

impl AdagradStep {
    /// Updates `params` and the sum of squares `square` in place. Traffic: three reads and two writes
    /// per parameter.
    ///
    /// # Errors
    /// If the lengths differ or a hyperparameter is outside its domain; nothing is written then.
    pub fn run<T: Float, M: State<T>>(
        &self,
        params: &mut [T],
        grads: &[T],
        square: &mut [M],
        exec: Exec,
    ) -> Result<()> {
        self.run_many(&mut [StepTensor { params, grads, state: [square] }], exec)
    }

    /// Updates many tensors with their sums of squares, as [`run`](Self::run) does each of them.
    ///
    /// # Errors
    /// As [`run`](Self::run), naming the tensor; nothing is written then.
    pub fn run_many<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        (M::steps().adagrad)(self, tensors, exec)
    }

    pub(super) fn execute<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 1, M>],
        exec: Exec,
    ) -> Result<()> {
        check_rate("adagrad learning rate", self.lr)?;
        check_epsilon::<T>("adagrad epsilon", self.epsilon)?;
        check_rate("adagrad weight decay", self.weight_decay)?;
        let [inside, outside] = self.placement.terms(self.epsilon);
        let (lr, decay) = (T::from_f64(self.lr), T::from_f64(self.weight_decay));
        let rule = Scaled { lr, keep: T::ONE, fresh: T::ONE, inside, outside, decay };
        let options = self.options.prepare("adagrad")?;
        apply((rule, options), "adagrad", ["sum of squares"], tensors, exec)
    }
}

/// `s = keep s + fresh g^2`, `w -= lr g / (sqrt(s + inside) + outside)`.
#[derive(Clone, Copy)]
struct Scaled<T> {
    lr: T,
    keep: T,
    fresh: T,
    inside: T,
    outside: T,
    decay: T,
}

impl<T: Float> Rule<T, 1> for Scaled<T> {
    #[inline(always)]
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; 1]) -> S::V {
        let g = simd.mul_add(simd.splat(self.decay), w, g);
        let fresh = simd.mul(simd.splat(self.fresh), simd.mul(g, g));
        state[0] = simd.mul_add(simd.splat(self.keep), state[0], fresh);
        let root = simd.sqrt(simd.add(state[0], simd.splat(self.inside)));
        let step = simd.div(g, simd.add(root, simd.splat(self.outside)));
        simd.neg_mul_add(simd.splat(self.lr), step, w)
    }
}
