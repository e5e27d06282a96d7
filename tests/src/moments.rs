//! Error bounds of means and variances by shifted blocks.
//!
//! A block's values are shifted by a pivot p, the mean of its first eighth, and summed with their
//! squares; blocks are merged in `f64`. With k >= n / 8 of a block's n values in the pivot,
//! n (p - mean)^2 <= 8 M2, if p were exact; it is off by d <= u |p| + (k + 2) u (max - min). With
//! (a + b)^2 <= 2 a^2 + 2 b^2 the sum of squares is Q <= M2 + 16 M2 + 2 n d^2. A chain of `chain`
//! additions and the three roundings of a square make its error g Q with g = gamma(chain + 3), that
//! of the sum of excesses g sqrt(n Q) (Cauchy and Schwarz), and that of M2 = squares - sum^2 / n
//! three times g Q. Nothing depends on the offset beyond d: that is what the shift is for.

use crate::compare::gamma;
use crate::real::Real;
use crate::tracked::Tracked;

/// Mean and biased variance of some values, and how far a computation may be off.
#[derive(Debug, Clone, Copy)]
pub struct Moments<T> {
    /// The mean.
    pub mean: f64,
    /// The error of a mean in twice the precision of `T`; infinite where squares may overflow.
    pub mean_error: f64,
    /// The variance, rounded to `T`.
    pub var: Tracked<T>,
}

impl<T: Real> Moments<T> {
    /// Of `values`, summed in chains of at most `chain` additions.
    pub fn of(values: &[T], chain: usize) -> Self {
        let n = values.len() as f64;
        if !values.iter().all(|x| x.is_finite()) || values.is_empty() {
            return Self { mean: f64::NAN, mean_error: 0.0, var: Tracked::new(f64::NAN, 0.0) };
        }
        let wide = || values.iter().map(|x| x.to_f64());
        let pivot = values[0].to_f64();
        let mean = pivot + wide().map(|x| x - pivot).sum::<f64>() / n;
        let m2: f64 = wide().map(|x| (x - mean) * (x - mean)).sum();
        let (low, high) = wide().fold((pivot, pivot), |(a, b), x| (a.min(x), b.max(x)));
        let largest = low.abs().max(high.abs());

        let g = gamma::<T>(chain.min(values.len()) as f64 + 3.0);
        let pivot_off = T::STEP * largest + gamma::<T>(n / 8.0 + 3.0) * (high - low);
        let q = 17.0 * m2 + 2.0 * n * pivot_off * pivot_off + n * T::LEAST;
        // The twin's chains in f64 are as long as there are values; its mean is not shifted.
        let twin = gamma::<f64>(n + 4.0);
        let mean_error = g * (q / n).sqrt() + twin * largest + T::LEAST;
        let var_error = 3.0 * g * q / n + twin * m2 / n + mean_error * twin * largest + T::LEAST;
        let overflows = q >= T::LIMIT || n * largest >= T::LIMIT;
        let var = Tracked::new(m2 / n, if overflows { f64::INFINITY } else { var_error });
        let mean_error = if overflows { f64::INFINITY } else { mean_error };
        Self { mean, mean_error, var: var.widened(T::STEP * m2 / n) }
    }

    /// The mean, rounded to `T`.
    pub fn rounded_mean(&self) -> Tracked<T> {
        Tracked::new(self.mean, self.mean_error + T::STEP * self.mean.abs() + T::LEAST)
    }
}
