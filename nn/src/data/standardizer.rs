//! Features with mean 0 and variance 1.

use tilewise_kernels::{ColumnMeanVar, Exec, Float};

use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Shift and scale of each feature, taken from training data and applied to all other data.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardizer<T = f32> {
    mean: Vec<T>,
    /// 1/σ, or 0 for a feature that is constant in the training data.
    scale: Vec<T>,
}

impl<T: Float> Standardizer<T> {
    /// Mean and variance (1/m Σ (x - mean)²) of each column of the training data.
    ///
    /// # Errors
    /// If there are no rows or a feature is not finite.
    pub fn fit(x: &Matrix<T>) -> Result<Self> {
        if x.rows() == 0 {
            return Err(Error::shape("features", "at least one row", "none"));
        }
        check_finite(x, "features")?;
        let mut mean = vec![T::ZERO; x.cols()];
        let mut scale = mean.clone();
        ColumnMeanVar::new(x.view(), &mut mean, &mut scale)?.run(Exec::default())?;
        for (column, scale) in scale.iter_mut().enumerate() {
            // A rounded mean would leave a constant feature a variance that is not quite 0.
            let first = x.row(0)[column];
            let constant = (1..x.rows()).all(|row| x.row(row)[column] == first);
            *scale = if constant || *scale == T::ZERO { T::ZERO } else { T::ONE / scale.sqrt() };
        }
        Ok(Self { mean, scale })
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.mean.len()
    }

    /// Mean and 1/σ of each feature; 0 for σ = 0.
    pub(crate) fn parts(&self) -> (&[T], &[T]) {
        (&self.mean, &self.scale)
    }

    /// What [`parts`](Self::parts) gave.
    pub(crate) fn from_parts(mean: Vec<T>, scale: Vec<T>) -> Self {
        Self { mean, scale }
    }

    /// `(x - mean) / σ`; 0 for a feature that was constant.
    ///
    /// # Errors
    /// If the number of columns differs from that of the training data.
    pub fn transform(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        self.check_columns(x)?;
        let mut scaled = x.clone();
        for row in 0..x.rows() {
            let statistics = self.mean.iter().zip(&self.scale);
            for (value, (&mean, &scale)) in scaled.row_mut(row).iter_mut().zip(statistics) {
                *value = (*value - mean) * scale;
            }
        }
        Ok(scaled)
    }

    /// `x·σ + mean`: back from what [`transform`](Self::transform) gave; the mean for a feature that was
    /// constant.
    ///
    /// # Errors
    /// If the number of columns differs from that of the training data.
    pub fn restore(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        self.check_columns(x)?;
        let mut restored = x.clone();
        for row in 0..x.rows() {
            let statistics = self.mean.iter().zip(&self.scale);
            for (value, (&mean, &scale)) in restored.row_mut(row).iter_mut().zip(statistics) {
                *value = if scale == T::ZERO { mean } else { *value / scale + mean };
            }
        }
        Ok(restored)
    }

    fn check_columns(&self, x: &Matrix<T>) -> Result<()> {
        if x.cols() == self.mean.len() {
            return Ok(());
        }
        let columns = |n| format!("{n} columns");
        Err(Error::shape("features", columns(self.mean.len()), columns(x.cols())))
    }
}

/// Checks that all of `x` is finite; the error names row and column.
pub(crate) fn check_finite<T: Float>(x: &Matrix<T>, what: &str) -> Result<()> {
    match x.first_not_finite() {
        None => Ok(()),
        Some((row, column)) => Err(Error::argument(
            format!("{what}, row {row}, column {column}"),
            "a finite value",
            x.row(row)[column],
        )),
    }
}
