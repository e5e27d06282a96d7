//! Variables: the trained state of a computation, and what an optimiser keeps beside it.

use std::sync::atomic::{AtomicU64, Ordering};

use tilewise_kernels::{Error as Argument, Exec, Float};

use super::shape::Shape;
use super::tape::Gradients;
use super::tensor::Tensor;
use crate::error::Result;
use crate::layers::{Parameter, ParameterKind};
use crate::optim::{Optimizer, Stepped};

/// The place of a variable in the [`Variables`] that it was made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variable {
    /// Which collection, so that a variable of another one is found out.
    owner: u64,
    index: usize,
}

impl Variable {
    pub(super) fn index(self) -> usize {
        self.index
    }
}

/// Values that steps change: it owns them, and what an optimiser keeps for each.
///
/// ```
/// use tilewise_nn::autodiff::{Tape, Tensor, Variables};
/// use tilewise_nn::optim::Sgd;
///
/// let mut variables = Variables::new();
/// let w = variables.add(Tensor::scalar(0.0_f64));
/// for _ in 0..1000 {
///     let tape = Tape::new();
///     let w = tape.watch(&variables, w);
///     let gradients = (w.square() - 10.0 * w + 25.0).gradients()?;
///     variables.step(&Sgd::new(0.01), &gradients)?;
/// }
/// assert!((variables.value(w)?.item()? - 5.0).abs() < 1e-7);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Variables<T: Float = f32> {
    owner: u64,
    /// Where gradients stay empty between steps.
    pub(super) all: Vec<Stored<T>>,
    pub(super) steps: u64,
    pub(super) exec: Exec,
}

/// A variable with its neighbours in an optimiser's step.
#[derive(Debug)]
pub(super) struct Stored<T> {
    pub(super) parameter: Parameter<T>,
    pub(super) shape: Shape,
    pub(super) state: Vec<Vec<T>>,
}

impl<T: Float> Default for Variables<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Variables<T> {
    /// None yet.
    pub fn new() -> Self {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let owner = OWNERS.fetch_add(1, Ordering::Relaxed);
        Self { owner, all: Vec::new(), steps: 0, exec: Exec::default() }
    }

    /// Sets instruction set and threads of optimiser steps.
    pub fn set_exec(&mut self, exec: Exec) {
        self.exec = exec;
    }

    /// A new variable; a weight, for optimisers that treat biases in another way.
    pub fn add(&mut self, value: Tensor<T>) -> Variable {
        self.add_kind(ParameterKind::Weight, value)
    }

    /// A new variable of a given kind.
    pub fn add_kind(&mut self, kind: ParameterKind, value: Tensor<T>) -> Variable {
        let shape = value.shape();
        let mut parameter = Parameter::new("variable", kind, &[], T::ZERO);
        parameter.shape = shape.dims().to_vec();
        (parameter.value, parameter.gradient) = (value.into_data(), Vec::new());
        self.all.push(Stored { parameter, shape, state: Vec::new() });
        Variable { owner: self.owner, index: self.all.len() - 1 }
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// If it is of another collection.
    pub fn value(&self, variable: Variable) -> Result<Tensor<T>, Argument> {
        let stored = &self.all[self.place(variable)?];
        Ok(Tensor::of_shape(stored.parameter.value.clone(), stored.shape))
    }

    /// The elements of a variable.
    ///
    /// # Errors
    /// If it is of another collection.
    pub fn data(&self, variable: Variable) -> Result<&[T], Argument> {
        Ok(&self.all[self.place(variable)?].parameter.value)
    }

    /// Replaces the value of a variable.
    ///
    /// # Errors
    /// If it is of another collection, or the shapes differ.
    pub fn assign(&mut self, variable: Variable, value: &Tensor<T>) -> Result<()> {
        let place = self.place(variable)?;
        let Stored { parameter, shape, .. } = &mut self.all[place];
        if *shape != value.shape() {
            return Err(Argument::shape("assigned value", *shape, value.shape()).into());
        }
        parameter.value.copy_from_slice(value.data());
        Ok(())
    }

    /// Forgets what optimisers kept, as before the first step.
    pub fn reset_optimizer(&mut self) {
        self.steps = 0;
        self.all.iter_mut().for_each(|stored| stored.state.clear());
    }

    /// Number of optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves the variables that have a gradient against it.
    ///
    /// # Errors
    /// If a hyperparameter of `optimizer` is outside its domain, or another optimiser was used before.
    /// Nothing is moved then.
    pub fn step(
        &mut self,
        optimizer: &(impl Optimizer<T> + ?Sized),
        gradients: &Gradients<T>,
    ) -> Result<()> {
        let owner = self.owner;
        let of = |index| gradients.of_variable(Variable { owner, index }).map(Tensor::into_data);
        self.step_by(optimizer, (0..self.all.len()).map(of).collect())
    }

    /// The same with the gradients by index, where there are any.
    pub(super) fn step_by(
        &mut self,
        optimizer: &(impl Optimizer<T> + ?Sized),
        gradients: Vec<Option<Vec<T>>>,
    ) -> Result<()> {
        let mut moved = Vec::with_capacity(self.all.len());
        for (stored, gradient) in self.all.iter_mut().zip(gradients) {
            if let Some(gradient) = gradient {
                stored.parameter.gradient = gradient;
                moved.push(stored.stepped(optimizer.slots()));
            }
        }
        let result = optimizer.update_all(&mut moved, self.steps + 1, self.exec);
        moved.iter_mut().for_each(|stepped| stepped.parameter.gradient = Vec::new());
        result?;
        self.steps += 1;
        Ok(())
    }

    /// Where a variable is.
    pub(super) fn place(&self, variable: Variable) -> Result<usize, Argument> {
        if variable.owner == self.owner {
            return Ok(variable.index);
        }
        Err(Argument::value("variable", "one of these variables", "one of another collection"))
    }
}

impl<T: Float> Stored<T> {
    /// Ready for an optimiser that keeps `slots` vectors.
    pub(super) fn stepped(&mut self, slots: usize) -> Stepped<'_, T> {
        let Self { parameter, state, .. } = self;
        if state.is_empty() {
            state.resize_with(slots, || vec![T::ZERO; parameter.value.len()]);
        }
        Stepped { parameter, state, rate: 1.0 }
    }
}
