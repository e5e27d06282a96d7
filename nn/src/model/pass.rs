//! How values flow through a model, forward and backward in training, and forward in inference.
//!
//! Layers stand in a row, and most read the one before them. A residual block is a fork: two branches
//! that read the same value, and a layer that adds one branch's output to the other's.

use tilewise_kernels::Float;

use super::Sequential;
use crate::error::Result;
use crate::layers::{Parameter, Pass, Saved};
use crate::loss::{Loss, Targets};
use crate::matrix::Matrix;

/// What the way back keeps where branches meet.
#[derive(Debug, Default)]
pub(super) struct Branches<T> {
    /// By layer: whether the gradient by its output has a part already.
    begun: Vec<bool>,
    /// The next part of such a gradient.
    second: Matrix<T>,
}

/// What a layer reads. Value 0 is the features, value `i + 1` the output of layer `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    /// Its input.
    pub(super) from: usize,
    /// What is added to its output.
    pub(super) plus: Option<usize>,
}

impl Wire {
    /// The wire of layer `index` where it reads the one before it.
    pub(super) fn to(index: usize) -> Self {
        Self { from: index, plus: None }
    }

    /// Whether the layer reads value number `value`.
    pub(super) fn reads(self, value: usize) -> bool {
        self.from == value || self.plus == Some(value)
    }
}

/// A part of a training step; layers by their number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Forward(usize),
    Loss,
    Backward(usize),
    /// Of one layer, or of all at the end.
    Update(Option<usize>),
}

/// Who is told when a part is done.
pub(super) trait Watch {
    fn done(&mut self, part: Part);
}

/// Nobody.
impl Watch for () {
    fn done(&mut self, _: Part) {}
}

impl<T: Float> Sequential<T> {
    /// A whole training pass: the loss, and the gradients in all parameters.
    pub(super) fn pass(
        &mut self,
        x: &Matrix<T>,
        targets: Targets<'_, T>,
        loss: &(impl Loss<T> + ?Sized),
        pass: Pass,
    ) -> Result<f64> {
        let value = self.training_loss(x, targets, loss, (true, pass, &mut ()))?;
        self.backward(x, pass, |_, _, _| Ok(()))?;
        Ok(value)
    }

    /// The loss of a training pass, and if wanted its gradient by the logits.
    pub(super) fn training_loss(
        &mut self,
        x: &Matrix<T>,
        targets: Targets<'_, T>,
        loss: &(impl Loss<T> + ?Sized),
        (with_gradient, pass, watch): (bool, Pass, &mut impl Watch),
    ) -> Result<f64> {
        self.forward(x, pass, watch)?;
        let (Some(logits), Some(gradient)) = (self.values.last(), self.gradients.last_mut()) else {
            return Ok(0.0);
        };
        if with_gradient {
            gradient.resize(logits.rows(), logits.cols())?;
        }
        let gradient = with_gradient.then_some(gradient);
        let value = loss
            .evaluate(logits, targets, gradient, pass.exec)
            .map_err(|error| error.within("loss"))?;
        watch.done(Part::Loss);
        Ok(value)
    }

