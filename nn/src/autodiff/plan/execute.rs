//! Running the steps of a plan: no decisions and no allocations are left.

use std::any::Any;

use tilewise_kernels::{Error, Float, Result};

use super::super::broadcast::{times, update};
use super::super::elementwise::Plus;
use super::super::op::{MAX_INPUTS, Op, Saved, View, named};
use super::super::ops::{BatchNorm, CrossEntropy, MatMul};
use super::super::shape::Shape;
use super::super::variables::Variables;
use super::schedule::{Buffer, Kind, Schedule, Write};
use super::{Fed, Feed, Source, Value};
use crate::layers::Pass;
use crate::optim::{Optimizer, Stepped};

/// Everything that operations read.
pub(super) struct Memory<'a, T: Float> {
    pub(super) values: &'a [Value],
    pub(super) buffers: &'a [Buffer],
    pub(super) slots: &'a mut [Vec<T>],
    pub(super) constants: &'a [Vec<T>],
    pub(super) feeds: &'a [Feed<'a, T>],
    /// By input: which of the feeds it is.
    pub(super) fed: &'a [usize],
    pub(super) variables: &'a mut Variables<T>,
    pub(super) pass: Pass,
}

/// An operation at its place.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) op: Box<dyn Op<T>>,
    pub(super) inputs: Vec<usize>,
}

impl<T: Float> Memory<'_, T> {
    /// A value, with data only if that is wanted: its memory may serve another one by now.
    fn view(&self, node: usize, with_data: bool) -> View<'_, T> {
        let Value { shape, source } = self.values[node];
        let mut view = View { data: &[], labels: &[], shape };
        match source {
            Source::Buffer(buffer) if with_data => view.data = self.data(buffer),
            Source::Constant(constant) => view.data = &self.constants[constant],
            Source::Feed(input) => match self.feeds[self.fed[input]].data {
                Fed::Values(values) => view.data = values,
                Fed::Labels(labels) => view.labels = labels,
            },
            Source::Variable(variable) => {
                view.data = &self.variables.all[variable].parameter.value;
            }
            Source::Buffer(_) | Source::Nothing => {}
        }
        if !with_data {
            view.data = &[];
        }
        view
    }

    fn data(&self, buffer: usize) -> &[T] {
        let Buffer { slot, len, .. } = self.buffers[buffer];
        &self.slots[slot][..len]
    }

    /// Takes the memory of a buffer out, to be written while others are read.
    fn take(&mut self, buffer: usize) -> Vec<T> {
        std::mem::take(&mut self.slots[self.buffers[buffer].slot])
    }

    fn put(&mut self, buffer: usize, memory: Vec<T>) {
        self.slots[self.buffers[buffer].slot] = memory;
    }

    fn shapes<'s>(&self, inputs: &[usize], room: &'s mut [Shape; MAX_INPUTS]) -> &'s [Shape] {
        for (shape, &input) in room.iter_mut().zip(inputs) {
            *shape = self.values[input].shape;
        }
        &room[..inputs.len()]
    }

    /// `error` with the name of the operation and the shapes that it had.
    fn named(&self, error: Error, placed: &Placed<T>) -> Error {
        named(error, placed.op.name(), self.shapes(&placed.inputs, &mut Default::default()))
    }

    /// Runs an operation.
    fn forward(&mut self, placed: &mut Placed<T>, output: usize) -> Result<()> {
        let mut memory = self.take(output);
        let views = self.views(&placed.inputs, true);
        let y = &mut memory[..self.buffers[output].len];
        let result = placed.op.forward(&views[..placed.inputs.len()], y, self.pass);
        self.put(output, memory);
        result.map_err(|error| self.named(error, placed))
    }

    fn views(&self, inputs: &[usize], with_data: bool) -> [View<'_, T>; MAX_INPUTS] {
        let mut views = [View::default(); MAX_INPUTS];
        for (view, &input) in views.iter_mut().zip(inputs) {
            *view = self.view(input, with_data);
        }
        views
    }

    /// The loss, whose gradient replaces the logits.
    fn loss(&mut self, placed: &Placed<T>, output: usize) -> Result<()> {
        let op: &dyn Any = &*placed.op;
        let (Some(op), [logits, labels]) = (op.downcast_ref::<CrossEntropy>(), &placed.inputs[..])
        else {
            return Ok(());
        };
        let Value { shape, source: Source::Buffer(buffer) } = self.values[*logits] else {
            return Ok(());
        };
        let mut memory = self.take(buffer);
        let over = (&mut memory[..shape.len()], &shape);
        let loss = op.replace(over, self.view(*labels, false).labels, self.pass);
        self.put(buffer, memory);
        let loss = loss.map_err(|error| self.named(error, placed))?;
        self.slots[self.buffers[output].slot][0] = loss;
        Ok(())
    }

    /// Multiplies a gradient by that of the loss it came from.
    fn scale(&mut self, gradient: usize, by: usize) -> Result<()> {
        let factor = self.data(by)[0];
        let Buffer { slot, len, .. } = self.buffers[gradient];
        times(&mut self.slots[slot][..len], factor, self.pass.exec)
    }

    /// Walks back over an operation whose gradient by the output is `dy`.
    fn backward(
        &mut self,
        placed: &mut Placed<T>,
        node: usize,
        dy: usize,
        dx: &[Option<Write>; MAX_INPUTS],
    ) -> Result<()> {
        let mut taken: [Vec<T>; MAX_INPUTS] = Default::default();
        for (memory, write) in taken.iter_mut().zip(dx) {
            if let Some(Write { to, .. }) = write {
                *memory = self.take(*to);
            }
        }
        let uses = placed.op.uses();
        let views = self.views(&placed.inputs, uses.inputs);
        let count = placed.inputs.len();
        let saved = Saved {
            inputs: &views[..count],
            output: self.view(node, uses.output),
            dy: self.data(dy),
        };
        let mut writes = taken.iter_mut().zip(dx);
        let mut places: [Option<&mut [T]>; MAX_INPUTS] = std::array::from_fn(|_| {
            let (memory, write) = writes.next()?;
            Some(&mut memory[..self.buffers[write.as_ref()?.to].len])
        });
        let result = placed.op.backward(saved, &mut places[..count], self.pass);
        for (memory, write) in taken.into_iter().zip(dx) {
            if let Some(Write { to, .. }) = write {
                self.put(*to, memory);
            }
        }
        result.map_err(|error| self.named(error, placed).within("backward"))?;
        for Write { to, add_to } in dx.iter().flatten() {
            if let Some(sum) = add_to {
                self.add(*sum, *to)?;
            }
        }
        Ok(())
    }

    pub(super) fn fill(&mut self, buffer: usize, value: T) {
        let Buffer { slot, len, .. } = self.buffers[buffer];
        self.slots[slot][..len].fill(value);
    }

    /// Moves a variable against its gradient, in whose memory nothing is left that matters.
    fn update(
        &mut self,
        optimizer: &dyn Optimizer<T>,
        variable: usize,
        gradient: usize,
    ) -> Result<()> {
        let (memory, step) = (self.take(gradient), self.variables.steps + 1);
        let stored = &mut self.variables.all[variable];
        stored.parameter.gradient = memory;
        let Stepped { parameter, state, .. } = stored.stepped(optimizer.slots());
        let result = optimizer.update(parameter, state, step, self.pass.exec);
        let memory = std::mem::take(&mut stored.parameter.gradient);
        self.put(gradient, memory);
        result
    }

    /// Adds a buffer to another one of its length.
    fn add(&mut self, to: usize, from: usize) -> Result<()> {
        let mut sum = self.take(to);
        let len = self.buffers[to].len;
        let shape = Shape::line(len);
        let other = View { data: self.data(from), labels: &[], shape };
        let added = update(Plus, (&mut sum[..len], &shape), other, self.pass.exec);
        self.put(to, sum);
        added
    }
}

