//! Normalisation of rows: layer normalisation (Ba, Kiros and Hinton 2016) and by the root mean square
//! (Zhang and Sennrich 2019), each with its backward pass.
//!
//! A row is read several times while it is in cache: for its mean, for what rounding took from the mean,
//! for its variance around both, and to be written. Nothing cancels, whatever the row's offset. Columns
//! of gradients are summed in a second pass, by strips of columns, each column from its first row to its
//! last.
//!
//! Bytes per element where rows fit the cache: one read and one write forward (8 in `f32`); backward two
//! reads and one write for `dx` and two reads more for the parameters (20).

mod backward;
mod forward;

pub use backward::{NormGrads, RowNormBackward, layer_norm_backward, rms_norm_backward};
pub use forward::{RowNorm, layer_norm, rms_norm};

use super::elementwise::{Binary, Unary};
use crate::error::{Error, Result, check_len};
use crate::simd::{Float, Simd};

/// What the forward pass learns of the rows and the backward pass needs: one value of each per row.
/// Make it once for the largest batch; nothing is allocated then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowStats<T> {
    /// Mean, rounded; 0 where rows are not centred.
    pub mean: Vec<T>,
    /// What rounding the mean left out.
    pub mean_low: Vec<T>,
    /// `1 / √(variance + ε)`, or of the mean square where rows are not centred.
    pub inv_std: Vec<T>,
}

impl<T: Float> RowStats<T> {
    /// Room for the statistics of `rows` rows.
    pub fn new(rows: usize) -> Self {
        let mut stats = Self::default();
        stats.resize(rows);
        stats
    }

    /// Makes room for `rows` rows, in the memory there is where it suffices.
    pub fn resize(&mut self, rows: usize) {
        for part in [&mut self.mean, &mut self.mean_low, &mut self.inv_std] {
            part.resize(rows, T::ZERO);
        }
    }

    fn check(&self, rows: usize) -> Result<()> {
        check_len("row statistics: mean", rows, self.mean.len())?;
        check_len("row statistics: mean_low", rows, self.mean_low.len())?;
        check_len("row statistics: inv_std", rows, self.inv_std.len())
    }

    fn row(&self, i: usize) -> Centre<T> {
        Centre { mean: self.mean[i], low: self.mean_low[i] }
    }
}

/// Checks the term that keeps the variance away from zero.
fn check_epsilon<T: Float>(epsilon: T) -> Result<()> {
    if epsilon.is_finite() && epsilon > T::ZERO {
        return Ok(());
    }
    Err(Error::value("epsilon", "a finite value above 0", epsilon))
}

/// The distance from a mean that is kept in two parts: exact where the values are near it.
#[derive(Clone, Copy)]
struct Centre<T> {
    mean: T,
    low: T,
}

impl<T: Float> Unary<T> for Centre<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.sub(simd.sub(x, simd.splat(self.mean)), simd.splat(self.low))
    }
}

/// x̂ = (x - mean) · inv_std
#[derive(Clone, Copy)]
struct Normalise<T> {
    centre: Centre<T>,
    inv_std: T,
}

impl<T: Float> Unary<T> for Normalise<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.mul(self.centre.apply(simd, x), simd.splat(self.inv_std))
    }
}

#[derive(Clone, Copy)]
struct Product;

impl<T: Float> Binary<T> for Product {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.mul(a, b)
    }
}
