//! Batch normalisation (Ioffe and Szegedy 2015) of columns, or of the channels of images, with the running statistics of
//! seven traditions.

use tilewise_kernels::{
    ActivateBackward, Activation, Affine, BatchNormBackward, BatchNormDims, BatchNormForward,
    BatchNormGrads, BatchNormInference, BatchStats, ColumnMeanVar, Error, Exec, Float, Result,
    Running,
};

use super::{
    Buffer, BufferMut, ChannelAffine, Layer, Parameter, ParameterKind, Pass, Saved, channel_sums,
};
use crate::matrix::Matrix;

/// The weight that the statistics of a new minibatch get in the running ones.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum NewWeight {
    /// Always the same: an exponentially weighted average that starts from mean 0 and variance 1.
    Fixed(f64),
    /// 1/k for minibatch k: the plain average of all.
    Cumulative,
    /// An exponentially weighted average divided by the sum of its weights: old minibatches fade by
    /// this factor, and the starting values do not count.
    Debiased(f64),
}

impl NewWeight {
    /// The weight of minibatch `k`, counted from 1.
    fn of(self, k: u64) -> f64 {
        match self {
            Self::Fixed(weight) => weight,
            Self::Cumulative => 1.0 / k as f64,
            // Weights 1, keep, keep², … sum to (1 - keep^k) / (1 - keep).
            Self::Debiased(keep) => (1.0 - keep) / (1.0 - keep.powf(k as f64)),
        }
    }
}

/// How running statistics are kept, named after those who keep them so. There is no bare
/// `momentum`: for half of these it is the weight of the new minibatch, for the others of the old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BatchNormConvention {
    /// New weight 0.1, unbiased running variance, ε 1e-5. Also Torch7, dfdx and candle.
    #[default]
    PyTorch,
    /// The plain average of all minibatches, unbiased, ε 1e-5: PyTorch's `momentum=None`.
    Cumulative,
    /// New weight 0.1, biased, ε 1e-5: ONNX, PaddlePaddle and MXNet.
    Onnx,
    /// New weight 0.01, biased, ε 1e-3.
    Keras,
    /// New weight 0.01, unbiased, ε 1e-3.
    TensorFlowFused,
    /// Fading by 0.999, normalised by the sum of the weights, unbiased, ε 1e-5.
    Caffe,
    /// Fading by 0.9 with bias correction, biased variance, ε 1e-5: the moving average of
    /// introductory courses.
    CourseEwa,
}

impl BatchNormConvention {
    /// The weight of a new minibatch.
    pub fn new_weight(self) -> NewWeight {
        match self {
            Self::PyTorch | Self::Onnx => NewWeight::Fixed(0.1),
            Self::Cumulative => NewWeight::Cumulative,
            Self::Keras | Self::TensorFlowFused => NewWeight::Fixed(0.01),
            Self::Caffe => NewWeight::Debiased(0.999),
            Self::CourseEwa => NewWeight::Debiased(0.9),
        }
    }

    /// Whether the running variance is m/(m-1) times the minibatch's. The minibatch itself is
    /// always normalised by its biased variance.
    pub fn unbiased(self) -> bool {
        matches!(self, Self::PyTorch | Self::Cumulative | Self::TensorFlowFused | Self::Caffe)
    }

    /// What is added to the variance under the root.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Keras | Self::TensorFlowFused => 1e-3,
            _ => 1e-5,
        }
    }
}

/// `y = γ·(x - mean) / √(var + ε) + β`, by column or by channel.
#[derive(Debug, Clone)]
pub struct BatchNorm<T = f32> {
    channels: usize,
    /// Neighbouring columns that belong to one channel.
    positions: usize,
    convention: BatchNormConvention,
    epsilon: f64,
    relu: bool,
    use_running: bool,
    update_running: bool,
    /// γ, then β.
    parameters: Vec<Parameter<T>>,
    running_mean: Vec<T>,
    running_var: Vec<T>,
    batches: u64,
    /// Of the last training batch.
    stats: BatchStats<T>,
}

