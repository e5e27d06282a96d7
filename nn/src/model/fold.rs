//! Batch normalisation folded into the layers before it, for inference.

use tilewise_kernels::{Activation, Float};

use super::Sequential;
use super::pass::Wire;
use crate::error::Result;
use crate::layers::{ActivationLayer, Layer};

impl<T: Float> Sequential<T> {
    /// The same model for inference, without the batch normalisation layers that stand directly behind a
    /// linear layer or a convolution: with fixed statistics they are a scale and a shift of its outputs,
    /// which its weights and bias take over, and a ReLU that ran inside one runs in the store of the
    /// product. Layers keep their positions in the names of tensors. Predictions differ by a few roundings.
    ///
    /// ```
    /// use tilewise_nn::prelude::*;
    ///
    /// let model = Sequential::new().linear(4, 8).batch_norm().relu().linear(8, 3).build(1)?;
    /// let folded = model.folded()?;
    /// let kinds: Vec<_> = folded.layers().map(|layer| layer.kind()).collect();
    /// assert_eq!(kinds, ["linear", "linear"]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// None for a model that was built: shapes stay as they are.
    pub fn folded(self) -> Result<Self> {
        let Self { inputs, layers, wires, positions, exec, precision, step, .. } = self;
        let mut kept: Vec<(usize, Box<dyn Layer<T>>)> = Vec::with_capacity(layers.len());
        let mut kept_wires = Vec::with_capacity(layers.len());
        // The number that each value has in the folded model.
        let mut numbers = vec![0];
        for (index, (layer, position)) in layers.into_iter().zip(positions).enumerate() {
            let Wire { from, plus } = wires[index];
            let readers = wires.iter().filter(|wire| wire.reads(from)).count();
            let alone = from == index && readers == 1 && numbers[from] == kept.len();
            let affine = layer.channel_affine().filter(|_| alone);
            let before = kept.last_mut().map(|(_, before)| before).zip(affine);
            let mut left = Some(layer);
            if let Some((before, affine)) = before
                && before.absorb(&affine)
            {
                let relu = affine.relu && !before.take_activation(Activation::Relu);
                left = relu.then(|| Box::new(ActivationLayer(Activation::Relu)) as _);
            }
            let Some(layer) = left else {
                numbers.push(kept.len());
                continue;
            };
            let plus = plus.map(|plus| numbers[plus]);
            kept_wires.push(Wire { from: numbers[from], plus });
            kept.push((position, layer));
            numbers.push(kept.len());
        }
        let mut folded = Self::from_parts(inputs, kept, kept_wires)?;
        (folded.exec, folded.precision, folded.step) = (exec, precision, step);
        Ok(folded)
    }
}
