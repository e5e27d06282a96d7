//! What a training needs of data, and data whose targets are values.

use tilewise_kernels::Float;

use super::Dataset;
use crate::error::{Error, Result};
use crate::loss::Targets;
use crate::matrix::Matrix;
use crate::random::Random;

/// Features, one row per example, each with what a model should make of it.
pub trait Supervised<T: Float> {
    /// The features.
    fn features(&self) -> &Matrix<T>;

    /// What should come of each row.
    fn targets(&self) -> Targets<'_, T>;
}

impl<T: Float> Supervised<T> for Dataset<T> {
    fn features(&self) -> &Matrix<T> {
        self.features()
    }

    fn targets(&self) -> Targets<'_, T> {
        self.labels().into()
    }
}

/// Features, one row per example, each with the values that a regression should give.
///
/// ```
/// use tilewise_nn::data::Regression;
/// use tilewise_nn::prelude::*;
///
/// // y = 3·a - 2·b + 1
/// let x: Vec<f32> = (0..200).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
/// let y = x.chunks(2).map(|x| 3.0 * x[0] - 2.0 * x[1] + 1.0).collect();
/// let data = Regression::new(Matrix::new(x, 100, 2)?, Matrix::new(y, 100, 1)?)?;
/// let (train, test) = data.random_split(20, 1)?;
/// let mut model = Sequential::new().linear(2, 1).build(1)?;
/// let trainer = Trainer::new(Adam::default().learning_rate(0.1)).loss(MeanSquaredError);
/// trainer.epochs(60).batch_size(16).fit(&mut model, &train, &test)?;
/// let metrics = model.evaluate_with(&test, &MeanSquaredError)?;
/// assert!(metrics.loss < 1e-3 && metrics.accuracy > 0.99);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Regression<T = f32> {
    features: Matrix<T>,
    values: Matrix<T>,
}

impl<T: Float> Regression<T> {
    /// Features with as many rows of values.
    ///
    /// # Errors
    /// If the numbers of rows differ.
    pub fn new(features: Matrix<T>, values: Matrix<T>) -> Result<Self> {
        let rows = features.rows();
        if values.rows() == rows {
            return Ok(Self { features, values });
        }
        Err(Error::shape("values", format!("{rows} rows for {rows} rows"), values.rows()))
    }

    /// The features.
    pub fn features(&self) -> &Matrix<T> {
        &self.features
    }

    /// The values of each row.
    pub fn values(&self) -> &Matrix<T> {
        &self.values
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.features.rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same values with other features, such as standardised ones.
    ///
    /// # Errors
    /// If the number of rows differs.
    pub fn with_features(&self, features: Matrix<T>) -> Result<Self> {
        Self::new(features, self.values.clone())
    }

    /// The rows `picked`, in that order.
    ///
    /// # Errors
    /// If a row does not exist.
    pub fn select(&self, picked: &[usize]) -> Result<Self> {
        let (features, values) = (&self.features, &self.values);
        Ok(Self { features: features.select_rows(picked)?, values: values.select_rows(picked)? })
    }

    /// Two parts at random, the second with `held_out` rows. The same seed gives the same split on every
    /// CPU.
    ///
    /// # Errors
    /// If there are fewer rows.
    pub fn random_split(&self, held_out: usize, seed: u64) -> Result<(Self, Self)> {
        let Some(kept) = self.len().checked_sub(held_out) else {
            let expected = format!("at most {}", self.len());
            return Err(Error::argument("held out rows", expected, held_out));
        };
        let mut order: Vec<usize> = (0..self.len()).collect();
        Random::new(seed).shuffle(&mut order);
        Ok((self.select(&order[..kept])?, self.select(&order[kept..])?))
    }
}

impl<T: Float> Supervised<T> for Regression<T> {
    fn features(&self) -> &Matrix<T> {
        &self.features
    }

    fn targets(&self) -> Targets<'_, T> {
        Targets::Values(&self.values)
    }
}
