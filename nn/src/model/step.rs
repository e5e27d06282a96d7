//! A whole training step: gradients, and every parameter moved by its own.

use tilewise_kernels::{Exec, Float, Sum};

use super::Sequential;
use super::pass::{Part, Watch};
use crate::error::{Error, Result};
use crate::layers::Parameter;
use crate::loss::{Loss, Targets};
use crate::matrix::Matrix;
use crate::optim::{Optimizer, OptimizerState, Stepped, check_factors};

/// What a training step goes by.
#[derive(Clone, Copy)]
pub struct StepRule<'a, T: Float = f32> {
    /// What is made smaller.
    pub loss: &'a dyn Loss<T>,
    /// How parameters are moved.
    pub optimizer: &'a dyn Optimizer<T>,
    /// A factor on the learning rate, such as a [`Schedule`](crate::optim::Schedule) gives.
    pub rate: f64,
}

impl<T: Float> Sequential<T> {
    /// A training step on one minibatch: gives its loss before the step.
    ///
    /// What [`loss_and_gradients`](Self::loss_and_gradients) and [`OptimizerState::step_at`] do one after
    /// the other, to the same bits, but that a parameter is moved as soon as its gradient is there and
    /// while it is in a near cache. (An optimiser that must see all gradients first gets them at the end.)
    /// On one thread a steady step allocates nothing with the layers of this crate; class weights and
    /// sigmoid cross-entropy of classes do, and clipping by the norm of all gradients.
    ///
    /// ```
    /// use tilewise_nn::optim::OptimizerState;
    /// use tilewise_nn::prelude::*;
    /// use tilewise_nn::StepRule;
    ///
    /// let mut model = Sequential::new().linear(2, 8).tanh().linear(8, 2).build(1)?;
    /// let x = Matrix::new(vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 4, 2)?;
    /// let (loss, adam) = (SoftmaxCrossEntropy::default(), Adam::default().learning_rate(0.05));
    /// let rule = StepRule { loss: &loss, optimizer: &adam, rate: 1.0 };
    /// let mut state = OptimizerState::new();
    /// let first = model.train_step(&x, &[0, 1, 1, 0], &rule, &mut state)?;
    /// for _ in 0..300 {
    ///     model.train_step(&x, &[0, 1, 1, 0], &rule, &mut state)?;
    /// }
    /// let last = model.train_step(&x, &[0, 1, 1, 0], &rule, &mut state)?;
    /// assert!(last < 0.1 * first);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As both; and [`Error::Diverged`] if the loss is not finite, where nothing is moved, or a gradient is
    /// not: layers nearer to the loss have been moved then, and no others.
    pub fn train_step<'a>(
        &mut self,
        x: &Matrix<T>,
        targets: impl Into<Targets<'a, T>>,
        rule: &StepRule<'_, T>,
        state: &mut OptimizerState<T>,
    ) -> Result<f64>
    where
        T: 'a,
    {
        self.watched_step(x, targets.into(), rule, (state, &mut ()))
    }

    /// A training step, of whose parts `watch` is told.
    pub(super) fn watched_step(
        &mut self,
        x: &Matrix<T>,
        targets: Targets<'_, T>,
        rule: &StepRule<'_, T>,
        (state, watch): (&mut OptimizerState<T>, &mut impl Watch),
    ) -> Result<f64> {
        let StepRule { loss, optimizer, rate } = *rule;
        self.parameters_mut().try_for_each(|parameter| check_factors(rate, parameter))?;
        state.begin(optimizer, self);
        self.step += 1;
        let pass = self.training_pass();
        let value = self.training_loss(x, targets, loss, (true, pass, &mut *watch))?;
        if !value.is_finite() {
            let place = self.first_not_finite().unwrap_or("loss").to_owned();
            return Err(Error::Diverged { step: state.step, place, got: value });
        }
        let (steps, at_once) = (state.step, optimizer.separable());
        // Gradients come from the last parameter to the first.
        let mut next = state.slots.len();
        self.backward(x, pass, |index, name, parameters| {
            watch.done(Part::Backward(index));
            check_finite(name, parameters, (steps, pass.exec))?;
            next -= parameters.len().min(next);
            if !at_once {
                return Ok(());
            }
            for (parameter, state) in parameters.iter_mut().zip(&mut state.slots[next..]) {
                let only = Stepped { parameter, state, rate };
                optimizer.update_all(&mut [only], steps + 1, pass.exec)?;
            }
            watch.done(Part::Update(Some(index)));
            Ok(())
        })?;
        if at_once {
            state.step += 1;
        } else {
            state.step_at(rate, optimizer, self)?;
            watch.done(Part::Update(None));
        }
        Ok(value)
    }

    /// Checks all gradients of the last training pass, the first ones on the way back first; `steps` were
    /// taken before.
    pub(crate) fn check_gradients(&self, steps: u64) -> Result<()> {
        let mut named = self.layers.iter().zip(&self.names).rev();
        named.try_for_each(|(layer, name)| {
            check_finite(name, layer.parameters(), (steps, self.exec))
        })
    }
}

/// Finds a gradient of layer `name` that is not finite, after `steps` steps.
fn check_finite<T: Float>(
    name: &str,
    parameters: &[Parameter<T>],
    (steps, exec): (u64, Exec),
) -> Result<()> {
    for parameter in parameters {
        let gradient = &parameter.gradient;
        // What is not finite stays so in a sum; finite values may add up to infinity.
        if Sum::new(gradient)?.run(exec)?.is_finite() {
            continue;
        }
        if let Some(got) = gradient.iter().find(|g| !g.is_finite()) {
            let place = format!("{name} gradient of {}", parameter.name);
            return Err(Error::Diverged { step: steps, place, got: got.to_f64() });
        }
    }
    Ok(())
}