/// Hands the statistics that a product took to the batch normalisation behind it.
fn hand_over<T: Float>(product: &mut dyn Any, norm: &mut dyn Any) {
    let (Some(product), Some(norm)) =
        (product.downcast_mut::<MatMul<T>>(), norm.downcast_mut::<BatchNorm<T>>())
    else {
        return;
    };
    std::mem::swap(&mut product.moments, &mut norm.moments);
}

/// Runs one step.
pub(super) fn replay<T: Float>(
    step: &Kind,
    schedule: &Schedule,
    ops: &mut [Option<Placed<T>>],
    memory: &mut Memory<'_, T>,
    optimizer: Option<&(dyn Optimizer<T> + Send + Sync)>,
) -> Result<()> {
    match step {
        Kind::Forward { node, statistics } => {
            let (before, rest) = ops.split_at_mut(*node);
            let (Some(placed), Some(output)) = (&mut rest[0], schedule.values[*node]) else {
                return Ok(());
            };
            let product = statistics.and_then(|product| before[product].as_mut());
            let Some(product) = product else { return memory.forward(placed, output) };
            hand_over::<T>(&mut *product.op, &mut *placed.op);
            let result = memory.forward(placed, output);
            hand_over::<T>(&mut *product.op, &mut *placed.op);
            result?;
        }
        Kind::Loss { node } => {
            if let (Some(placed), Some(output)) = (&ops[*node], schedule.values[*node]) {
                memory.loss(placed, output)?;
            }
        }
        Kind::Scale { node, gradient } => {
            if let Some(by) = schedule.gradients[*node] {
                memory.scale(*gradient, by)?;
            }
        }
        Kind::Backward { node, dx } => {
            if let (Some(placed), Some(dy)) = (&mut ops[*node], schedule.gradients[*node]) {
                memory.backward(placed, *node, dy, dx)?;
            }
        }
        Kind::Add { to, from } => memory.add(*to, *from)?,
        Kind::Update { variable, gradient } => {
            if let Some(optimizer) = optimizer {
                memory.update(optimizer, *variable, *gradient)?;
            }
        }
    }
    Ok(())
}
