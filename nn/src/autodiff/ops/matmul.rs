//! Matrix products.

use tilewise_kernels::{
    ActivateBackward, Activation, ColumnMoments, Error, Float, Gemm, MatMut, MatRef, Result,
};

use crate::autodiff::broadcast::{SumSpace, stretched, sum_axes};
use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// `f(op(A)·op(B) + bias)`, where `op` is the matrix or its transpose. The axes of A but the last one
/// count as rows. Tapes record plain products; plans bring in bias and activation.
#[derive(Debug)]
pub(in crate::autodiff) struct MatMul<T> {
    pub(in crate::autodiff) transposed: [bool; 2],
    /// Whether a third input is added to every row.
    pub(in crate::autodiff) bias: bool,
    pub(in crate::autodiff) activation: Activation,
    /// Statistics of the output's columns, where batch normalisation follows.
    pub(in crate::autodiff) moments: Option<ColumnMoments>,
    /// The gradient before the activation.
    dz: Vec<T>,
    space: SumSpace<T>,
}

/// A matrix in memory, and how it is read.
#[derive(Clone, Copy)]
struct Side {
    stored: [usize; 2],
    transposed: bool,
}

impl Side {
    fn shape(self) -> [usize; 2] {
        let [rows, cols] = self.stored;
        if self.transposed { [cols, rows] } else { [rows, cols] }
    }

    fn view<T>(self, data: &[T]) -> Result<MatRef<'_, T>> {
        let view = MatRef::new(data, self.stored[0], self.stored[1])?;
        Ok(if self.transposed { view.t() } else { view })
    }

    /// Writes `product` here, which has the shape as it is read.
    fn write<T: Float>(self, [a, b]: [MatRef<'_, T>; 2], data: &mut [T], pass: Pass) -> Result<()> {
        let out = MatMut::new(data, self.stored[0], self.stored[1])?;
        let product = if self.transposed { Gemm::new(b.t(), a.t()) } else { Gemm::new(a, b) };
        product?.precision(pass.precision).run(out, pass.exec)
    }
}

impl<T: Float> MatMul<T> {
    pub(in crate::autodiff) fn new(transposed: [bool; 2]) -> Self {
        let activation = Activation::Identity;
        let (dz, space) = (Vec::new(), SumSpace::default());
        Self { transposed, bias: false, activation, moments: None, dz, space }
    }

    fn sides(&self, a: &Shape, b: &Shape) -> Result<[Side; 2]> {
        let [a_turned, b_turned] = self.transposed;
        let folded = match *a.dims() {
            [ref rows @ .., cols] if !a_turned && !rows.is_empty() => [rows.iter().product(), cols],
            _ => a.matrix("first operand")?,
        };
        let b = Side { stored: b.matrix("second operand")?, transposed: b_turned };
        Ok([Side { stored: folded, transposed: a_turned }, b])
    }
}

impl<T: Float> Op<T> for MatMul<T> {
    fn name(&self) -> &'static str {
        let names = match (self.activation, self.moments.is_some()) {
            (Activation::Identity, false) => ["matmul", "matmul + bias"],
            (Activation::Identity, true) => ["matmul + statistics", "matmul + bias + statistics"],
            (Activation::Relu, _) => ["matmul + relu", "matmul + bias + relu"],
            (Activation::Sigmoid, _) => ["matmul + sigmoid", "matmul + bias + sigmoid"],
            (Activation::Tanh, _) => ["matmul + tanh", "matmul + bias + tanh"],
            _ => ["matmul + activation", "matmul + bias + activation"],
        };
        names[usize::from(self.bias)]
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, b] = check_inputs(&inputs[..inputs.len().min(2)])?;
        let sides = self.sides(&a, &b)?;
        let [[rows, k], [depth, cols]] = sides.map(Side::shape);
        if k != depth {
            let of = if self.transposed[1] { "columns" } else { "rows" };
            let expected = format!("{k} {of}");
            return Err(Error::shape("second operand", expected, b));
        }
        match a.dims() {
            [outer @ .., _] if outer.len() > 1 => {
                let mut dims = outer.to_vec();
                dims.push(cols);
                Shape::new(&dims)
            }
            _ => Shape::new(&[rows, cols]),
        }
    }

    fn uses(&self) -> Uses {
        Uses { inputs: true, output: self.activation != Activation::Identity }
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let [a, b] = self.sides(&inputs[0].shape, &inputs[1].shape)?;
        let y = MatMut::new(y, a.shape()[0], b.shape()[1])?;
        let mut product = Gemm::new(a.view(inputs[0].data)?, b.view(inputs[1].data)?)?
            .activation(self.activation)
            .precision(pass.precision);
        if self.bias {
            product = product.bias(inputs[2].data);
        }
        match &mut self.moments {
            Some(moments) => product.run_with_moments(y, moments, pass.exec),
            None => product.run(y, pass.exec),
        }
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let [a, b] = self.sides(&saved.inputs[0].shape, &saved.inputs[1].shape)?;
        let [rows, cols] = [a.shape()[0], b.shape()[1]];
        let mut dz = saved.dy;
        if self.activation != Activation::Identity {
            self.dz.resize(dz.len(), T::ZERO);
            let y = saved.output.data;
            ActivateBackward::new(self.activation, y, saved.dy, &mut self.dz)?.run(pass.exec)?;
            dz = &self.dz;
        }
        let dz = MatRef::new(dz, rows, cols)?;
        if let Some(Some(db)) = dx.get_mut(2) {
            let (shape, bias) = (saved.output.shape, saved.inputs[2].shape);
            let axes = stretched(&shape, &bias);
            sum_axes((dz.data(), &shape), &axes, db, &mut self.space, pass.exec)?;
        }
        if let Some(db) = &mut dx[1] {
            b.write([a.view(saved.inputs[0].data)?.t(), dz], db, pass)?;
        }
        if let Some(da) = &mut dx[0] {
            a.write([dz, b.view(saved.inputs[1].data)?.t()], da, pass)?;
        }
        Ok(())
    }

    fn flops(&self, inputs: &[Shape], output: &Shape) -> u64 {
        let depth = self.sides(&inputs[0], &inputs[1]).map_or(0, |[a, _]| a.shape()[1]);
        2 * depth as u64 * output.len() as u64
    }

    fn backward_flops(&self, inputs: &[Shape], output: &Shape, wanted: &[bool]) -> u64 {
        let len = output.len() as u64;
        let products = wanted.iter().take(2).filter(|wanted| **wanted).count() as u64;
        let bias = if wanted.get(2) == Some(&true) { len } else { 0 };
        let activation = if self.activation == Activation::Identity { 0 } else { len };
        products * self.flops(inputs, output) + bias + activation
    }
}
