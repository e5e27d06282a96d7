//! Optimisers: a rule that moves parameters against their gradients, and the state it needs.
//!
//! A rule is a small value without state, so that swapping one for another is a change of one line;
//! [`OptimizerState`] holds the vectors that the rule keeps per parameter. A step moves all parameters
//! of a model in one call of the kernels (in two, where weight decay is for some of them only).

mod dials;
mod rules;
pub mod schedule;
mod settings;

use tilewise_kernels::{Exec, Float, Result};

pub use dials::Dials;
pub use rules::{Adagrad, Adam, RmsProp, Sgd};
pub use schedule::Schedule;
pub(crate) use settings::check_factors;

use crate::layers::Parameter;
use crate::model::Sequential;

/// A parameter to be moved by its gradient, with what the optimiser keeps for it.
#[derive(Debug)]
pub struct Stepped<'a, T> {
    /// The parameter.
    pub parameter: &'a mut Parameter<T>,
    /// As many vectors of its size as the rule has [`slots`](Optimizer::slots), zeros at first.
    pub state: &'a mut [Vec<T>],
    /// A factor on the learning rate, beside the parameter's own.
    pub rate: f64,
}

/// A rule for moving parameters.
pub trait Optimizer<T: Float> {
    /// How many vectors of a parameter's size the rule keeps for it.
    fn slots(&self) -> usize;

    /// Moves `parameters`, all of a model's, by their gradients. `step` counts from 1.
    ///
    /// # Errors
    /// If a hyperparameter is outside its domain, a state has the wrong number of vectors, or gradients
    /// to be clipped by their norm are not finite. Nothing is moved then.
    fn update_all(&self, parameters: &mut [Stepped<'_, T>], step: u64, exec: Exec) -> Result<()>;

    /// Whether moving all parameters is moving each as soon as its gradient is there; not so where
    /// gradients are clipped by the norm of all together. Nothing is promised by default.
    fn separable(&self) -> bool {
        false
    }

    /// Moves one `parameter` as if it were all of a model.
    ///
    /// # Errors
    /// As [`update_all`](Self::update_all).
    fn update(
        &self,
        parameter: &mut Parameter<T>,
        state: &mut [Vec<T>],
        step: u64,
        exec: Exec,
    ) -> Result<()> {
        self.update_all(&mut [Stepped { parameter, state, rate: 1.0 }], step, exec)
    }

    /// The settings that can be turned during a training, as they are. None by default.
    fn dials(&self) -> Dials {
        Dials::default()
    }

    /// Turns those settings that are given. Whether a value makes sense is checked by the next step.
    ///
    /// # Errors
    /// If a setting is given that the rule does not have. Nothing is turned then.
    fn turn(&mut self, dials: Dials) -> Result<()> {
        dials.turn([None, None, None])
    }
}

/// What an optimiser remembers of a model's parameters.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState<T = f32> {
    pub(crate) step: u64,
    /// By parameter and slot; empty before the first step.
    pub(crate) slots: Vec<Vec<Vec<T>>>,
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

    /// Whether this is of a training of `model` by an optimiser that keeps `slots` vectors for each
    /// parameter.
    pub(crate) fn fits(&self, slots: usize, model: &Sequential<T>) -> bool {
        let shape = |slots: &[Vec<Vec<T>>]| -> Vec<Vec<usize>> {
            slots.iter().map(|slots| slots.iter().map(Vec::len).collect()).collect()
        };
        let fresh = self.step == 0 && self.slots.is_empty();
        fresh || shape(&self.slots) == shape(&zeros(slots, model))
    }

    /// Makes room for what `optimizer` keeps, before the first step.
    pub(crate) fn begin(
        &mut self,
        optimizer: &(impl Optimizer<T> + ?Sized),
        model: &Sequential<T>,
    ) {
        if self.slots.is_empty() {
            self.slots = zeros(optimizer.slots(), model);
        }
    }

    /// Moves all parameters of `model` by their gradients.
    ///
    /// # Errors
    /// If a hyperparameter is outside its domain, the state is of an optimiser that keeps other
    /// vectors, or gradients to be clipped by their norm are not finite. Neither the model nor the
    /// state is changed then.
    pub fn step(
        &mut self,
        optimizer: &(impl Optimizer<T> + ?Sized),
        model: &mut Sequential<T>,
    ) -> crate::Result<()> {
        self.step_at(1.0, optimizer, model)
    }

    /// The same with `rate` times the optimiser's learning rate, such as what a
    /// [`Schedule`] gives.
    ///
    /// # Errors
    /// As [`step`](Self::step), and if `rate` is negative or not finite.
    pub fn step_at(
        &mut self,
        rate: f64,
        optimizer: &(impl Optimizer<T> + ?Sized),
        model: &mut Sequential<T>,
    ) -> crate::Result<()> {
        self.begin(optimizer, model);
        let exec = model.exec();
        let mut all: Vec<_> = model
            .parameters_mut()
            .zip(&mut self.slots)
            .map(|(parameter, state)| Stepped { parameter, state, rate })
            .collect();
        optimizer.update_all(&mut all, self.step + 1, exec)?;
        self.step += 1;
        Ok(())
    }
}

fn zeros<T: Float>(slots: usize, model: &Sequential<T>) -> Vec<Vec<Vec<T>>> {
    let of = |parameter: &Parameter<T>| vec![vec![T::ZERO; parameter.value.len()]; slots];
    model.layers().flat_map(|layer| layer.parameters()).map(of).collect()
}
