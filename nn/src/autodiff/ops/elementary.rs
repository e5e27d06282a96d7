//! Elementary functions of one operand.

use tilewise_kernels::{Exp, Float, Ln, Result};

use crate::autodiff::elementwise::{
    Negative, Over, Power, PowerSlope, Root, SqrtSlope, SquareSlope, Times, map, zip,
};
use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::autodiff) enum Elementary {
    Neg,
    Exp,
    Ln,
    Sqrt,
    Square,
    Powi(i32),
}

/// One of the functions.
#[derive(Debug)]
pub(in crate::autodiff) struct Unary(pub(in crate::autodiff) Elementary);

impl<T: Float> Op<T> for Unary {
    fn name(&self) -> &'static str {
        match self.0 {
            Elementary::Neg => "neg",
            Elementary::Exp => "exp",
            Elementary::Ln => "ln",
            Elementary::Sqrt => "sqrt",
            Elementary::Square => "square",
            Elementary::Powi(_) => "powi",
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        Ok(x)
    }

    fn uses(&self) -> Uses {
        match self.0 {
            Elementary::Neg => Uses::NOTHING,
            Elementary::Exp | Elementary::Sqrt => Uses::OUTPUT,
            Elementary::Ln | Elementary::Square | Elementary::Powi(_) => Uses::INPUTS,
        }
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let x = inputs[0].data;
        match self.0 {
            Elementary::Neg => map(Negative, x, y, pass.exec),
            Elementary::Exp => Exp::new(x, y)?.run(pass.exec),
            Elementary::Ln => Ln::new(x, y)?.run(pass.exec),
            Elementary::Sqrt => map(Root, x, y, pass.exec),
            Elementary::Square => zip(Times, [x, x], y, pass.exec),
            Elementary::Powi(n) => map(Power(n), x, y, pass.exec),
        }
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let (x, y, dy) = (saved.inputs[0].data, saved.output.data, saved.dy);
        match self.0 {
            Elementary::Neg => map(Negative, dy, dx, pass.exec),
            Elementary::Exp => zip(Times, [y, dy], dx, pass.exec),
            Elementary::Ln => zip(Over, [dy, x], dx, pass.exec),
            Elementary::Sqrt => zip(SqrtSlope, [y, dy], dx, pass.exec),
            Elementary::Square => zip(SquareSlope, [x, dy], dx, pass.exec),
            // Not 0 times an infinity at x = 0.
            Elementary::Powi(0) => {
                dx.fill(T::ZERO);
                Ok(())
            }
            Elementary::Powi(n) => zip(PowerSlope(n), [x, dy], dx, pass.exec),
        }
    }
}
