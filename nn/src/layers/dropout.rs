//! Inverted dropout (Srivastava et al. 2014): training keeps each value with probability 1 - rate
//! and divides it by that, so that the mean stays and inference is the identity.

use tilewise_kernels::{Exec, Float, Result};

use super::{Layer, Pass, Saved};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::random::Random;

/// Values whose draws are made together, so that the loop that applies them is one of vectors.
const BLOCK: usize = 64;
/// Different draws of 16 bits.
const LEVELS: f64 = 65536.0;

/// A dropout layer. Whether a value is kept is a function of the seed, the step and the value's
/// position; the mask is drawn again in the backward pass instead of being stored.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// Values whose 16 bits are below this are dropped.
    drop_below: u16,
    random: Random,
}

impl Dropout {
    /// A layer that drops each value with probability `rate`, rounded to a multiple of 2^-16. The
    /// mean is kept exactly for the rounded rate.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1).
    pub fn new(rate: f64, seed: u64) -> crate::Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::argument("dropout rate", "at least 0 and below 1", rate));
        }
        // Saturates just below 1, so that something is kept.
        let drop_below = (rate * LEVELS).round() as u16;
        Ok(Self { drop_below, random: Random::new(seed) })
    }

    fn apply<T: Float>(&self, x: &[T], y: &mut [T], step: u64) {
        let mask = self.random.stream(step);
        let scale = T::from_f64(LEVELS / (LEVELS - f64::from(self.drop_below)));
        for (block, (x, y)) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)).enumerate() {
            let draws = draws(&mask, block);
            for ((x, y), draw) in x.iter().zip(y).zip(draws) {
                let scaled = *x * scale;
                *y = if draw >= self.drop_below { scaled } else { T::ZERO };
            }
        }
    }
}

/// 16 random bits for each value of a block, four from each draw of the generator.
fn draws(mask: &Random, block: usize) -> [u16; BLOCK] {
    let mut draws = [0; BLOCK];
    let first = block * (BLOCK / 4);
    for (index, four) in draws.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bits = mask.bits_at((first + index) as u64);
        *four = [0, 16, 32, 48].map(|shift| (bits >> shift) as u16);
    }
    draws
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