impl<T: Float> BatchNorm<T> {
    /// A layer over `channels` columns with γ = 1, β = 0, running mean 0 and variance 1.
    pub fn new(channels: usize, convention: BatchNormConvention) -> Self {
        Self {
            channels,
            positions: 1,
            convention,
            epsilon: convention.epsilon(),
            relu: false,
            use_running: false,
            update_running: true,
            parameters: vec![
                Parameter::new("weight", ParameterKind::Scale, &[channels], T::ONE),
                Parameter::new("bias", ParameterKind::Bias, &[channels], T::ZERO),
            ],
            running_mean: vec![T::ZERO; channels],
            running_var: vec![T::ONE; channels],
            batches: 0,
            stats: BatchStats::new(channels),
        }
    }

    /// Replaces the convention's ε.
    ///
    /// # Errors
    /// If it is not finite and above 0.
    pub fn epsilon(mut self, epsilon: f64) -> crate::Result<Self> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            let expected = "a finite value above 0";
            return Err(crate::Error::argument("batch norm epsilon", expected, epsilon));
        }
        self.epsilon = epsilon;
        Ok(self)
    }

    /// Makes each channel a plane of an image: `positions` neighbouring columns that are normalised
    /// together.
    #[must_use]
    pub fn positions(self, positions: usize) -> Self {
        Self { positions, ..self }
    }

    /// Whether negative outputs become 0 in the same pass, as a ReLU layer behind this one would
    /// do in a pass of its own.
    #[must_use]
    pub fn relu(self, relu: bool) -> Self {
        Self { relu, ..self }
    }

    /// Mean of each column for inference.
    pub fn running_mean(&self) -> &[T] {
        &self.running_mean
    }

    /// Variance of each column for inference.
    pub fn running_var(&self) -> &[T] {
        &self.running_var
    }

    fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: &self.parameters[0].value, beta: &self.parameters[1].value }
    }

    fn dims(&self, x: &Matrix<T>) -> BatchNormDims {
        BatchNormDims { outer: x.rows(), channels: self.channels, inner: self.positions }
    }

    fn update(&mut self, rows: usize) {
        self.batches += 1;
        let weight = self.convention.new_weight().of(self.batches);
        let count = rows as f64 * self.positions as f64;
        let bessel = match self.convention.unbiased() {
            true if count > 1.0 => count / (count - 1.0),
            _ => 1.0,
        };
        let blend = |running: &mut T, new: f64| {
            let old = running.to_f64();
            *running = T::from_f64(old + weight * (new - old));
        };
        for (running, mean) in self.running_mean.iter_mut().zip(&self.stats.mean) {
            blend(running, mean.to_f64());
        }
        for (running, var) in self.running_var.iter_mut().zip(&self.stats.var) {
            blend(running, bessel * var.to_f64());
        }
    }

    /// Statistics are constants here: `dx = dy·γ/√(var + ε)`.
    fn backward_running(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<()> {
        let dims = self.dims(saved.x);
        let epsilon = T::from_f64(self.epsilon);
        let (zeros, ones) = (vec![T::ZERO; self.channels], vec![T::ONE; self.channels]);
        let mut dy = saved.dy.clone();
        if self.relu {
            let (y, dy) = (saved.y.data(), dy.data_mut());
            ActivateBackward::new(Activation::Relu, y, saved.dy.data(), dy)?.run(exec)?;
        }
        let mut scaled = saved.x.clone();
        let running = Running { mean: &self.running_mean, var: &self.running_var };
        let plain = Affine { gamma: &ones, beta: &zeros };
        BatchNormInference::new(saved.x.data(), dims, plain, running, epsilon)?
            .run(scaled.data_mut(), exec)?;
        for (normalised, dy) in scaled.data_mut().iter_mut().zip(dy.data()) {
            *normalised *= *dy;
        }
        if let Some(dx) = dx {
            let running = Running { mean: &zeros, var: &self.running_var };
            let scale = Affine { gamma: &self.parameters[0].value, beta: &zeros };
            BatchNormInference::new(dy.data(), dims, scale, running, epsilon)?
                .run(dx.data_mut(), exec)?;
        }
        let shape = [saved.x.rows(), self.channels, self.positions];
        channel_sums(scaled.data(), shape, &mut self.parameters[0].gradient, exec)?;
        channel_sums(dy.data(), shape, &mut self.parameters[1].gradient, exec)
    }
}

