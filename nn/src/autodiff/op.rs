//! What an operation is: the interface that those of the crate and those of users share.

use std::any::Any;
use std::fmt::Debug;

use tilewise_kernels::{Error, Float, Result};

use super::shape::Shape;
use crate::layers::Pass;

/// The most inputs of an operation.
pub const MAX_INPUTS: usize = 8;

/// A borrowed input or output of an operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct View<'a, T> {
    /// All elements, row-major; none where the operation said that it does not use them.
    pub data: &'a [T],
    /// For class labels, which have no `data`: one index per example.
    pub labels: &'a [usize],
    /// The extents.
    pub shape: Shape,
}

/// Which values of the forward pass the backward pass reads. What nobody uses is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uses {
    /// The inputs.
    pub inputs: bool,
    /// The output.
    pub output: bool,
}

impl Uses {
    /// Nothing but the gradient by the output.
    pub const NOTHING: Self = Self { inputs: false, output: false };
    /// The inputs.
    pub const INPUTS: Self = Self { inputs: true, output: false };
    /// The output.
    pub const OUTPUT: Self = Self { inputs: false, output: true };
    /// Both.
    pub const ALL: Self = Self { inputs: true, output: true };
}

/// What the backward pass is given.
#[derive(Debug)]
pub struct Saved<'a, T> {
    /// The inputs of the forward pass. Without data unless [`Op::uses`] asks for it, but for labels.
    pub inputs: &'a [View<'a, T>],
    /// Its output; without data unless [`Op::uses`] asks for it.
    pub output: View<'a, T>,
    /// The derivative of the loss by the output.
    pub dy: &'a [T],
}

/// Where the backward pass writes: for each input the derivative of the loss by it, or `None` where
/// nobody wants it. What is in there before means nothing.
pub type InputGradients<'a, 'b, T> = &'b mut [Option<&'a mut [T]>];

/// An operation with its derivative: the way to add one's own. A tape takes it with
/// [`Tape::apply`](super::Tape::apply); plans replay it as any other.
///
/// A value of the type serves one place of a computation: what the forward pass leaves in it is there in
/// the backward pass of the same step. Memory that it keeps from step to step is not allocated again.
///
/// ```
/// use tilewise_kernels::{Float, Result};
/// use tilewise_nn::autodiff::{InputGradients, Op, Saved, Shape, Tensor, Uses, View, check_gradients};
/// use tilewise_nn::layers::Pass;
///
/// /// y = x³, elementwise.
/// #[derive(Debug)]
/// struct Cube;
///
/// impl<T: Float> Op<T> for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
///         Ok(inputs[0])
///     }
///     fn uses(&self) -> Uses {
///         Uses::INPUTS
///     }
///     fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
///         for (y, &x) in y.iter_mut().zip(inputs[0].data) {
///             *y = x * x * x;
///         }
///         Ok(())
///     }
///     fn backward(&mut self, saved: Saved<'_, T>, dx: InputGradients<'_, '_, T>, _: Pass) -> Result<()> {
///         if let Some(dx) = &mut dx[0] {
///             for ((dx, &x), &dy) in dx.iter_mut().zip(saved.inputs[0].data).zip(saved.dy) {
///                 *dx = dy * T::from_f64(3.0) * x * x;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// let x = Tensor::new(vec![0.5, -1.0, 2.0], &[3])?;
/// let check = check_gradients(&[x], |x| x[0].tape().apply(Cube, &[x[0]]))?;
/// assert!(check.error < 1e-8);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
pub trait Op<T: Float>: Any + Debug + Send + Sync {
    /// The name in error messages and reports, such as `matmul`.
    fn name(&self) -> &'static str;

    /// The shape of the output for inputs of the given shapes; there are as many as the operation was
    /// applied to.
    ///
    /// # Errors
    /// If the shapes do not fit. The name and the shapes are added to the error.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// What the backward pass reads; everything unless told otherwise.
    fn uses(&self) -> Uses {
        Uses::ALL
    }

    /// Whether input number `input` is class labels, which have no data; elsewhere labels are an error.
    fn takes_labels(&self, _input: usize) -> bool {
        false
    }

    /// Writes the output `y`, which has the shape that [`shape`](Self::shape) gave.
    ///
    /// # Errors
    /// If values are outside their domain, such as labels.
    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()>;

    /// Writes the gradients by the inputs that are wanted.
    ///
    /// # Errors
    /// If values are outside their domain.
    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()>;

    /// Additions, multiplications and elementary functions of the forward pass, for reports.
    fn flops(&self, _inputs: &[Shape], output: &Shape) -> u64 {
        output.len() as u64
    }

    /// The same of the backward pass, for the inputs whose gradients are `wanted`: as many as forward for
    /// each, unless told otherwise.
    fn backward_flops(&self, inputs: &[Shape], output: &Shape, wanted: &[bool]) -> u64 {
        let count = wanted.iter().filter(|wanted| **wanted).count();
        self.flops(inputs, output) * count as u64
    }
}

/// `error` of an operation called `name`, with the shapes that it was given.
pub(super) fn named(error: Error, name: &str, inputs: &[Shape]) -> Error {
    let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
    error.within(format!("{name} of {}", shapes.join(" and ")))
}

/// Checks the number of inputs of an operation.
pub(super) fn check_inputs<const N: usize>(inputs: &[Shape]) -> Result<[Shape; N]> {
    inputs.try_into().map_err(|_| Error::shape("inputs", N, inputs.len()))
}
