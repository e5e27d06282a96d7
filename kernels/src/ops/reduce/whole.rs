//! Reductions of a whole slice.

use super::along::{Find, Plain, Squared, block_sums, slice_magnitude, slice_max};
use super::moments::Moment;
use super::runs::{BLOCK, Runs, moment};
use super::{GRAIN, nothing};
use crate::buffer::with_zeros;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// The sum of all elements; 0 of none.
///
/// # Errors
/// As [`Sum::run`].
pub fn sum<T: Float>(x: &[T]) -> Result<T> {
    Sum::new(x)?.run(Exec::default())
}

/// The mean of all elements.
///
/// # Errors
/// As [`Mean::new`] and [`Mean::run`].
pub fn mean<T: Float>(x: &[T]) -> Result<T> {
    Mean::new(x)?.run(Exec::default())
}

/// The mean and the biased variance of all elements.
///
/// # Errors
/// As [`MeanVar::new`] and [`MeanVar::run`].
pub fn mean_var<T: Float>(x: &[T]) -> Result<(T, T)> {
    MeanVar::new(x)?.run(Exec::default())
}

/// The largest element; NaN if one is NaN.
///
/// # Errors
/// As [`Max::new`] and [`Max::run`].
pub fn max<T: Float>(x: &[T]) -> Result<T> {
    Max::new(x)?.run(Exec::default())
}

/// The index of the largest element, the first one of equals.
///
/// # Errors
/// As [`Argmax::new`] and [`Argmax::run`].
pub fn argmax<T: Float>(x: &[T]) -> Result<usize> {
    Argmax::new(x)?.run(Exec::default())
}

/// The Euclidean norm.
///
/// # Errors
/// As [`L2Norm::run`].
pub fn l2_norm<T: Float>(x: &[T]) -> Result<T> {
    L2Norm::new(x)?.run(Exec::default())
}

macro_rules! operation {
    ($(#[$doc:meta])* $name:ident $(, refuses none: $what:literal)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a, T> {
            x: &'a [T],
        }

        impl<'a, T: Float> $name<'a, T> {
            /// Checks the argument.
            ///
            /// # Errors
            /// If there are no elements and the operation needs one.
            pub fn new(x: &'a [T]) -> Result<Self> {
                $(if x.is_empty() {
                    return Err(nothing($what));
                })?
                Ok(Self { x })
            }
        }
    };
}

operation! {
    /// The sum of all elements; see [`sum`].
    Sum
}
operation! {
    /// The mean of all elements; see [`mean`].
    Mean, refuses none: "mean"
}
operation! {
    /// The mean and the biased variance; see [`mean_var`]. An offset costs no precision.
    MeanVar, refuses none: "mean and variance"
}
operation! {
    /// The largest element; see [`max`].
    Max, refuses none: "max"
}
operation! {
    /// The index of the largest element; see [`argmax`].
    Argmax, refuses none: "argmax"
}
operation! {
    /// The Euclidean norm; see [`l2_norm`]. Nothing overflows or vanishes on the way to a result
    /// that can be represented.
    L2Norm
}

impl<T: Float> Sum<'_, T> {
    /// The sum.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<T> {
        (T::compiled().sum)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<T> {
        let total = measure(Total, self.x, exec, |parts, _| parts.iter().sum())?;
        Ok(T::from_f64(total))
    }
}

impl<T: Float> Mean<'_, T> {
    /// The mean.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<T> {
        (T::compiled().mean)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<T> {
        let total: f64 = measure(Total, self.x, exec, |parts, _| parts.iter().sum())?;
        Ok(T::from_f64(total / self.x.len() as f64))
    }
}

impl<T: Float> MeanVar<'_, T> {
    /// The mean and the variance; NaN both if an element is not finite.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<(T, T)> {
        (T::compiled().mean_var)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<(T, T)> {
        let all = measure(Spread, self.x, exec, |parts, len| {
            let (mut all, mut count) = (Moment::default(), 0.0);
            for (i, part) in parts.chunks_exact(3).enumerate() {
                let more = CHUNK.min(len - i * CHUNK) as f64;
                let part = Moment { pivot: part[0], delta: part[1], m2: part[2] };
                all = all.merged(count, part, more);
                count += more;
            }
            all
        })?;
        Ok((all.mean::<T>().0, all.var(self.x.len() as f64)))
    }
}

impl<T: Float> Max<'_, T> {
    /// The largest element.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<T> {
        (T::compiled().max)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<T> {
        Ok(T::from_f64(measure(Largest, self.x, exec, largest)?))
    }
}

impl<T: Float> Argmax<'_, T> {
    /// The index.
    ///
    /// # Errors
    /// If an element is NaN, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<usize> {
        (T::compiled().argmax)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<usize> {
        let largest = Max { x: self.x }.run(exec)?;
        exec.path()?
            .run(Find { x: self.x, value: largest })
            .map_err(|i| Error::value("argmax", "no NaN", format!("NaN at index {i}")))
    }
}

