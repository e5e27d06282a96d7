//! Batch normalisation of a training step.

use tilewise_kernels::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchStats,
    ColumnMoments, Error, Float, Result,
};

use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// Batch normalisation by the statistics of the batch itself: inputs of an [`Op`] are `x`, γ and β. Axis 1
/// holds the channels, as in rows of features and in images as NCHW.
#[derive(Debug)]
pub struct BatchNorm<T> {
    epsilon: f64,
    pub(in crate::autodiff) relu: bool,
    /// What the product that wrote the input says about it.
    pub(in crate::autodiff) moments: Option<ColumnMoments>,
    stats: BatchStats<T>,
    /// InputGradients that nobody asked for; the kernel writes all three.
    unwanted: [Vec<T>; 3],
}

impl<T: Float> BatchNorm<T> {
    /// With `epsilon` added to the variances.
    pub fn new(epsilon: f64) -> Self {
        let (stats, unwanted) = (BatchStats::new(0), Default::default());
        Self { epsilon, relu: false, moments: None, stats, unwanted }
    }

    fn dims(x: &Shape) -> Result<BatchNormDims> {
        match *x.dims() {
            [outer, channels, ref inner @ ..] => {
                Ok(BatchNormDims { outer, channels, inner: inner.iter().product() })
            }
            _ => Err(Error::shape("input", "at least two axes", x)),
        }
    }
}

impl<T: Float> Op<T> for BatchNorm<T> {
    fn name(&self) -> &'static str {
        if self.relu { "batch_norm + relu" } else { "batch_norm" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, gamma, beta] = check_inputs(inputs)?;
        let channels = Self::dims(&x)?.channels;
        for (what, shape) in [("gamma", gamma), ("beta", beta)] {
            if shape.dims() != [channels] {
                return Err(Error::shape(what, format!("[{channels}]"), shape));
            }
        }
        Ok(x)
    }

    fn uses(&self) -> Uses {
        Uses::INPUTS
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let dims = Self::dims(&inputs[0].shape)?;
        if self.stats.mean.len() != dims.channels {
            self.stats = BatchStats::new(dims.channels);
        }
        let affine = Affine { gamma: inputs[1].data, beta: inputs[2].data };
        let op = BatchNormForward::new(inputs[0].data, dims, affine, T::from_f64(self.epsilon))?
            .relu(self.relu);
        match &self.moments {
            Some(moments) => op.moments(moments).run(y, &mut self.stats, pass.exec),
            None => op.run(y, &mut self.stats, pass.exec),
        }
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let [x, gamma, beta] = [saved.inputs[0], saved.inputs[1], saved.inputs[2]];
        let affine = Affine { gamma: gamma.data, beta: beta.data };
        let mut places = dx.iter_mut().zip(&mut self.unwanted).zip(saved.inputs).map(
            |((wanted, unwanted), input)| match wanted {
                Some(dx) => &mut **dx,
                None => {
                    unwanted.resize(input.shape.len(), T::ZERO);
                    &mut unwanted[..]
                }
            },
        );
        let (Some(dx), Some(dgamma), Some(dbeta)) = (places.next(), places.next(), places.next())
        else {
            return Ok(());
        };
        BatchNormBackward::new(x.data, Self::dims(&x.shape)?, affine, &self.stats)?
            .relu(self.relu)
            .run(saved.dy, BatchNormGrads { dx, dgamma, dbeta }, pass.exec)
    }

    fn flops(&self, _: &[Shape], output: &Shape) -> u64 {
        // Two for the mean and the squares each, two for the line.
        6 * output.len() as u64
    }

    fn backward_flops(&self, _: &[Shape], output: &Shape, _: &[bool]) -> u64 {
        // All gradients come together: four for the two sums, six for the gradient by the input.
        10 * output.len() as u64
    }
}
