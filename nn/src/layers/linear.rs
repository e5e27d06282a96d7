//! `y = f(x·Wᵀ + b)`, with `W` stored `[outputs, inputs]` as PyTorch does.

use tilewise_kernels::{
    Activation, ColumnSums, Error, Exec, Float, Gemm, MatMut, MatRef, Precision, Result,
};

use super::activation::Stored;
use super::{ChannelAffine, Layer, Parameter, ParameterKind, Pass, Saved, absorb};
use crate::init::Init;
use crate::matrix::Matrix;

/// A fully connected layer.
#[derive(Debug, Clone)]
pub struct Linear<T = f32> {
    inputs: usize,
    outputs: usize,
    /// The weight, then the bias where there is one.
    parameters: Vec<Parameter<T>>,
    stored: Stored<T>,
}

impl<T: Float> Linear<T> {
    /// A layer from `inputs` to `outputs` columns with weights drawn from `init` by `seed` and,
    /// if `bias`, a bias of zeros.
    ///
    /// # Errors
    /// If the size of the weight overflows.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        bias: bool,
        init: Init,
        seed: u64,
    ) -> crate::Result<Self> {
        Matrix::<T>::zeros(outputs, inputs)?;
        let mut weight =
            Parameter::new("weight", ParameterKind::Weight, &[outputs, inputs], T::ZERO);
        init.fill(&mut weight.value, inputs, outputs, seed);
        let mut parameters = vec![weight];
        if bias {
            parameters.push(Parameter::new("bias", ParameterKind::Bias, &[outputs], T::ZERO));
        }
        Ok(Self { inputs, outputs, parameters, stored: Stored::default() })
    }

    /// Applies `f` to the outputs as they are stored, as an activation layer behind this one would in a
    /// pass of its own.
    ///
    /// # Errors
    /// If the gradient of `f` needs its input, which is not kept: GELU and SiLU.
    pub fn activation(mut self, f: Activation) -> crate::Result<Self> {
        self.stored.apply(f)?;
        Ok(self)
    }

    fn product(
        &self,
        x: &Matrix<T>,
        y: &mut Matrix<T>,
        precision: Precision,
        exec: Exec,
    ) -> Result<()> {
        // A row is predicted alone as in a batch.
        let product = Gemm::new(x.view(), self.weight()?.t())?.batch_invariant(true);
        let product = product.activation(self.stored.function).precision(precision);
        match self.parameters.get(1) {
            Some(bias) => product.bias(&bias.value).run(y.view_mut(), exec),
            None => product.run(y.view_mut(), exec),
        }
    }

    fn weight(&self) -> Result<MatRef<'_, T>> {
        MatRef::new(&self.parameters[0].value, self.outputs, self.inputs)
    }
}

impl<T: Float> Layer<T> for Linear<T> {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        if input == self.inputs {
            return Ok(self.outputs);
        }
        Err(Error::shape("input", format!("{} columns", self.inputs), format!("{input} columns")))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        self.product(x, y, pass.precision, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.product(x, y, Precision::F32, exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let Self { inputs, outputs, parameters, stored } = self;
        let [weight, bias @ ..] = &mut parameters[..] else { return Ok(()) };
        let (inputs, outputs) = (*inputs, *outputs);
        let (x, dy) = (saved.x.view(), stored.gradient(saved, pass.exec)?.view());
        if let Some(dx) = dx {
            let weight = MatRef::new(&weight.value, outputs, inputs)?;
            Gemm::new(dy, weight)?.precision(pass.precision).run(dx.view_mut(), pass.exec)?;
        }
        let gradient = MatMut::new(&mut weight.gradient, outputs, inputs)?;
        Gemm::new(dy.t(), x)?.precision(pass.precision).run(gradient, pass.exec)?;
        match bias {
            [bias, ..] => ColumnSums::new(dy, &mut bias.gradient)?.run(pass.exec),
            [] => Ok(()),
        }
    }

    fn absorb(&mut self, affine: &ChannelAffine) -> bool {
        self.stored.is_plain() && absorb(&mut self.parameters, affine)
    }

    fn take_activation(&mut self, f: Activation) -> bool {
        self.stored.take(f)
    }

    fn fused(&self) -> Vec<&'static str> {
        let bias = (self.parameters.len() > 1).then_some("bias");
        bias.into_iter().chain(self.stored.name()).collect()
    }

    fn flops(&self, rows: usize, _: usize) -> u64 {
        2 * (rows * self.inputs * self.outputs) as u64
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}
