//! Owned row-major tensors.

use tilewise_kernels::Float;

use super::shape::Shape;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// An owned row-major tensor of up to [`MAX_RANK`](super::MAX_RANK) axes.
///
/// ```
/// use tilewise_nn::autodiff::Tensor;
/// let x = Tensor::new(vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// assert_eq!((x.dims(), x.data()[4]), (&[2, 3][..], 5.0));
/// assert_eq!(Tensor::scalar(2.5_f64).item()?, 2.5);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T = f32> {
    data: Vec<T>,
    shape: Shape,
}

impl<T: Float> Tensor<T> {
    /// A tensor over `data`, the last axis running fastest.
    ///
    /// # Errors
    /// If `data` has not exactly as many elements as the shape, or there are too many axes.
    pub fn new(data: Vec<T>, dims: &[usize]) -> Result<Self> {
        let shape = Shape::new(dims)?;
        if data.len() != shape.len() {
            let expected = format!("{} elements for {shape}", shape.len());
            return Err(Error::shape("tensor", expected, format!("{} elements", data.len())));
        }
        Ok(Self { data, shape })
    }

    /// A tensor whose elements are all `value`.
    ///
    /// # Errors
    /// If the size overflows or there are too many axes.
    pub fn full(value: T, dims: &[usize]) -> Result<Self> {
        let shape = Shape::new(dims)?;
        Ok(Self { data: vec![value; shape.len()], shape })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// As [`full`](Self::full).
    pub fn zeros(dims: &[usize]) -> Result<Self> {
        Self::full(T::ZERO, dims)
    }

    /// A single number, without axes.
    pub fn scalar(value: T) -> Self {
        Self { data: vec![value], shape: Shape::SCALAR }
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All elements.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All elements.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// All elements, to keep.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The only element.
    ///
    /// # Errors
    /// If there is not exactly one.
    pub fn item(&self) -> Result<T> {
        match self.data[..] {
            [value] => Ok(value),
            _ => Err(Error::shape("tensor", "a single element", self.shape)),
        }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If that has not as many elements.
    pub fn reshape(self, dims: &[usize]) -> Result<Self> {
        Self::new(self.data, dims)
    }

    pub(super) fn of_shape(data: Vec<T>, shape: Shape) -> Self {
        debug_assert_eq!(data.len(), shape.len());
        Self { data, shape }
    }
}

impl<T: Float> From<&Matrix<T>> for Tensor<T> {
    fn from(matrix: &Matrix<T>) -> Self {
        // A matrix has two axes and a size that was checked.
        let shape = Shape::new(&[matrix.rows(), matrix.cols()]).unwrap_or_default();
        Self { data: matrix.data().to_vec(), shape }
    }
}
