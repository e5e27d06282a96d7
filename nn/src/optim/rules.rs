//! The four optimisers. Defaults are those of the papers.

use tilewise_kernels::{
    AdamStep, EpsilonPlacement, Exec, Float, Moments, MomentumForm, MomentumStep, Result,
    RmsPropStep, SgdStep,
};

use super::{Decay, Optimizer};
use crate::layers::Parameter;

macro_rules! weight_decay_settings {
    () => {
        /// Adds `rate` times each weight to its gradient. Biases, and the scales and shifts of
        /// batch normalisation, are left alone.
        #[must_use]
        pub fn weight_decay(self, rate: f64) -> Self {
            Self { decay: Decay { rate, ..self.decay }, ..self }
        }

        /// Makes weight decay apply to biases, scales and shifts too.
        #[must_use]
        pub fn decay_everything(self) -> Self {
            Self { decay: Decay { everything: true, ..self.decay }, ..self }
        }
    };
}

/// Stochastic gradient descent, plain or with momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    learning_rate: f64,
    momentum: Option<(f64, MomentumForm)>,
    decay: Decay,
}

impl Sgd {
    /// `w ← w - α·g`
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: None, decay: Decay::default() }
    }

    /// Classical momentum, `v ← β·v + g; w ← w - α·v`, with α = 0.01.
    pub fn momentum(beta: f64) -> Self {
        Self { momentum: Some((beta, MomentumForm::Classical)), ..Self::new(0.01) }
    }

    /// Momentum as an exponentially weighted average: `v ← β·v + (1 - β)·g`.
    #[must_use]
    pub fn ewa(self) -> Self {
        self.form(MomentumForm::Ewa)
    }

    /// Nesterov's momentum: `v ← β·v + g; w ← w - α·(g + β·v)`.
    #[must_use]
    pub fn nesterov(self) -> Self {
        self.form(MomentumForm::Nesterov)
    }

    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate, ..self }
    }

    weight_decay_settings!();

    /// Without momentum there is no form to choose.
    fn form(self, form: MomentumForm) -> Self {
        Self { momentum: self.momentum.map(|(beta, _)| (beta, form)), ..self }
    }
}

impl<T: Float> Optimizer<T> for Sgd {
    fn slots(&self) -> usize {
        usize::from(self.momentum.is_some())
    }

    fn update(
        &self,
        parameter: &mut Parameter<T>,
        state: &mut [Vec<T>],
        _step: u64,
        exec: Exec,
    ) -> Result<()> {
        let lr = self.learning_rate;
        let weight_decay = self.decay.of(parameter.kind);
        let Parameter { value, gradient, .. } = parameter;
        match (self.momentum, state) {
            (Some((beta, form)), [velocity]) => {
                MomentumStep { lr, beta, form, weight_decay }.run(value, gradient, velocity, exec)
            }
            _ => SgdStep { lr, weight_decay }.run(value, gradient, exec),
        }
    }
}

/// RMSprop (Tieleman and Hinton 2012): `s ← β·s + (1 - β)·g²; w ← w - α·g / (√s + ε)`, with
/// α = 0.001, β = 0.9 and ε = 1e-8 outside the root.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RmsProp {
    rule: RmsPropStep,
    decay: Decay,
}

impl RmsProp {
    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { rule: RmsPropStep { lr: learning_rate, ..self.rule }, ..self }
    }

    /// Sets how much of the old average of squares stays.
    #[must_use]
    pub fn beta(self, beta: f64) -> Self {
        Self { rule: RmsPropStep { beta, ..self.rule }, ..self }
    }

    /// Sets ε and where it is added.
    #[must_use]
    pub fn epsilon(self, epsilon: f64, placement: EpsilonPlacement) -> Self {
        Self { rule: RmsPropStep { epsilon, placement, ..self.rule }, ..self }
    }

    weight_decay_settings!();
}

impl<T: Float> Optimizer<T> for RmsProp {
    fn slots(&self) -> usize {
        1
    }

    fn update(
        &self,
        parameter: &mut Parameter<T>,
        state: &mut [Vec<T>],
        _step: u64,
        exec: Exec,
    ) -> Result<()> {
        let [square] = state else { return Ok(()) };
        let rule = RmsPropStep { weight_decay: self.decay.of(parameter.kind), ..self.rule };
        rule.run(&mut parameter.value, &parameter.gradient, square, exec)
    }
}

/// Adam (Kingma and Ba 2015): bias-corrected averages of the gradient and its square, with
/// α = 0.001, β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Adam {
    rule: AdamStep,
    decay: Decay,
}

impl Adam {
    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { rule: AdamStep { lr: learning_rate, ..self.rule }, ..self }
    }

    /// Sets how much of the old averages of the gradient and of its square stays.
    #[must_use]
    pub fn betas(self, beta1: f64, beta2: f64) -> Self {
        Self { rule: AdamStep { beta1, beta2, ..self.rule }, ..self }
    }

    /// Sets ε, which is added to the root.
    #[must_use]
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self { rule: AdamStep { epsilon, ..self.rule }, ..self }
    }

    /// Takes weight decay out of the averages: AdamW (Loshchilov and Hutter 2019).
    #[must_use]
    pub fn decoupled(self) -> Self {
        Self { rule: AdamStep { decoupled: true, ..self.rule }, ..self }
    }

    weight_decay_settings!();
}

impl<T: Float> Optimizer<T> for Adam {
    fn slots(&self) -> usize {
        2
    }

    fn update(
        &self,
        parameter: &mut Parameter<T>,
        state: &mut [Vec<T>],
        step: u64,
        exec: Exec,
    ) -> Result<()> {
        let [first, second] = state else { return Ok(()) };
        let rule = AdamStep { weight_decay: self.decay.of(parameter.kind), ..self.rule };
        let moments = Moments { first, second };
        rule.run(&mut parameter.value, &parameter.gradient, moments, step, exec)
    }
}
