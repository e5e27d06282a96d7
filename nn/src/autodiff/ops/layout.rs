//! Operations that move elements and compute nothing.

use tilewise_kernels::{Error, Float, Result};

use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::{MAX_RANK, Shape};
use crate::layers::Pass;

/// The same elements in another shape.
#[derive(Debug)]
pub(in crate::autodiff) struct Reshape(pub(in crate::autodiff) Vec<usize>);

impl<T: Float> Op<T> for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        let to = Shape::new(&self.0)?;
        if to.len() == x.len() {
            return Ok(to);
        }
        let expected = format!("{} elements, as the input has", x.len());
        Err(Error::shape("new shape", expected, format!("{} for {to}", to.len())))
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        y.copy_from_slice(inputs[0].data);
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        if let Some(dx) = &mut dx[0] {
            dx.copy_from_slice(saved.dy);
        }
        Ok(())
    }

    fn flops(&self, _: &[Shape], _: &Shape) -> u64 {
        0
    }
}

/// The axes in another order: axis `i` of the output is axis `order[i]` of the input.
#[derive(Debug)]
pub(in crate::autodiff) struct Permute(pub(in crate::autodiff) Vec<usize>);

impl Permute {
    /// Calls `visit` for every element with its place in the output and in the input.
    fn each(&self, x: &Shape, mut visit: impl FnMut(usize, usize)) {
        let mut strides = [1; MAX_RANK];
        for axis in (0..x.rank().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * x.dims()[axis + 1];
        }
        let (mut index, mut from) = ([0; MAX_RANK], 0);
        for to in 0..x.len() {
            visit(to, from);
            for (place, &axis) in self.0.iter().enumerate().rev() {
                index[place] += 1;
                from += strides[axis];
                if index[place] < x.dims()[axis] {
                    break;
                }
                from -= strides[axis] * index[place];
                index[place] = 0;
            }
        }
    }
}

impl<T: Float> Op<T> for Permute {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            let expected = format!("each of 0..{} once", x.rank());
            return Err(Error::value("order of axes", expected, format!("{:?}", self.0)));
        }
        let mut dims = [0; MAX_RANK];
        for (dim, &axis) in dims.iter_mut().zip(&self.0) {
            *dim = x.dims()[axis];
        }
        Shape::new(&dims[..x.rank()])
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        self.each(&inputs[0].shape, |to, from| y[to] = inputs[0].data[from]);
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        if let Some(dx) = &mut dx[0] {
            self.each(&saved.inputs[0].shape, |to, from| dx[from] = saved.dy[to]);
        }
        Ok(())
    }

    fn flops(&self, _: &[Shape], _: &Shape) -> u64 {
        0
    }
}

/// What is before an axis, its extent, and what is behind it.
fn around(shape: &Shape, axis: usize) -> [usize; 3] {
    let dims = shape.dims();
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

fn check_axis(axis: usize, x: &Shape) -> Result<()> {
    if axis < x.rank() {
        return Ok(());
    }
    Err(Error::value("axis", format!("one below {}", x.rank()), axis))
}

/// Several tensors behind one another along an axis.
#[derive(Debug)]
pub(in crate::autodiff) struct Concat(pub(in crate::autodiff) usize);

impl Concat {
    /// The stretch of each outer index of the output that comes from input `which`: where it begins and
    /// how long it is, and the length of the whole.
    fn stretch(&self, shapes: &[View<'_, impl Float>], which: usize) -> [usize; 3] {
        let width = |view: &View<'_, _>| around(&view.shape, self.0)[1..].iter().product::<usize>();
        let before = shapes[..which].iter().map(width).sum();
        [before, width(&shapes[which]), shapes.iter().map(width).sum()]
    }
}

impl<T: Float> Op<T> for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Some(first) = inputs.first() else {
            return Err(Error::shape("inputs", "at least one", "none"));
        };
        check_axis(self.0, first)?;
        let mut dims = [0; MAX_RANK];
        dims[..first.rank()].copy_from_slice(first.dims());
        for (number, other) in inputs.iter().enumerate().skip(1) {
            let fits = other.rank() == first.rank()
                && (0..first.rank()).all(|a| a == self.0 || other.dims()[a] == first.dims()[a]);
            if !fits {
                let expected = format!("the extents of {first} but along axis {}", self.0);
                return Err(Error::shape(format!("input {number}"), expected, other));
            }
            dims[self.0] += other.dims()[self.0];
        }
        Shape::new(&dims[..first.rank()])
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        for (which, x) in inputs.iter().enumerate() {
            let [at, len, all] = self.stretch(inputs, which);
            if len > 0 {
                let rows = y.chunks_exact_mut(all).zip(x.data.chunks_exact(len));
                rows.for_each(|(y, x)| y[at..at + len].copy_from_slice(x));
            }
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        for (which, dx) in dx.iter_mut().enumerate() {
            let Some(dx) = dx else { continue };
            let [at, len, all] = self.stretch(saved.inputs, which);
            if len > 0 {
                let rows = saved.dy.chunks_exact(all).zip(dx.chunks_exact_mut(len));
                rows.for_each(|(dy, dx)| dx.copy_from_slice(&dy[at..at + len]));
            }
        }
        Ok(())
    }

    fn flops(&self, _: &[Shape], _: &Shape) -> u64 {
        0
    }
}

/// Neighbouring indices of one axis.
#[derive(Debug)]
pub(in crate::autodiff) struct Slice {
    pub(in crate::autodiff) axis: usize,
    pub(in crate::autodiff) first: usize,
    pub(in crate::autodiff) count: usize,
}

impl<T: Float> Op<T> for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        check_axis(self.axis, &x)?;
        let extent = x.dims()[self.axis];
        if self.first.checked_add(self.count).is_none_or(|end| end > extent) {
            let expected = format!("indices below {extent} along axis {}", self.axis);
            return Err(Error::value("slice", expected, format!("{self:?}")));
        }
        let mut dims = [0; MAX_RANK];
        dims[..x.rank()].copy_from_slice(x.dims());
        dims[self.axis] = self.count;
        Shape::new(&dims[..x.rank()])
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        let [_, extent, inner] = around(&inputs[0].shape, self.axis);
        if !y.is_empty() {
            let rows = inputs[0].data.chunks_exact(extent * inner);
            let len = self.count * inner;
            rows.zip(y.chunks_exact_mut(len))
                .for_each(|(x, y)| y.copy_from_slice(&x[self.first * inner..][..len]));
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
        let [_, extent, inner] = around(&saved.inputs[0].shape, self.axis);
        dx.fill(T::ZERO);
        if !saved.dy.is_empty() {
            let len = self.count * inner;
            dx.chunks_exact_mut(extent * inner)
                .zip(saved.dy.chunks_exact(len))
                .for_each(|(dx, dy)| dx[self.first * inner..][..len].copy_from_slice(dy));
        }
        Ok(())
    }

    fn flops(&self, _: &[Shape], _: &Shape) -> u64 {
        0
    }
}
