//! What a training step of a model consists of.

use std::time::{Duration, Instant};

use tilewise_kernels::Float;

use super::pass::{Part, Watch};
use super::{Sequential, StepRule};
use crate::autodiff::{Explanation, PlanStep, Shape};
use crate::error::Result;
use crate::layers::Layer;
use crate::loss::Targets;
use crate::matrix::Matrix;
use crate::optim::OptimizerState;

/// The parts of a step in the order in which they were done, and how long they took.
struct Laps {
    start: Instant,
    laps: Vec<(Part, Duration)>,
}

impl Watch for Laps {
    fn done(&mut self, part: Part) {
        let now = Instant::now();
        self.laps.push((part, now - self.start));
        self.start = now;
    }
}

impl<T: Float> Sequential<T> {
    /// Takes a training step as [`train_step`](Self::train_step) does, and tells what it consisted of: the
    /// passes of each layer with what runs in them besides, the loss and the updates, each with its
    /// operations, bytes, and time in this very step. (The first one also makes room for everything.)
    ///
    /// ```
    /// use tilewise_nn::optim::OptimizerState;
    /// use tilewise_nn::prelude::*;
    /// use tilewise_nn::StepRule;
    ///
    /// let mut model = Sequential::new().linear(2, 8).tanh().linear(8, 2).build(1)?;
    /// let x = Matrix::new(vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 4, 2)?;
    /// let rule = StepRule { loss: &SoftmaxCrossEntropy::default(), optimizer: &Adam::default(), rate: 1.0 };
    /// let told = model.explain(&x, &[0, 1, 1, 0], &rule, &mut OptimizerState::new())?;
    /// assert_eq!(told.steps[0].name, "layer 0 linear + bias + tanh");
    /// assert_eq!(told.steps[0].flops, 2 * 4 * 2 * 8);
    /// println!("{told}");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`train_step`](Self::train_step).
    pub fn explain<'a>(
        &mut self,
        x: &Matrix<T>,
        targets: impl Into<Targets<'a, T>>,
        rule: &StepRule<'_, T>,
        state: &mut OptimizerState<T>,
    ) -> Result<Explanation>
    where
        T: 'a,
    {
        let mut laps = Laps { start: Instant::now(), laps: Vec::new() };
        self.watched_step(x, targets.into(), rule, (state, &mut laps))?;
        let slots = rule.optimizer.slots();
        let told = laps.laps.into_iter();
        let steps = told.filter_map(|(part, time)| self.describe(part, x, slots, time)).collect();
        let parameters = self.layers().flat_map(Layer::parameters);
        let values = self.values.iter().chain(&self.gradients).map(|m| m.data().len());
        let memory = (values.sum::<usize>() + parameters.map(|p| p.gradient.len()).sum::<usize>())
            * size_of::<T>();
        Ok(Explanation { steps, memory, memory_unshared: memory })
    }

    /// A part of the step, unless nothing is done in it.
    fn describe(
        &self,
        part: Part,
        x: &Matrix<T>,
        slots: usize,
        time: Duration,
    ) -> Option<PlanStep> {
        let step = |name, dims: &[usize], flops, elements: usize| {
            let shape = Shape::new(dims).unwrap_or_default();
            Some(PlanStep { name, shape, flops, bytes: (elements * size_of::<T>()) as u64, time })
        };
        let update = |name, len: usize| {
            // Parameters and what is kept for them are read and written, gradients read.
            step(name, &[len], ((2 + 4 * slots) * len) as u64, (3 + 2 * slots) * len)
        };
        match part {
            Part::Forward(index) => {
                let at = self.at(index, x);
                let other = if self.wires[index].plus.is_some() { at.output } else { 0 };
                let elements = at.input + at.output + at.parameters + other;
                step(at.name, &[x.rows(), at.width], at.flops + other as u64, elements)
            }
            Part::Loss => {
                let outputs = [x.rows(), self.outputs];
                let len = outputs[0] * outputs[1];
                // Exponential, sum, quotient and difference for the common one.
                step("loss with its gradient".to_owned(), &outputs, 4 * len as u64, 2 * len)
            }
            Part::Backward(index) => {
                let at = self.at(index, x);
                let dx = if self.wires[index].from == 0 { 0 } else { at.input };
                let gradients = u64::from(dx > 0) + u64::from(at.parameters > 0);
                let elements = at.output + at.input + dx + 2 * at.parameters;
                let name = format!("gradients of {}", at.name);
                step(name, &[x.rows(), at.width], gradients * at.flops, elements)
            }
            Part::Update(Some(index)) => {
                let at = self.at(index, x);
                let name = format!("update of {}", self.names[index]);
                if at.parameters == 0 { None } else { update(name, at.parameters) }
            }
            Part::Update(None) => {
                update("update of all parameters".to_owned(), self.parameter_count())
            }
        }
    }

    /// Layer `index` on as many rows as `x` has.
    fn at(&self, index: usize, x: &Matrix<T>) -> At {
        let (layer, rows) = (&self.layers[index], x.rows());
        let from = self.wires[index].from;
        let width = from.checked_sub(1).map_or(x.cols(), |i| self.values[i].cols());
        let mut name = self.names[index].clone();
        for fused in layer.fused() {
            name.push_str(" + ");
            name.push_str(fused);
        }
        At {
            name,
            width: self.values[index].cols(),
            input: rows * width,
            output: self.values[index].data().len(),
            parameters: layer.parameters().iter().map(|p| p.value.len()).sum(),
            flops: layer.flops(rows, width),
        }
    }
}

/// A layer in a step: elements of its input, output and parameters.
struct At {
    name: String,
    /// Columns of the output.
    width: usize,
    input: usize,
    output: usize,
    parameters: usize,
    flops: u64,
}
