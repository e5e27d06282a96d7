//! `+`, `-`, `*` and `/`, elementwise, with operands that are stretched as in numpy.

use tilewise_kernels::{Float, Result};

use crate::autodiff::broadcast::{SumSpace, stretched, sum_axes, update, zip};
use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::autodiff) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// One of the four.
#[derive(Debug)]
pub(in crate::autodiff) struct Binary<T> {
    pub(in crate::autodiff) kind: Arithmetic,
    /// The gradient by a stretched operand before it is summed.
    wide: Vec<T>,
    space: SumSpace<T>,
}

impl<T: Float> Binary<T> {
    pub(in crate::autodiff) fn new(kind: Arithmetic) -> Self {
        Self { kind, wide: Vec::new(), space: SumSpace::default() }
    }

    /// The derivative of the loss by operand `which`, as if it had the shape of the output.
    fn unreduced(&self, which: usize, saved: &Saved<'_, T>, dx: &mut [T]) {
        let shape = &saved.output.shape;
        let dy = View { data: saved.dy, shape: *shape, ..View::default() };
        let [a, b] = [saved.inputs[0], saved.inputs[1]];
        match (self.kind, which) {
            (Arithmetic::Sub, 1) => {
                dx.iter_mut().zip(saved.dy).for_each(|(dx, &dy)| *dx = -dy);
            }
            (Arithmetic::Add | Arithmetic::Sub, _) => dx.copy_from_slice(saved.dy),
            (Arithmetic::Mul, which) => {
                zip([dy, if which == 0 { b } else { a }], shape, dx, |dy, other| dy * other);
            }
            (Arithmetic::Div, 0) => zip([dy, b], shape, dx, |dy, b| dy / b),
            (Arithmetic::Div, _) => {
                // Not over b², which may overflow where the quotients do not.
                zip([a, b], shape, dx, |a, b| -(a / b) / b);
                update(dx, shape, dy, |slope, dy| slope * dy);
            }
        }
    }
}

impl<T: Float> Op<T> for Binary<T> {
    fn name(&self) -> &'static str {
        match self.kind {
            Arithmetic::Add => "add",
            Arithmetic::Sub => "sub",
            Arithmetic::Mul => "mul",
            Arithmetic::Div => "div",
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, b] = check_inputs(inputs)?;
        a.broadcast(&b)
    }

    fn uses(&self) -> Uses {
        match self.kind {
            Arithmetic::Add | Arithmetic::Sub => Uses::NOTHING,
            Arithmetic::Mul | Arithmetic::Div => Uses::INPUTS,
        }
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        let (a, b) = (inputs[0], inputs[1]);
        let shape = a.shape.broadcast(&b.shape)?;
        match self.kind {
            Arithmetic::Add => zip([a, b], &shape, y, |a, b| a + b),
            Arithmetic::Sub => zip([a, b], &shape, y, |a, b| a - b),
            Arithmetic::Mul => zip([a, b], &shape, y, |a, b| a * b),
            Arithmetic::Div => zip([a, b], &shape, y, |a, b| a / b),
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let shape = saved.output.shape;
        for (which, dx) in dx.iter_mut().enumerate() {
            let Some(dx) = dx else { continue };
            let axes = stretched(&shape, &saved.inputs[which].shape);
            if !axes.contains(&true) {
                self.unreduced(which, &saved, dx);
                continue;
            }
            if matches!(self.kind, Arithmetic::Add | Arithmetic::Sub) {
                sum_axes((saved.dy, &shape), &axes, dx, &mut self.space, pass.exec)?;
                if self.kind == Arithmetic::Sub && which == 1 {
                    dx.iter_mut().for_each(|dx| *dx = -*dx);
                }
                continue;
            }
            let mut wide = std::mem::take(&mut self.wide);
            wide.resize(shape.len(), T::ZERO);
            self.unreduced(which, &saved, &mut wide);
            let summed = sum_axes((&wide, &shape), &axes, dx, &mut self.space, pass.exec);
            self.wide = wide;
            summed?;
        }
        Ok(())
    }
}
