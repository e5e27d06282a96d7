//! Normalisation of each row: layer normalisation, and by the root mean square.

use tilewise_kernels::{Error, Exec, Float, NormGrads, Result, RowNorm, RowNormBackward, RowStats};

use super::{Layer, Parameter, ParameterKind, Pass, Saved, wanted_or};
use crate::matrix::Matrix;

/// `y = γ·(x - mean) / √(variance + ε) + β` along each row (Ba, Kiros and Hinton 2016), or
/// `y = γ·x / √(mean of x² + ε)` (Zhang and Sennrich 2019). The same in training and inference: a row
/// does not see the others.
#[derive(Debug, Clone)]
pub struct RowNormalization<T = f32> {
    columns: usize,
    epsilon: f64,
    /// γ, then β where rows are centred.
    parameters: Vec<Parameter<T>>,
    /// Of the last training batch.
    stats: RowStats<T>,
    /// The gradient by the input where nobody asks for it; the kernel writes it.
    unwanted: Matrix<T>,
}

impl<T: Float> RowNormalization<T> {
    /// Layer normalisation of `columns` columns with γ = 1, β = 0 and ε = 1e-5.
    pub fn layer(columns: usize) -> Self {
        let mut layer = Self::rms(columns);
        layer.parameters.push(Parameter::new("bias", ParameterKind::Bias, &[columns], T::ZERO));
        layer
    }

    /// Normalisation of `columns` columns by the root mean square, with γ = 1 and ε = 1e-5.
    pub fn rms(columns: usize) -> Self {
        let gamma = Parameter::new("weight", ParameterKind::Scale, &[columns], T::ONE);
        let (stats, unwanted) = Default::default();
        Self { columns, epsilon: 1e-5, parameters: vec![gamma], stats, unwanted }
    }

    /// Replaces ε.
    ///
    /// # Errors
    /// If it is not finite and above 0.
    pub fn epsilon(self, epsilon: f64) -> crate::Result<Self> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            let expected = "a finite value above 0";
            return Err(crate::Error::argument("epsilon", expected, epsilon));
        }
        Ok(Self { epsilon, ..self })
    }

    fn normalise(
        &self,
        x: &Matrix<T>,
        y: &mut Matrix<T>,
        stats: &mut RowStats<T>,
        exec: Exec,
    ) -> Result<()> {
        let epsilon = T::from_f64(self.epsilon);
        let op = match &self.parameters[..] {
            [gamma, beta, ..] => RowNorm::layer(x.view(), [&gamma.value, &beta.value], epsilon),
            [gamma] => RowNorm::rms(x.view(), &gamma.value, epsilon),
            [] => return Ok(()),
        };
        stats.resize(x.rows());
        op?.run(y.view_mut(), stats, exec)
    }
}

impl<T: Float> Layer<T> for RowNormalization<T> {
    fn kind(&self) -> &'static str {
        if self.parameters.len() == 2 { "layer_norm" } else { "rms_norm" }
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        if input == self.columns {
            return Ok(input);
        }
        let columns = |n| format!("{n} columns");
        Err(Error::shape("input", columns(self.columns), columns(input)))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        let mut stats = std::mem::take(&mut self.stats);
        let outcome = self.normalise(x, y, &mut stats, pass.exec);
        self.stats = stats;
        outcome
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.normalise(x, y, &mut RowStats::default(), exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let dx = wanted_or(dx, &mut self.unwanted, saved.x);
        let (x, dy, dx) = (saved.x.view(), saved.dy.view(), dx.view_mut());
        let [gamma, beta @ ..] = &mut self.parameters[..] else { return Ok(()) };
        let dgamma = &mut gamma.gradient;
        match beta {
            [beta, ..] => {
                let grads = NormGrads { dx, dgamma, dbeta: &mut beta.gradient };
                RowNormBackward::layer(x, &gamma.value, &self.stats)?.run(dy, grads, pass.exec)
            }
            [] => {
                let grads = NormGrads { dx, dgamma, dbeta: &mut [] };
                RowNormBackward::rms(x, &gamma.value, &self.stats)?.run(dy, grads, pass.exec)
            }
        }
    }

    fn flops(&self, rows: usize, input: usize) -> u64 {
        // As of batch normalisation, without the mean where rows are not centred.
        let each = if self.parameters.len() == 2 { 6 } else { 4 };
        each * (rows * input) as u64
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}
