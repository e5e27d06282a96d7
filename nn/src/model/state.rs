//! The state of a model as a value: to go back to, or to copy into another model.

use tilewise_kernels::Float;

use super::Sequential;
use crate::error::{Error, Result};
use crate::layers::{Buffer, BufferMut};

/// All that a model has learned and gathered: weights, running statistics and the number of its
/// training passes, by which random layers draw.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelState<T = f32> {
    /// Layer by layer, parameters before buffers.
    pub(crate) values: Vec<Vec<T>>,
    pub(crate) counts: Vec<u64>,
    pub(crate) step: u64,
}

impl<T: Float> Sequential<T> {
    /// The state of the model now.
    pub fn state(&self) -> ModelState<T> {
        let (mut values, mut counts) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            values.extend(layer.parameters().iter().map(|parameter| parameter.value.clone()));
            for (_, buffer) in layer.buffers() {
                match buffer {
                    Buffer::Values(all) => values.push(all.to_vec()),
                    Buffer::Count(count) => counts.push(count),
                }
            }
        }
        ModelState { values, counts, step: self.step }
    }

    /// Goes back to a state of this model, or of one of the same layers, bit for bit.
    ///
    /// # Errors
    /// If the state is of a model with other layers; nothing changes then.
    pub fn restore(&mut self, state: &ModelState<T>) -> Result<()> {
        let own = self.state();
        let shape = |state: &ModelState<T>| {
            (state.values.iter().map(Vec::len).collect::<Vec<_>>(), state.counts.len())
        };
        if shape(&own) != shape(state) {
            let (expected, got) = (shape(&own).0, shape(state).0);
            return Err(Error::shape(
                "state of the model",
                format!("tensors of {expected:?} elements"),
                format!("{got:?}"),
            ));
        }
        let (mut values, mut counts) = (state.values.iter(), state.counts.iter());
        for layer in &mut self.layers {
            for (parameter, value) in layer.parameters_mut().iter_mut().zip(values.by_ref()) {
                parameter.value.copy_from_slice(value);
            }
            for (_, buffer) in layer.buffers_mut() {
                match buffer {
                    BufferMut::Values(all) => {
                        values.next().into_iter().for_each(|value| all.copy_from_slice(value));
                    }
                    BufferMut::Count(count) => {
                        counts.next().into_iter().for_each(|value| *count = *value);
                    }
                }
            }
        }
        self.step = state.step;
        Ok(())
    }
}
