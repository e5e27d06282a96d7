//! The norm of many tensors together, by which gradients are clipped.

use crate::buffer::with_zeros;
use crate::error::Result;
use crate::exec::Exec;
use crate::ops::elementwise::Unary;
use crate::ops::rows::row_sum;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Elements whose squares are added in their own type; sums of blocks are added in `f64`.
const BLOCK: usize = 1024;

/// Blocks below which a second thread costs more than it brings.
const GRAIN: usize = 64;

/// The L2 norm of all `tensors` together; see [`GlobalNorm`].
///
/// # Errors
/// If `TILEWISE_MAX_ISA` holds an unknown name.
///
/// ```
/// use tilewise_kernels::{clip_factor, global_norm};
/// let norm = global_norm(&[&[3.0_f32, 0.0], &[4.0]])?;
/// assert_eq!((norm, clip_factor(norm, 1.0)), (5.0, 0.2));
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
pub fn global_norm<T: Float>(tensors: &[&[T]]) -> Result<f64> {
    GlobalNorm::new(tensors).run(Exec::default())
}

/// The factor that brings gradients of norm `norm` down to the norm `limit`, for
/// [`StepOptions::factor`](crate::StepOptions): 1 where they are not above it, NaN where `norm` is not
/// finite, so that steps refuse it.
#[must_use]
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    match norm.is_finite() {
        true if norm > limit => limit / norm,
        true => 1.0,
        false => f64::NAN,
    }
}

/// The L2 norm of many tensors as if they were one: 0 without elements, NaN where one is NaN, else
/// infinite where one is; squares neither overflow nor vanish.
///
/// Squares are added along blocks of 1024 elements of a tensor as along a row, the sums of the blocks in
/// `f64` in their order: the same bits for any number of threads. A block's sum is off by at most 140
/// roundings, and the norm by half as much. Traffic: one read per element.
#[derive(Debug, Clone, Copy)]
pub struct GlobalNorm<'a, T> {
    tensors: &'a [&'a [T]],
}

impl<'a, T: Float> GlobalNorm<'a, T> {
    /// Of `tensors`, which may be empty.
    pub fn new(tensors: &'a [&'a [T]]) -> Self {
        Self { tensors }
    }

    /// The norm.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<f64> {
        (T::compiled().global_norm)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<f64> {
        let plain = self.squares(T::ONE, exec)?;
        // Squares below the normal range lose less than one of these each.
        let count: usize = self.tensors.iter().map(|tensor| tensor.len()).sum();
        let safe = count as f64 * (T::MIN_POSITIVE / T::EPSILON).to_f64();
        if plain.is_nan() || (plain.is_finite() && plain >= safe) {
            return Ok(plain.sqrt());
        }
        // Rare, and in no hurry.
        let all = self.tensors.iter().flat_map(|tensor| tensor.iter());
        let size = all.fold(0.0, |size: f64, x| size.max(x.to_f64().abs()));
        if size == 0.0 || size == f64::INFINITY {
            return Ok(size);
        }
        // A power of two near the inverse of the largest magnitude, kept in the normal range.
        let low = T::MIN_POSITIVE.to_f64();
        let inverse = (1.0 / size).clamp(low, 0.25 / low);
        let scale = f64::from_bits(inverse.to_bits() & (0x7FF << 52));
        Ok(self.squares(T::from_f64(scale), exec)?.sqrt() / scale)
    }

    /// The sum of the squares of `scale` times the elements.
    fn squares(self, scale: T, exec: Exec) -> Result<f64> {
        let isa = exec.path()?;
        let blocks = self.tensors.iter().map(|tensor| tensor.len().div_ceil(BLOCK)).sum();
        Ok(with_zeros(blocks, |sums: &mut [f64]| {
            let work = Blocks { scale, tensors: self.tensors, skip: 0, sums: &mut *sums };
            exec.threads().divide(work, GRAIN, &|piece| isa.run(piece));
            sums.iter().sum()
        }))
    }
}

/// Neighbouring blocks.
struct Blocks<'a, T> {
    scale: T,
    tensors: &'a [&'a [T]],
    /// Blocks before them.
    skip: usize,
    sums: &'a mut [f64],
}

impl<T: Float> Split for Blocks<'_, T> {
    fn units(&self) -> usize {
        self.sums.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (sums, rest) = self.sums.split_at_mut(mid);
        (Self { sums, ..self }, Self { skip: self.skip + mid, sums: rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let (mut skip, mut sums) = (self.skip, self.sums.iter_mut());
        for tensor in self.tensors {
            let blocks = tensor.len().div_ceil(BLOCK);
            if skip >= blocks {
                skip -= blocks;
                continue;
            }
            for (block, sum) in tensor[skip * BLOCK..].chunks(BLOCK).zip(sums.by_ref()) {
                *sum = row_sum(simd, Squared(self.scale), block, T::ZERO).to_f64();
            }
            skip = 0;
        }
    }
}

/// `(scale x)^2`.
#[derive(Clone, Copy)]
struct Squared<T>(T);

impl<T: Float> Unary<T> for Squared<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        let scaled = simd.mul(x, simd.splat(self.0));
        simd.mul(scaled, scaled)
    }
}
