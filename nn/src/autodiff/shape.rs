//! Shapes: extents of a tensor, and how they broadcast.

use std::fmt;

use tilewise_kernels::{Error, ErrorKind, Result};

/// The most axes that a tensor may have.
pub const MAX_RANK: usize = 8;

/// The extents of a tensor, outermost first; none at all for a scalar. Lives on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape of a single number.
    pub const SCALAR: Self = Self { dims: [0; MAX_RANK], rank: 0 };

    /// A shape of the given extents.
    ///
    /// # Errors
    /// If there are more than [`MAX_RANK`], or their product overflows.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::shape("tensor", format!("at most {MAX_RANK} axes"), dims.len()));
        }
        // Without the zeros, so that no later product of some extents can overflow either.
        let product = dims.iter().filter(|&&d| d > 0).try_fold(1_usize, |a, &d| a.checked_mul(d));
        if product.is_none() {
            let expected = "a size that fits the address space";
            return Err(Error::new(ErrorKind::Overflow, "tensor", expected, format!("{dims:?}")));
        }
        let mut shape = Self { rank: dims.len(), ..Self::SCALAR };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The shape of `len` elements behind one another.
    pub(super) fn line(len: usize) -> Self {
        let mut dims = [0; MAX_RANK];
        dims[0] = len;
        Self { dims, rank: 1 }
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of elements; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and columns of the matrix that it is.
    ///
    /// # Errors
    /// If it has not two axes; `what` names it in the error.
    pub fn matrix(&self, what: &str) -> Result<[usize; 2]> {
        match *self.dims() {
            [rows, cols] => Ok([rows, cols]),
            _ => Err(Error::shape(what, "a matrix", self)),
        }
    }

    /// The shape of an elementwise result, by numpy's rules: shapes are aligned at their last axes, and
    /// an extent of 1, or none, stretches to the other's.
    ///
    /// # Errors
    /// If two extents differ and neither is 1.
    pub fn broadcast(&self, other: &Self) -> Result<Self> {
        let rank = self.rank.max(other.rank);
        let mut dims = [0; MAX_RANK];
        for (axis, dim) in dims[..rank].iter_mut().enumerate() {
            *dim = match (self.aligned(axis, rank), other.aligned(axis, rank)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => {
                    let expected = format!("a shape that broadcasts with {self}");
                    return Err(Error::shape("second operand", expected, other));
                }
            };
        }
        Self::new(&dims[..rank])
    }

    /// The extent at `axis` of `rank` axes, of which this shape has the last ones.
    pub(super) fn aligned(&self, axis: usize, rank: usize) -> usize {
        (axis + self.rank).checked_sub(rank).map_or(1, |own| self.dims[own])
    }

    /// Distance in memory of neighbours along each axis of `to`, 0 where this shape is stretched.
    pub(super) fn strides_in(&self, to: &Self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut next = 1;
        for axis in (0..to.rank).rev() {
            let extent = self.aligned(axis, to.rank);
            strides[axis] = if extent == 1 { 0 } else { next };
            next *= extent;
        }
        strides
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