    fn forward(&mut self, features: &Matrix<T>, pass: Pass, watch: &mut impl Watch) -> Result<()> {
        self.check_input(features)?;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.values.split_at_mut(index);
            let value = |number: usize| number.checked_sub(1).map_or(features, |i| &before[i]);
            let (x, y) = (value(self.wires[index].from), &mut after[0]);
            let named = |error: tilewise_kernels::Error| error.within(&self.names[index]);
            y.resize(x.rows(), layer.output_width(x.cols()).map_err(named)?)?;
            layer.forward(x, y, pass).map_err(named)?;
            if let Some(plus) = self.wires[index].plus {
                y.add(value(plus));
            }
            watch.done(Part::Forward(index));
        }
        Ok(())
    }

    /// From the gradient by the logits to all others. Each layer is `done` when the gradients of its
    /// parameters are there.
    pub(super) fn backward(
        &mut self,
        features: &Matrix<T>,
        pass: Pass,
        mut done: impl FnMut(usize, &str, &mut [Parameter<T>]) -> Result<()>,
    ) -> Result<()> {
        // A value that two layers read gets the sum of both gradients.
        let Branches { begun, second } = &mut self.branches;
        begun.clear();
        begun.resize(self.layers.len(), false);
        for (index, layer) in self.layers.iter_mut().enumerate().rev() {
            let (before, after) = self.gradients.split_at_mut(index);
            let (wire, dy) = (self.wires[index], &after[0]);
            if let Some(plus) = wire.plus.and_then(|plus| plus.checked_sub(1)) {
                if std::mem::replace(&mut begun[plus], true) {
                    before[plus].add(dy);
                } else {
                    before[plus].copy_from(dy);
                }
            }
            // Nothing needs the gradient by the features.
            let source = wire.from.checked_sub(1);
            let x = source.map_or(features, |i| &self.values[i]);
            let repeated = source.is_some_and(|i| std::mem::replace(&mut begun[i], true));
            let mut dx = match source {
                Some(_) if repeated => Some(&mut *second),
                Some(i) => Some(&mut before[i]),
                None => None,
            };
            if let Some(dx) = dx.as_mut() {
                dx.resize(x.rows(), x.cols())?;
            }
            let saved = Saved { x, y: &self.values[index], dy };
            layer.backward(saved, dx, pass).map_err(|e| e.within(&self.names[index]))?;
            if let (true, Some(i)) = (repeated, source) {
                before[i].add(second);
            }
            done(index, &self.names[index], layer.parameters_mut())?;
        }
        Ok(())
    }
}

/// Inference, layer by layer, with the values that later layers still need.
#[derive(Debug, Default)]
pub(super) struct Flow<T> {
    /// The latest value and the place of the next.
    current: Matrix<T>,
    next: Matrix<T>,
    /// Values, by number, that a layer other than the next reads.
    kept: Vec<Matrix<T>>,
}

impl<T: Float> Flow<T> {
    /// Begins with `count` rows of `x` from `first` on.
    pub(super) fn begin(
        &mut self,
        model: &Sequential<T>,
        x: &Matrix<T>,
        [first, count]: [usize; 2],
    ) -> Result<()> {
        self.current.copy_rows(x, first, count)?;
        self.kept.resize_with(model.layers.len(), Matrix::default);
        self.keep(model, 0);
        Ok(())
    }

    /// What layer `index` reads; all layers before it must have run.
    pub(super) fn input(&self, model: &Sequential<T>, index: usize) -> &Matrix<T> {
        self.value(model.wires[index].from, index)
    }

    /// Runs layer `index`.
    pub(super) fn step(&mut self, model: &Sequential<T>, index: usize) -> Result<()> {
        let named = |error: tilewise_kernels::Error| error.within(&model.names[index]);
        let mut y = std::mem::take(&mut self.next);
        let (layer, x) = (&model.layers[index], self.input(model, index));
        y.resize(x.rows(), layer.output_width(x.cols()).map_err(named)?)?;
        layer.infer(x, &mut y, model.exec).map_err(named)?;
        if let Some(plus) = model.wires[index].plus {
            y.add(self.value(plus, index));
        }
        self.next = std::mem::replace(&mut self.current, y);
        self.keep(model, index + 1);
        Ok(())
    }

    /// The latest value.
    pub(super) fn output(&self) -> &Matrix<T> {
        &self.current
    }

    /// Value `number` while `latest` is the latest one.
    fn value(&self, number: usize, latest: usize) -> &Matrix<T> {
        if number == latest { &self.current } else { &self.kept[number] }
    }

    /// Copies the latest value, `number`, where a layer after the next reads it.
    fn keep(&mut self, model: &Sequential<T>, number: usize) {
        let later = model.wires.get(number + 1..).unwrap_or_default();
        if later.iter().any(|wire| wire.reads(number)) {
            self.kept[number].copy_from(&self.current);
        }
    }
}
