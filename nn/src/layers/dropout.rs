//! Inverted dropout (Srivastava et al. 2014): training keeps each value with probability 1 - rate
//! and divides it by that, so that the mean stays and inference is the identity.

use tilewise_kernels::{Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::random::Random;

/// A dropout layer. Whether a value is kept is a function of the seed, the step and the value's
/// position; the mask is drawn again in the backward pass instead of being stored.
#[derive(Debug, Clone)]
pub struct Dropout {
    rate: f64,
    random: Random,
}

impl Dropout {
    /// A layer that drops each value with probability `rate`.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1).
    pub fn new(rate: f64, seed: u64) -> crate::Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::argument("dropout rate", "at least 0 and below 1", rate));
        }
        Ok(Self { rate, random: Random::new(seed) })
    }

    fn apply<T: Float>(&self, x: &[T], y: &mut [T], step: u64) {
        let mask = self.random.stream(step);
        let scale = T::from_f64(1.0 / (1.0 - self.rate));
        // A rate below 1 fits: the product is at most 2^64 - 2^11.
        let drop_below = (self.rate * (u64::MAX as f64)) as u64;
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            *y = if mask.bits_at(i as u64) < drop_below { T::ZERO } else { *x * scale };
        }
    }
}

impl<T: Float> Layer<T> for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        Ok(input)
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        self.apply(x.data(), y.data_mut(), pass.step);
        Ok(())
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, _exec: Exec) -> Result<()> {
        y.data_mut().copy_from_slice(x.data());
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        if let Some(dx) = dx {
            self.apply(saved.dy.data(), dx.data_mut(), pass.step);
        }
        Ok(())
    }
}
