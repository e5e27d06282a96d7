//! `+`, `-`, `*` and `/`, elementwise, with operands that are stretched as in numpy.

use tilewise_kernels::{Exec, Float, Result};

use crate::autodiff::broadcast::{SumSpace, stretched, sum_axes, update, zip};
use crate::autodiff::elementwise::{Minus, Negative, Over, OverSlope, Plus, Times, map};
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
    fn unreduced(
        &self,
        which: usize,
        saved: &Saved<'_, T>,
        dx: &mut [T],
        exec: Exec,
    ) -> Result<()> {
        let shape = &saved.output.shape;
        let dy = View { data: saved.dy, shape: *shape, ..View::default() };
        let [a, b] = [saved.inputs[0], saved.inputs[1]];
        match (self.kind, which) {
            (Arithmetic::Sub, 1) => map(Negative, saved.dy, dx, exec),
            (Arithmetic::Add | Arithmetic::Sub, _) => {
                dx.copy_from_slice(saved.dy);
                Ok(())
            }
            (Arithmetic::Mul, 0) => zip(Times, [dy, b], (dx, shape), exec),
            (Arithmetic::Mul, _) => zip(Times, [dy, a], (dx, shape), exec),
            (Arithmetic::Div, 0) => zip(Over, [dy, b], (dx, shape), exec),
            (Arithmetic::Div, _) => {
                zip(OverSlope, [a, b], (&mut *dx, shape), exec)?;
                update(Times, (dx, shape), dy, exec)
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

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let (a, b) = (inputs[0], inputs[1]);
        let shape = a.shape.broadcast(&b.shape)?;
        match self.kind {
            Arithmetic::Add => zip(Plus, [a, b], (y, &shape), pass.exec),
            Arithmetic::Sub => zip(Minus, [a, b], (y, &shape), pass.exec),
            Arithmetic::Mul => zip(Times, [a, b], (y, &shape), pass.exec),
            Arithmetic::Div => zip(Over, [a, b], (y, &shape), pass.exec),
        }
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
                self.unreduced(which, &saved, dx, pass.exec)?;
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
            let outcome = self
                .unreduced(which, &saved, &mut wide, pass.exec)
                .and_then(|()| sum_axes((&wide, &shape), &axes, dx, &mut self.space, pass.exec));
            self.wide = wide;
            outcome?;
        }
        Ok(())
    }
}
