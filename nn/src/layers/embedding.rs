//! Numbers of words (or of anything else that can be counted) as vectors.

use tilewise_kernels::{Error, Exec, Float, Result};

use super::{Layer, Parameter, ParameterKind, Pass, Saved};
use crate::matrix::Matrix;
use crate::random::Random;

/// A vector for each of `count` numbers. A row of numbers, `0.0`, `1.0` and so on, becomes the row of
/// their vectors. In `f32`, numbers are exact up to 2^24.
#[derive(Debug, Clone)]
pub struct Embedding<T = f32> {
    length: usize,
    count: usize,
    dim: usize,
    /// `[count, dim]`
    parameters: [Parameter<T>; 1],
}

impl<T: Float> Embedding<T> {
    /// Vectors of `dim` normal values for numbers below `count`, for rows of `length` numbers.
    ///
    /// # Errors
    /// If a size overflows.
    pub fn new(length: usize, [count, dim]: [usize; 2], seed: u64) -> crate::Result<Self> {
        Matrix::<T>::zeros(count, dim)?;
        let Some(_) = length.checked_mul(dim) else {
            return Err(crate::Error::argument("embedding", "fewer columns", length));
        };
        let mut weight = Parameter::new("weight", ParameterKind::Weight, &[count, dim], T::ZERO);
        let mut random = Random::new(seed);
        weight.value.iter_mut().for_each(|value| *value = T::from_f64(random.normal()));
        Ok(Self { length, count, dim, parameters: [weight] })
    }

    /// The number that `value` stands for.
    fn number(&self, value: T, [row, column]: [usize; 2]) -> Result<usize> {
        let number = value.to_f64();
        if number >= 0.0 && number < self.count as f64 && number.fract() == 0.0 {
            return Ok(number as usize);
        }
        let expected = format!("a whole number below {}", self.count);
        Err(Error::value(format!("input of row {row}, column {column}"), expected, value))
    }
}

impl<T: Float> Layer<T> for Embedding<T> {
    fn kind(&self) -> &'static str {
        "embedding"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        if input == self.length {
            return Ok(input * self.dim);
        }
        let columns = |n| format!("{n} columns");
        Err(Error::shape("input", columns(self.length), columns(input)))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        Layer::infer(self, x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, _exec: Exec) -> Result<()> {
        let vectors = &self.parameters[0].value;
        for row in 0..x.rows() {
            let places = y.row_mut(row).chunks_exact_mut(self.dim.max(1));
            for (column, (&value, place)) in x.row(row).iter().zip(places).enumerate() {
                let number = self.number(value, [row, column])?;
                place.copy_from_slice(&vectors[number * self.dim..][..self.dim]);
            }
        }
        Ok(())
    }

    /// The gradients of a number's vector are added up in the order in which it occurs. There is none by
    /// the numbers: `dx` becomes 0.
    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        _pass: Pass,
    ) -> Result<()> {
        let mut gradient = std::mem::take(&mut self.parameters[0].gradient);
        gradient.fill(T::ZERO);
        for row in 0..saved.x.rows() {
            let pieces = saved.dy.row(row).chunks_exact(self.dim.max(1));
            for (column, (&value, piece)) in saved.x.row(row).iter().zip(pieces).enumerate() {
                let number = self.number(value, [row, column])?;
                let sum = &mut gradient[number * self.dim..][..self.dim];
                sum.iter_mut().zip(piece).for_each(|(sum, dy)| *sum += *dy);
            }
        }
        self.parameters[0].gradient = gradient;
        if let Some(dx) = dx {
            dx.data_mut().fill(T::ZERO);
        }
        Ok(())
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}