impl<T: Float> Layer<T> for BatchNorm<T> {
    fn kind(&self) -> &'static str {
        "batch_norm"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        let expected = self.channels * self.positions;
        if input == expected {
            return Ok(input);
        }
        let columns = |n| format!("{n} columns");
        Err(Error::shape("input", columns(expected), columns(input)))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        let update = self.update_running && !pass.freeze_statistics;
        if update || !self.use_running {
            let epsilon = T::from_f64(self.epsilon);
            let affine =
                Affine { gamma: &self.parameters[0].value, beta: &self.parameters[1].value };
            let dims = self.dims(x);
            BatchNormForward::new(x.data(), dims, affine, epsilon)?.relu(self.relu).run(
                y.data_mut(),
                &mut self.stats,
                pass.exec,
            )?;
        }
        if self.use_running {
            self.infer(x, y, pass.exec)?;
        }
        if update {
            self.update(x.rows());
        }
        Ok(())
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        let running = Running { mean: &self.running_mean, var: &self.running_var };
        let epsilon = T::from_f64(self.epsilon);
        BatchNormInference::new(x.data(), self.dims(x), self.affine(), running, epsilon)?
            .relu(self.relu)
            .run(y.data_mut(), exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        if self.use_running {
            return self.backward_running(saved, dx, pass.exec);
        }
        let dims = self.dims(saved.x);
        let mut unwanted = Matrix::default();
        let dx = match dx {
            Some(dx) => dx,
            None => {
                unwanted.clone_from(saved.x);
                &mut unwanted
            }
        };
        let [scale, shift] = &mut self.parameters[..] else { return Ok(()) };
        let affine = Affine { gamma: &scale.value, beta: &shift.value };
        let grads = BatchNormGrads {
            dx: dx.data_mut(),
            dgamma: &mut scale.gradient,
            dbeta: &mut shift.gradient,
        };
        BatchNormBackward::new(saved.x.data(), dims, affine, &self.stats)?.relu(self.relu).run(
            saved.dy.data(),
            grads,
            pass.exec,
        )
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }

    fn buffers(&self) -> Vec<(&'static str, Buffer<'_, T>)> {
        vec![
            ("running_mean", Buffer::Values(&self.running_mean)),
            ("running_var", Buffer::Values(&self.running_var)),
            ("num_batches_tracked", Buffer::Count(self.batches)),
        ]
    }

    fn buffers_mut(&mut self) -> Vec<(&'static str, BufferMut<'_, T>)> {
        vec![
            ("running_mean", BufferMut::Values(&mut self.running_mean)),
            ("running_var", BufferMut::Values(&mut self.running_var)),
            ("num_batches_tracked", BufferMut::Count(&mut self.batches)),
        ]
    }

    fn channel_affine(&self) -> Option<ChannelAffine> {
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        let Affine { gamma, beta } = self.affine();
        let statistics = self.running_mean.iter().zip(&self.running_var);
        for ((gamma, beta), (mean, var)) in gamma.iter().zip(beta).zip(statistics) {
            let factor = gamma.to_f64() / (var.to_f64() + self.epsilon).sqrt();
            scale.push(factor);
            shift.push(beta.to_f64() - mean.to_f64() * factor);
        }
        Some(ChannelAffine { scale, shift, relu: self.relu })
    }

    fn min_training_rows(&self) -> usize {
        if self.positions > 1 || (self.use_running && !self.update_running) { 1 } else { 2 }
    }

    fn recalibrate(&mut self, x: &Matrix<T>, exec: Exec) -> Result<()> {
        if self.positions == 1 {
            let (mean, var) = (&mut self.running_mean, &mut self.running_var);
            return ColumnMeanVar::new(x.view(), mean, var)?.run(exec);
        }
        let (mut normalised, mut stats) = (x.clone(), BatchStats::new(self.channels));
        BatchNormForward::new(x.data(), self.dims(x), self.affine(), T::from_f64(self.epsilon))?
            .run(normalised.data_mut(), &mut stats, exec)?;
        (self.running_mean, self.running_var) = (stats.mean, stats.var);
        Ok(())
    }

    fn set_statistics(&mut self, use_running: bool, update_running: bool) {
        (self.use_running, self.update_running) = (use_running, update_running);
    }
}
