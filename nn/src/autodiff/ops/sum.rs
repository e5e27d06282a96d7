//! Sums and means over axes.

use tilewise_kernels::{Error, Float, Result};

use crate::autodiff::broadcast::{Axes, SumSpace, sum_axes, update};
use crate::autodiff::elementwise::Share;
use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::{MAX_RANK, Shape};
use crate::layers::Pass;

/// The sum, or the mean, over some axes or all.
#[derive(Debug)]
pub(in crate::autodiff) struct Sum<T> {
    /// `None` for all.
    axes: Option<Vec<usize>>,
    mean: bool,
    space: SumSpace<T>,
}

impl<T: Float> Sum<T> {
    pub(in crate::autodiff) fn new(axes: Option<&[usize]>, mean: bool) -> Self {
        Self { axes: axes.map(<[usize]>::to_vec), mean, space: SumSpace::default() }
    }

    fn mask(&self, rank: usize) -> Axes {
        match &self.axes {
            None => std::array::from_fn(|axis| axis < rank),
            Some(axes) => std::array::from_fn(|axis| axes.contains(&axis)),
        }
    }

    /// The output's shape with extents of 1 where axes were summed.
    fn kept(&self, x: &Shape) -> Result<Shape> {
        let mask = self.mask(x.rank());
        let mut dims = [1; MAX_RANK];
        for (axis, dim) in x.dims().iter().enumerate().filter(|(axis, _)| !mask[*axis]) {
            dims[axis] = *dim;
        }
        Shape::new(&dims[..x.rank()])
    }

    /// How many elements become one.
    fn count(&self, x: &Shape) -> T {
        let mask = self.mask(x.rank());
        let summed = x.dims().iter().enumerate().filter(|(axis, _)| mask[*axis]);
        T::from_usize(summed.map(|(_, dim)| dim).product())
    }
}

impl<T: Float> Op<T> for Sum<T> {
    fn name(&self) -> &'static str {
        if self.mean { "mean" } else { "sum" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        if let Some(axis) = self.axes.iter().flatten().find(|axis| **axis >= x.rank()) {
            return Err(Error::value("axis", format!("one below {}", x.rank()), axis));
        }
        let mask = self.mask(x.rank());
        let (mut dims, mut rank) = ([0; MAX_RANK], 0);
        for (_, &dim) in x.dims().iter().enumerate().filter(|(axis, _)| !mask[*axis]) {
            dims[rank] = dim;
            rank += 1;
        }
        Shape::new(&dims[..rank])
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let View { data, shape, .. } = inputs[0];
        let axes = self.mask(shape.rank());
        sum_axes((data, &shape), &axes, y, &mut self.space, pass.exec)?;
        if self.mean {
            let count = self.count(&shape);
            y.iter_mut().for_each(|y| *y = *y / count);
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let shape = saved.inputs[0].shape;
        let dy = View { data: saved.dy, shape: self.kept(&shape)?, ..View::default() };
        let count = if self.mean { self.count(&shape) } else { T::ONE };
        update(Share(count), (dx, &shape), dy, pass.exec)
    }

    fn flops(&self, inputs: &[Shape], _: &Shape) -> u64 {
        inputs[0].len() as u64
    }
}
