//! Elementary functions of one operand.

use tilewise_kernels::{Exp, Float, Ln, Result};

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

/// `x` to the power of `n`, by repeated squaring.
fn powi<T: Float>(x: T, n: i32) -> T {
    let (mut result, mut square, mut left) = (T::ONE, x, n.unsigned_abs());
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        left >>= 1;
        if left > 0 {
            square *= square;
        }
    }
    if n < 0 { T::ONE / result } else { result }
}

fn map<T: Float>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
}

fn map2<T: Float>(a: &[T], b: &[T], y: &mut [T], f: impl Fn(T, T) -> T) {
    y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f(a, b));
}

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
            Elementary::Neg => map(x, y, |x| -x),
            Elementary::Exp => Exp::new(x, y)?.run(pass.exec)?,
            Elementary::Ln => Ln::new(x, y)?.run(pass.exec)?,
            Elementary::Sqrt => map(x, y, T::sqrt),
            Elementary::Square => map(x, y, |x| x * x),
            Elementary::Powi(n) => map(x, y, |x| powi(x, n)),
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let (x, y, dy) = (saved.inputs[0].data, saved.output.data, saved.dy);
        match self.0 {
            Elementary::Neg => map(dy, dx, |dy| -dy),
            Elementary::Exp => map2(y, dy, dx, |y, dy| dy * y),
            Elementary::Ln => map2(x, dy, dx, |x, dy| dy / x),
            Elementary::Sqrt => map2(y, dy, dx, |y, dy| T::HALF * dy / y),
            Elementary::Square => map2(x, dy, dx, |x, dy| dy * (x + x)),
            // Not 0 times an infinity at x = 0.
            Elementary::Powi(0) => dx.fill(T::ZERO),
            Elementary::Powi(n) => {
                let factor = T::from_f64(f64::from(n));
                // The least power has none below it, but no number survives it either.
                map2(x, dy, dx, |x, dy| dy * (factor * powi(x, n.saturating_sub(1))));
            }
        }
        Ok(())
    }
}
