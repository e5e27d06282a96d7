//! Adam and AdamW.

use super::many::{StepTensor, apply};
use super::{Rule, State, StepOptions, check_beta, check_epsilon, check_rate};
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::simd::{Float, Simd};

/// The state of [`AdamStep`]: averages of the gradient and of its square, zeros at first.
#[derive(Debug)]
pub struct Moments<'a, M> {
    /// The average of gradients.
    pub first: &'a mut [M],
    /// The average of squared gradients.
    pub second: &'a mut [M],
}

/// Adam with bias correction (Kingma and Ba 2015), and AdamW (Loshchilov and Hutter 2019) when the
/// weight decay is decoupled.
///
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `w -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate, finite and at least 0.
    pub lr: f64,
    /// Decay of the average of gradients, in [0, 1).
    pub beta1: f64,
    /// Decay of the average of squared gradients, in [0, 1).
    pub beta2: f64,
    /// Keeps the quotient finite; finite and above 0 in the parameters' type.
    pub epsilon: f64,
    /// Weight decay, finite and at least 0.
    pub weight_decay: f64,
    /// Whether the decay shrinks the weights by `lr * weight_decay` beside the update (AdamW)
    /// instead of being added to the gradient (L2).
    pub decoupled: bool,
    /// Of gradients and moments.
    pub options: StepOptions,
}

impl Default for AdamStep {
    /// Learning rate 0.001, betas 0.9 and 0.999, epsilon 1e-8, no weight decay.
    fn default() -> Self {
        let (beta1, beta2, options) = (0.9, 0.999, StepOptions::default());
        Self { lr: 1e-3, beta1, beta2, epsilon: 1e-8, weight_decay: 0.0, decoupled: false, options }
    }
}

impl AdamStep {
    /// Updates `params` and `moments` in place. `step` counts from 1 and drives the bias
    /// correction. Traffic: four reads and three writes per parameter.
    ///
    /// # Errors
    /// If the lengths differ, a hyperparameter is outside its domain or `step` is 0; nothing is
    /// written then.
    pub fn run<T: Float, M: State<T>>(
        &self,
        params: &mut [T],
        grads: &[T],
        moments: Moments<'_, M>,
        step: u64,
        exec: Exec,
    ) -> Result<()> {
        let state = [moments.first, moments.second];
        self.run_many(&mut [StepTensor { params, grads, state }], step, exec)
    }

    /// Updates many tensors with their first and second moments, as [`run`](Self::run) does each of
    /// them.
    ///
    /// # Errors
    /// As [`run`](Self::run), naming the tensor; nothing is written then.
    pub fn run_many<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 2, M>],
        step: u64,
        exec: Exec,
    ) -> Result<()> {
        (M::steps().adam)(self, tensors, step, exec)
    }

    pub(super) fn execute<T: Float, M: State<T>>(
        &self,
        tensors: &mut [StepTensor<'_, T, 2, M>],
        step: u64,
        exec: Exec,
    ) -> Result<()> {
        let (rule, options) = (self.rule(step)?, self.options.prepare("adam")?);
        apply((rule, options), "adam", ["first moment", "second moment"], tensors, exec)
    }

    fn check<T: Float>(&self, step: u64) -> Result<()> {
        check_rate("adam learning rate", self.lr)?;
        check_beta("adam beta1", self.beta1)?;
        check_beta("adam beta2", self.beta2)?;
        check_epsilon::<T>("adam epsilon", self.epsilon)?;
        check_rate("adam weight decay", self.weight_decay)?;
        if step == 0 {
            return Err(Error::value("adam step", "a count from 1", step));
        }
        Ok(())
    }

    /// Everything that is the same for all parameters, worked out in `f64`, if the hyperparameters
    /// are in their domains.
    fn rule<T: Float>(&self, step: u64) -> Result<Adam<T>> {
        self.check::<T>(step)?;
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let (l2, shrink) = match self.decoupled {
            false => (self.weight_decay, 0.0),
            true => (0.0, self.lr * self.weight_decay),
        };
        Ok(Adam {
            rate: T::from_f64(self.lr / correction(self.beta1)),
            unbias: T::from_f64(1.0 / correction(self.beta2).sqrt()),
            beta1: T::from_f64(self.beta1),
            fresh1: T::from_f64(1.0 - self.beta1),
            beta2: T::from_f64(self.beta2),
            fresh2: T::from_f64(1.0 - self.beta2),
            epsilon: T::from_f64(self.epsilon),
            l2: T::from_f64(l2),
            shrink: T::from_f64(shrink),
        })
    }
}

#[derive(Clone, Copy)]
struct Adam<T> {
    /// Learning rate over the first moment's correction.
    rate: T,
    /// One over the root of the second moment's correction.
    unbias: T,
    beta1: T,
    fresh1: T,
    beta2: T,
    fresh2: T,
    epsilon: T,
    l2: T,
    shrink: T,
}

impl<T: Float> Rule<T, 2> for Adam<T> {
    #[inline(always)]
    fn update<S: Simd<T>>(self, simd: S, w: S::V, g: S::V, state: &mut [S::V; 2]) -> S::V {
        let g = simd.mul_add(simd.splat(self.l2), w, g);
        let w = simd.neg_mul_add(simd.splat(self.shrink), w, w);
        let first = simd.mul(simd.splat(self.fresh1), g);
        let second = simd.mul(simd.splat(self.fresh2), simd.mul(g, g));
        state[0] = simd.mul_add(simd.splat(self.beta1), state[0], first);
        state[1] = simd.mul_add(simd.splat(self.beta2), state[1], second);
        let root = simd.mul(simd.sqrt(state[1]), simd.splat(self.unbias));
        let step = simd.div(state[0], simd.add(root, simd.splat(self.epsilon)));
        simd.neg_mul_add(simd.splat(self.rate), step, w)
    }
}
