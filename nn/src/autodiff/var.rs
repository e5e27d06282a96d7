//! Values on a tape, and everything that can be done with them.

use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};

use tilewise_kernels::{Activation, Dropout as Masks, Float};

use super::op::Op;
use super::ops::{
    Activated, Arithmetic, BatchNorm, Binary, Concat, CrossEntropy, Dropout, Elementary,
    LogSoftmax, MatMul, Permute, Reshape, Slice, Sum, Unary,
};
use super::shape::Shape;
use super::tape::{FAILED, Gradients, Tape};
use super::tensor::Tensor;
use crate::error::Result;

/// A value on a [`Tape`].
///
/// Operators and methods record an operation and run it. Those of two values stretch them as numpy does.
/// Errors come out of [`value`](Self::value), [`shape`](Self::shape) and [`gradients`](Self::gradients).
pub struct Var<'t, T: Float = f32> {
    pub(super) tape: &'t Tape<T>,
    pub(super) id: usize,
}

impl<T: Float> Clone for Var<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Float> Copy for Var<'_, T> {}

impl<T: Float> fmt::Debug for Var<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape() {
            Ok(shape) => write!(f, "value {} of shape {shape}", self.id),
            Err(error) => write!(f, "no value: {error}"),
        }
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The tape it is on.
    pub fn tape(self) -> &'t Tape<T> {
        self.tape
    }

    /// A copy of the value.
    ///
    /// # Errors
    /// The first error of the tape, if this could not be computed because of it.
    pub fn value(self) -> Result<Tensor<T>> {
        self.check()?;
        let node = &self.tape.nodes.borrow()[self.id];
        if node.is_labels() {
            return Err(crate::Error::argument("value", "numbers", "class labels"));
        }
        Ok(Tensor::of_shape(node.data.clone(), node.shape))
    }

    /// The only element, for branches on it.
    ///
    /// # Errors
    /// As [`value`](Self::value), and if there is not exactly one element.
    pub fn item(self) -> Result<T> {
        self.value()?.item()
    }

    /// The shape.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn shape(self) -> Result<Shape> {
        self.check()?;
        Ok(self.tape.nodes.borrow()[self.id].shape)
    }

    /// The derivatives of this value, a single element, by everything watched that it was computed from.
    ///
    /// # Errors
    /// As [`value`](Self::value); if there is more than one element; or if the tape gave gradients before
    /// and is not [persistent](Tape::persistent).
    pub fn gradients(self) -> Result<Gradients<T>> {
        self.check()?;
        self.tape.gradients(self.id)
    }

    /// Gives it a name under which a plan keeps it to be read after every run.
    #[must_use]
    pub fn output(self, name: &str) -> Self {
        if self.id != FAILED {
            self.tape.nodes.borrow_mut()[self.id].output = Some(name.to_owned());
        }
        self
    }

    pub(super) fn check(self) -> Result<()> {
        if self.id == FAILED { Err(self.tape.failure()) } else { Ok(()) }
    }

    fn unary(self, op: impl Op<T>) -> Self {
        self.tape.apply(op, &[self])
    }

    fn binary(self, kind: Arithmetic, other: Self) -> Self {
        self.tape.apply(Binary::new(kind), &[self, other])
    }

    /// The matrix product. Axes of the first operand before the last two count as rows.
    #[must_use]
    pub fn matmul(self, other: Self) -> Self {
        self.tape.apply(MatMul::new([false, false]), &[self, other])
    }

    /// The matrix product with the transpose of `other`, `self·otherᵀ`: what a linear layer computes whose
    /// weights are stored as outputs x inputs.
    #[must_use]
    pub fn matmul_t(self, other: Self) -> Self {
        self.tape.apply(MatMul::new([false, true]), &[self, other])
    }

    /// The matrix product of the transpose with `other`, `selfᵀ·other`.
    #[must_use]
    pub fn t_matmul(self, other: Self) -> Self {
        self.tape.apply(MatMul::new([true, false]), &[self, other])
    }

    /// e to the power of each element.
    #[must_use]
    pub fn exp(self) -> Self {
        self.unary(Unary(Elementary::Exp))
    }

    /// The natural logarithm of each element.
    #[must_use]
    pub fn ln(self) -> Self {
        self.unary(Unary(Elementary::Ln))
    }

    /// The square root of each element.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.unary(Unary(Elementary::Sqrt))
    }

    /// The square of each element.
    #[must_use]
    pub fn square(self) -> Self {
        self.unary(Unary(Elementary::Square))
    }

    /// Each element to the power of `n`; x⁰ is 1.
    #[must_use]
    pub fn powi(self, n: i32) -> Self {
        self.unary(Unary(Elementary::Powi(n)))
    }

    /// An activation function of each element.
    #[must_use]
    pub fn activation(self, f: Activation) -> Self {
        self.unary(Activated(f))
    }

    /// max(x, 0).
    #[must_use]
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    /// 1 / (1 + e⁻ˣ).
    #[must_use]
    pub fn sigmoid(self) -> Self {
        self.activation(Activation::Sigmoid)
    }

    /// The hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.activation(Activation::Tanh)
    }

    /// x Φ(x), with the normal distribution Φ.
    #[must_use]
    pub fn gelu(self) -> Self {
        self.activation(Activation::Gelu)
    }

    /// x / (1 + e⁻ˣ).
    #[must_use]
    pub fn silu(self) -> Self {
        self.activation(Activation::Silu)
    }

    /// The sum of all elements.
    #[must_use]
    pub fn sum(self) -> Self {
        self.unary(Sum::new(None, false))
    }

    /// The mean of all elements.
    #[must_use]
    pub fn mean(self) -> Self {
        self.unary(Sum::new(None, true))
    }

    /// The sums over `axes`, which disappear.
    #[must_use]
    pub fn sum_over(self, axes: &[usize]) -> Self {
        self.unary(Sum::new(Some(axes), false))
    }

    /// The means over `axes`, which disappear.
    #[must_use]
    pub fn mean_over(self, axes: &[usize]) -> Self {
        self.unary(Sum::new(Some(axes), true))
    }

    /// The same elements in another shape.
    #[must_use]
    pub fn reshape(self, dims: &[usize]) -> Self {
        self.unary(Reshape(dims.to_vec()))
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transpose(self) -> Self {
        self.permute(&[1, 0])
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]` of this.
    #[must_use]
    pub fn permute(self, order: &[usize]) -> Self {
        self.unary(Permute(order.to_vec()))
    }

    /// `count` neighbouring indices of `axis` from `first` on.
    #[must_use]
    pub fn slice(self, axis: usize, first: usize, count: usize) -> Self {
        self.unary(Slice { axis, first, count })
    }

    /// This and `others` behind one another along `axis`.
    #[must_use]
    pub fn concat(self, others: &[Self], axis: usize) -> Self {
        let mut all = vec![self];
        all.extend_from_slice(others);
        self.tape.apply(Concat(axis), &all)
    }

    /// The logarithm of the softmax along the last axis.
    #[must_use]
    pub fn log_softmax(self) -> Self {
        self.unary(LogSoftmax)
    }

    /// The mean softmax cross-entropy of these logits, a row per example, with
    /// [`labels`](Tape::labels). [`CrossEntropy`] has options.
    #[must_use]
    pub fn softmax_cross_entropy(self, labels: Self) -> Self {
        self.tape.apply(CrossEntropy::default(), &[self, labels])
    }

    /// Batch normalisation by the statistics of this batch; axis 1 holds the channels.
    #[must_use]
    pub fn batch_norm(self, gamma: Self, beta: Self, epsilon: f64) -> Self {
        self.tape.apply(BatchNorm::new(epsilon), &[self, gamma, beta])
    }

    /// Sets each element to 0 with probability `rate` and divides the others by what is left of 1, so that
    /// the mean stays. Which ones is a function of `seed` and of the number of the step
    /// ([`Tape::step`]; a plan counts its runs from 1).
    #[must_use]
    pub fn dropout(self, rate: f64, seed: u64) -> Self {
        match Masks::new(rate, seed) {
            Ok(masks) => self.unary(Dropout(masks)),
            Err(error) => self.tape.failed(error),
        }
    }

    /// What it is given where a number meets it.
    fn number(self, value: T) -> Self {
        if self.id == FAILED { self } else { self.tape.constant(Tensor::scalar(value)) }
    }
}

/// `a + b`.
pub fn add<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    a.binary(Arithmetic::Add, b)
}

/// `a - b`.
pub fn sub<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    a.binary(Arithmetic::Sub, b)
}

/// `a * b`, elementwise.
pub fn mul<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    a.binary(Arithmetic::Mul, b)
}

/// `a / b`, elementwise.
pub fn div<'t, T: Float>(a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
    a.binary(Arithmetic::Div, b)
}

/// `-a`.
pub fn neg<T: Float>(a: Var<'_, T>) -> Var<'_, T> {
    a.unary(Unary(Elementary::Neg))
}

impl<T: Float> Neg for Var<'_, T> {
    type Output = Self;

    fn neg(self) -> Self {
        neg(self)
    }
}

/// An operator between two values, and between a value and a number.
macro_rules! operator {
    ($op:ident, $name:ident) => {
        impl<T: Float> $op for Var<'_, T> {
            type Output = Self;

            fn $name(self, other: Self) -> Self {
                $name(self, other)
            }
        }

        impl<T: Float> $op<T> for Var<'_, T> {
            type Output = Self;

            fn $name(self, number: T) -> Self {
                $name(self, self.number(number))
            }
        }

        operator!($op, $name, f32);
        operator!($op, $name, f64);
    };
    ($op:ident, $name:ident, $t:ident) => {
        impl<'t> $op<Var<'t, $t>> for $t {
            type Output = Var<'t, $t>;

            fn $name(self, value: Var<'t, $t>) -> Var<'t, $t> {
                $name(value.number(self), value)
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);
