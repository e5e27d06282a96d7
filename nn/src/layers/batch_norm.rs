//! Batch normalisation (Ioffe and Szegedy 2015) of columns, or of the channels of images.

use tilewise_kernels::{
    ActivateBackward, Activation, Affine, BatchNormBackward, BatchNormDims, BatchNormForward,
    BatchNormGrads, BatchNormInference, BatchStats, ColumnMeanVar, Error, Exec, Float, Result,
    Running,
};

use super::convention::BatchNormConvention;
use super::{
    Buffer, BufferMut, ChannelAffine, Layer, Parameter, ParameterKind, Pass, Saved, channel_sums,
    wanted_or,
};
use crate::matrix::Matrix;

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
    /// The gradient by the input where nobody asks for it; the kernel writes it.
    unwanted: Matrix<T>,
}

impl<T: Float> BatchNorm<T> {
    /// A layer over `channels` columns with γ = 1, β = 0, running mean 0 and variance 1.
    pub fn new(channels: usize, convention: BatchNormConvention) -> Self {
        let epsilon = convention.epsilon();
        let var = T::from_f64(convention.first_variance(epsilon));
        Self {
            channels,
            positions: 1,
            convention,
            epsilon,
            relu: false,
            use_running: false,
            update_running: true,
            parameters: vec![
                Parameter::new("weight", ParameterKind::Scale, &[channels], T::ONE),
                Parameter::new("bias", ParameterKind::Bias, &[channels], T::ZERO),
            ],
            running_mean: vec![T::ZERO; channels],
            running_var: vec![var; channels],
            batches: 0,
            stats: BatchStats::new(channels),
            unwanted: Matrix::default(),
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
        if self.batches == 0 {
            self.running_var.fill(T::from_f64(self.convention.first_variance(epsilon)));
        }
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
        let weight = self.convention.new_weight().of(self.batches, rows);
        let count = rows as f64 * self.positions as f64;
        let bessel = match self.convention.unbiased() {
            true if count > 1.0 => count / (count - 1.0),
            _ => 1.0,
        };
        let between = |old: f64, new: f64| old + weight * (new - old);
        for (running, mean) in self.running_mean.iter_mut().zip(&self.stats.mean) {
            *running = T::from_f64(between(running.to_f64(), mean.to_f64()));
        }
        for (running, var) in self.running_var.iter_mut().zip(&self.stats.var) {
            let (old, new) = (running.to_f64(), bessel * var.to_f64());
            *running = T::from_f64(if self.convention.averages_inverse_deviations() {
                let inverse = |var: f64| 1.0 / (var + self.epsilon).sqrt();
                between(inverse(old), inverse(new)).powi(-2) - self.epsilon
            } else {
                between(old, new)
            });
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
        let ([scale, shift], mut space) = (&mut self.parameters[..], Vec::new()) else {
            return Ok(());
        };
        channel_sums(scaled.data(), shape, &mut scale.gradient, &mut space, exec)?;
        channel_sums(dy.data(), shape, &mut shift.gradient, &mut space, exec)
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
        let dx = wanted_or(dx, &mut self.unwanted, saved.x);
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

    fn fused(&self) -> Vec<&'static str> {
        self.relu.then_some("relu").into_iter().collect()
    }

    fn flops(&self, rows: usize, input: usize) -> u64 {
        // Two for the mean and the squares each, two for the line.
        6 * (rows * input) as u64
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
