//! `y = x·Wᵀ + b`, with `W` stored `[outputs, inputs]` as PyTorch does.

use tilewise_kernels::{ColumnSums, Error, Exec, Float, Gemm, Result};

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
        Ok(Self { inputs, outputs, parameters })
    }

    fn product(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        // A row is predicted alone as in a batch.
        let product = Gemm::new(x.view(), self.weight()?.t())?.batch_invariant(true);
        match self.parameters.get(1) {
            Some(bias) => product.bias(&bias.value).run(y.view_mut(), exec),
            None => product.run(y.view_mut(), exec),
        }
    }

    fn weight(&self) -> Result<tilewise_kernels::MatRef<'_, T>> {
        tilewise_kernels::MatRef::new(&self.parameters[0].value, self.outputs, self.inputs)
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
        self.product(x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.product(x, y, exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let (x, dy) = (saved.x.view(), saved.dy.view());
        if let Some(dx) = dx {
            Gemm::new(dy, self.weight()?)?.run(dx.view_mut(), pass.exec)?;
        }
        let (inputs, outputs) = (self.inputs, self.outputs);
        let [weight, bias @ ..] = &mut self.parameters[..] else { return Ok(()) };
        let gradient = tilewise_kernels::MatMut::new(&mut weight.gradient, outputs, inputs)?;
        Gemm::new(dy.t(), x)?.run(gradient, pass.exec)?;
        match bias {
            [bias, ..] => ColumnSums::new(dy, &mut bias.gradient)?.run(pass.exec),
            [] => Ok(()),
        }
    }

    fn absorb(&mut self, affine: &ChannelAffine) -> bool {
        absorb(&mut self.parameters, affine)
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}
