//! Optimisers: a rule that moves parameters against their gradients, and the state it needs.
//!
//! A rule is a small value without state, so that swapping one for another is a change of one line;
//! [`OptimizerState`] holds the vectors that the rule keeps per parameter.

mod rules;

use tilewise_kernels::{Exec, Float, Result};

pub use rules::{Adam, RmsProp, Sgd};

use crate::layers::{Parameter, ParameterKind};
use crate::model::Sequential;

/// A rule for moving parameters.
pub trait Optimizer<T: Float> {
    /// How many vectors of a parameter's size the rule keeps for it.
    fn slots(&self) -> usize;

    /// Moves `parameter` by its gradient. `state` has [`slots`](Self::slots) vectors that start as
    /// zeros; `step` counts from 1.
    ///
    /// # Errors
    /// If a hyperparameter is outside its domain.
    fn update(
        &self,
        parameter: &mut Parameter<T>,
        state: &mut [Vec<T>],
        step: u64,
        exec: Exec,
    ) -> Result<()>;
}

/// L2 regularisation as optimisers offer it: on weights only, unless everything is asked for.
///
/// Scales, shifts and biases are few and cannot overfit; pulling the scale of batch normalisation
/// towards zero only changes the learning rate of the layer before it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Decay {
    rate: f64,
    everything: bool,
}

impl Decay {
    fn of(self, kind: ParameterKind) -> f64 {
        if self.everything || kind == ParameterKind::Weight { self.rate } else { 0.0 }
    }
}

/// What an optimiser remembers of a model's parameters.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState<T = f32> {
    step: u64,
    /// By layer, parameter and slot.
    slots: Vec<Vec<Vec<Vec<T>>>>,
}

impl<T: Float> OptimizerState<T> {
    /// The state before the first step.
    pub fn new() -> Self {
        Self { step: 0, slots: Vec::new() }
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Moves all parameters of `model` by their gradients.
    ///
    /// # Errors
    /// If a hyperparameter is outside its domain; the error names the layer.
    pub fn step(
        &mut self,
        optimizer: &(impl Optimizer<T> + ?Sized),
        model: &mut Sequential<T>,
    ) -> crate::Result<()> {
        self.step += 1;
        if self.slots.is_empty() {
            self.slots = zeros(optimizer.slots(), model);
        }
        let (exec, step) = (model.exec(), self.step);
        for (index, slots) in self.slots.iter_mut().enumerate() {
            let updated =
                model.layer_parameters_mut(index).iter_mut().zip(slots).try_for_each(
                    |(parameter, state)| optimizer.update(parameter, state, step, exec),
                );
            updated.map_err(|error| error.within(model.layer_name(index)))?;
        }
        Ok(())
    }
}

fn zeros<T: Float>(slots: usize, model: &Sequential<T>) -> Vec<Vec<Vec<Vec<T>>>> {
    let of = |parameter: &Parameter<T>| vec![vec![T::ZERO; parameter.value.len()]; slots];
    model.layers().map(|layer| layer.parameters().iter().map(of).collect()).collect()
}
