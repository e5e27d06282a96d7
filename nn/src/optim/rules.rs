//! The optimisers. Defaults are those of the papers.

use tilewise_kernels::{
    AdagradStep, AdamStep, EpsilonPlacement, Exec, Float, MomentumForm, MomentumStep, Result,
    RmsPropStep, SgdStep,
};

use super::settings::{Settings, settings};
use super::{Dials, Optimizer, Stepped};

/// Stochastic gradient descent, plain or with momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    learning_rate: f64,
    momentum: Option<(f64, MomentumForm)>,
    settings: Settings,
}

impl Sgd {
    /// `w ← w - α·g`
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: None, settings: Settings::default() }
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

    settings!();

    /// Without momentum there is no form to choose.
    fn form(self, form: MomentumForm) -> Self {
        Self { momentum: self.momentum.map(|(beta, _)| (beta, form)), ..self }
    }
}

impl<T: Float> Optimizer<T> for Sgd {
    fn slots(&self) -> usize {
        usize::from(self.momentum.is_some())
    }

    fn separable(&self) -> bool {
        self.settings.clip_norm.is_none()
    }

    fn update_all(&self, parameters: &mut [Stepped<'_, T>], _: u64, exec: Exec) -> Result<()> {
        let lr = self.learning_rate;
        let Some((beta, form)) = self.momentum else {
            return self.settings.apply(parameters, exec, |group, options, tensors| {
                let (lr, weight_decay) = (lr * group.rate, group.decay);
                SgdStep { lr, weight_decay, options }.run_many(tensors, exec)
            });
        };
        self.settings.apply(parameters, exec, |group, options, tensors| {
            let (lr, weight_decay) = (lr * group.rate, group.decay);
            MomentumStep { lr, beta, form, weight_decay, options }.run_many(tensors, exec)
        })
    }

    fn dials(&self) -> Dials {
        Dials {
            learning_rate: Some(self.learning_rate),
            momentum: self.momentum.map(|(beta, _)| beta),
            weight_decay: Some(self.settings.decay),
        }
    }

    fn turn(&mut self, dials: Dials) -> Result<()> {
        dials.turn([
            Some(&mut self.learning_rate),
            self.momentum.as_mut().map(|(beta, _)| beta),
            Some(&mut self.settings.decay),
        ])
    }
}

/// RMSprop (Tieleman and Hinton 2012): `s ← β·s + (1 - β)·g²; w ← w - α·g / (√s + ε)`, with
/// α = 0.001, β = 0.9 and ε = 1e-8 outside the root.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RmsProp {
    rule: RmsPropStep,
    settings: Settings,
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

    settings!();
}

impl<T: Float> Optimizer<T> for RmsProp {
    fn slots(&self) -> usize {
        1
    }

    fn separable(&self) -> bool {
        self.settings.clip_norm.is_none()
    }

    fn update_all(&self, parameters: &mut [Stepped<'_, T>], _: u64, exec: Exec) -> Result<()> {
        self.settings.apply(parameters, exec, |group, options, tensors| {
            let (lr, weight_decay) = (self.rule.lr * group.rate, group.decay);
            RmsPropStep { lr, weight_decay, options, ..self.rule }.run_many(tensors, exec)
        })
    }

    fn dials(&self) -> Dials {
        Dials {
            learning_rate: Some(self.rule.lr),
            momentum: None,
            weight_decay: Some(self.settings.decay),
        }
    }

    fn turn(&mut self, dials: Dials) -> Result<()> {
        dials.turn([Some(&mut self.rule.lr), None, Some(&mut self.settings.decay)])
    }
}

/// Adagrad (Duchi, Hazan and Singer 2011): `s ← s + g²; w ← w - α·g / (√s + ε)`, with α = 0.01 and
/// ε = 1e-10 outside the root.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Adagrad {
    rule: AdagradStep,
    settings: Settings,
}

impl Adagrad {
    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Self { rule: AdagradStep { lr: learning_rate, ..self.rule }, ..self }
    }

    /// Sets ε and where it is added.
    #[must_use]
    pub fn epsilon(self, epsilon: f64, placement: EpsilonPlacement) -> Self {
        Self { rule: AdagradStep { epsilon, placement, ..self.rule }, ..self }
    }

    settings!();
}

impl<T: Float> Optimizer<T> for Adagrad {
    fn slots(&self) -> usize {
        1
    }

    fn separable(&self) -> bool {
        self.settings.clip_norm.is_none()
    }

    fn update_all(&self, parameters: &mut [Stepped<'_, T>], _: u64, exec: Exec) -> Result<()> {
        self.settings.apply(parameters, exec, |group, options, tensors| {
            let (lr, weight_decay) = (self.rule.lr * group.rate, group.decay);
            AdagradStep { lr, weight_decay, options, ..self.rule }.run_many(tensors, exec)
        })
    }

    fn dials(&self) -> Dials {
        Dials {
            learning_rate: Some(self.rule.lr),
            momentum: None,
            weight_decay: Some(self.settings.decay),
        }
    }

    fn turn(&mut self, dials: Dials) -> Result<()> {
        dials.turn([Some(&mut self.rule.lr), None, Some(&mut self.settings.decay)])
    }
}

/// Adam (Kingma and Ba 2015): bias-corrected averages of the gradient and its square, with
/// α = 0.001, β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Adam {
    rule: AdamStep,
    settings: Settings,
}

impl Adam {
    /// AdamW (Loshchilov and Hutter 2019): weights shrink by α times `weight_decay` in every step,
    /// beside the update and not through the averages.
    pub fn adamw(weight_decay: f64) -> Self {
        Self::default().weight_decay(weight_decay).decoupled()
    }

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

    /// Takes weight decay out of the averages, as [`adamw`](Self::adamw) does.
    #[must_use]
    pub fn decoupled(self) -> Self {
        Self { rule: AdamStep { decoupled: true, ..self.rule }, ..self }
    }

    settings!();
}

impl<T: Float> Optimizer<T> for Adam {
    fn slots(&self) -> usize {
        2
    }

    fn separable(&self) -> bool {
        self.settings.clip_norm.is_none()
    }

    fn update_all(&self, parameters: &mut [Stepped<'_, T>], step: u64, exec: Exec) -> Result<()> {
        self.settings.apply(parameters, exec, |group, options, tensors| {
            let (lr, weight_decay) = (self.rule.lr * group.rate, group.decay);
            AdamStep { lr, weight_decay, options, ..self.rule }.run_many(tensors, step, exec)
        })
    }

    fn dials(&self) -> Dials {
        Dials {
            learning_rate: Some(self.rule.lr),
            momentum: Some(self.rule.beta1),
            weight_decay: Some(self.settings.decay),
        }
    }

    fn turn(&mut self, dials: Dials) -> Result<()> {
        dials.turn([
            Some(&mut self.rule.lr),
            Some(&mut self.rule.beta1),
            Some(&mut self.settings.decay),
        ])
    }
}