impl<T: Float> L2Norm<'_, T> {
    /// The norm.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<T> {
        (T::compiled().l2_norm)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<T> {
        let squares =
            |scale| measure(Squares { scale }, self.x, exec, |parts, _| parts.iter().sum());
        let plain: f64 = squares(T::ONE)?;
        // Squares below the normal range lose less than one of these each.
        let safe = self.x.len() as f64 * (T::MIN_POSITIVE / T::EPSILON).to_f64();
        if plain.is_nan() || (T::from_f64(plain).is_finite() && plain >= safe) {
            return Ok(T::from_f64(plain.sqrt()));
        }
        let size = measure(Magnitude, self.x, exec, largest)?;
        if size == 0.0 || size == f64::INFINITY {
            return Ok(T::from_f64(size));
        }
        // A power of two near the inverse of the largest magnitude, kept in the normal range.
        let low = T::MIN_POSITIVE.to_f64();
        let scale = power_of_two_below((1.0 / size).clamp(low, 0.25 / low));
        Ok(T::from_f64(squares(T::from_f64(scale))?.sqrt() / scale))
    }
}

/// `x` with its mantissa cleared.
fn power_of_two_below(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & (0x7ff << 52))
}

/// Elements per task of a parallel reduction: a fixed number, so that results are.
const CHUNK: usize = 16 * BLOCK;

/// A quantity that is worked out for chunks of a slice, then merged.
trait Measure<T: Float>: Copy + Send + Sync {
    /// Numbers per chunk.
    const PARTIAL: usize = 1;
    /// Writes the chunk's numbers. Mark it `#[inline(always)]`.
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]);
}

/// Merges the measures of all chunks of `x`; `merge` also gets the number of elements.
fn measure<T: Float, M: Measure<T>, R>(
    measure: M,
    x: &[T],
    exec: Exec,
    merge: impl FnOnce(&[f64], usize) -> R,
) -> Result<R> {
    let isa = exec.path()?;
    Ok(with_zeros(x.len().div_ceil(CHUNK) * M::PARTIAL, |partials: &mut [f64]| {
        let work = Chunks { measure, x, partials: &mut *partials };
        exec.threads().divide(work, GRAIN.div_ceil(CHUNK), &|piece| isa.run(piece));
        merge(partials, x.len())
    }))
}

struct Chunks<'a, T, M> {
    measure: M,
    x: &'a [T],
    partials: &'a mut [f64],
}

impl<T: Float, M: Measure<T>> Split for Chunks<'_, T, M> {
    fn units(&self) -> usize {
        self.partials.len() / M::PARTIAL
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_at((mid * CHUNK).min(self.x.len()));
        let (partials, rest) = self.partials.split_at_mut(mid * M::PARTIAL);
        (Self { x, partials, ..self }, Self { x: x_rest, partials: rest, ..self })
    }
}

impl<T: Float, M: Measure<T>> Kernel<T> for Chunks<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        for (x, to) in self.x.chunks(CHUNK).zip(self.partials.chunks_exact_mut(M::PARTIAL)) {
            self.measure.chunk(simd, x, to);
        }
    }
}

#[derive(Clone, Copy)]
struct Total;

impl<T: Float> Measure<T> for Total {
    #[inline(always)]
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]) {
        to[0] = block_sums(simd, x, T::ONE, &Plain);
    }
}

#[derive(Clone, Copy)]
struct Squares<T> {
    scale: T,
}

impl<T: Float> Measure<T> for Squares<T> {
    #[inline(always)]
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]) {
        to[0] = block_sums(simd, x, self.scale, &Squared);
    }
}

#[derive(Clone, Copy)]
struct Spread;

impl<T: Float> Measure<T> for Spread {
    const PARTIAL: usize = 3;

    #[inline(always)]
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]) {
        let (moment, _) = moment(simd, Runs::all(x));
        to.copy_from_slice(&[moment.pivot, moment.delta, moment.m2]);
    }
}

#[derive(Clone, Copy)]
struct Largest;

impl<T: Float> Measure<T> for Largest {
    #[inline(always)]
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]) {
        to[0] = slice_max(simd, x).to_f64();
    }
}

#[derive(Clone, Copy)]
struct Magnitude;

impl<T: Float> Measure<T> for Magnitude {
    #[inline(always)]
    fn chunk<S: Simd<T>>(self, simd: S, x: &[T], to: &mut [f64]) {
        to[0] = slice_magnitude(simd, x).to_f64();
    }
}

/// The largest of the chunks' largest; NaN if one is NaN.
fn largest(parts: &[f64], _: usize) -> f64 {
    let wins = |best: f64, x: f64| if x.is_nan() || x > best { x } else { best };
    parts.iter().copied().reduce(wins).unwrap_or(0.0)
}
