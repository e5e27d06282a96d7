//! Comparison under a bound, and the algebra the bounds are written in.

use crate::real::Real;

/// gamma_n = n u / (1 - n u): n roundings of relative error u each, compounded (Higham, *Accuracy and
/// Stability of Numerical Algorithms*, lemma 3.1), by a fast path and its reference together.
pub fn gamma<T: Real>(n: f64) -> f64 {
    let nu = n * T::STEP;
    assert!(nu < 0.5, "a bound that says nothing: {n} roundings");
    nu / (1.0 - nu)
}

/// Whether `got` may stand for `want`: both NaN, or the same infinity, or at most `bound` apart.
/// An infinite bound says that an intermediate may overflow: then anything but a swallowed NaN will do.
pub fn within<T: Real>(got: T, want: f64, bound: f64) -> bool {
    assert!(!bound.is_nan(), "a bound must be a number");
    if want.is_nan() {
        return got.is_nan();
    }
    if bound == f64::INFINITY {
        return true;
    }
    let got = got.to_f64();
    let overflowed = got.is_infinite() && got.signum() == want.signum();
    got == want
        || (got - want).abs() <= bound
        || (overflowed && rounds_away::<T>(want.abs() + bound))
}

/// Whether a value of this size rounds to infinity: beyond the largest one by half a unit or more.
fn rounds_away<T: Real>(size: f64) -> bool {
    T::from_f64(size) == T::INFINITY
}

/// The distance between neighbours of type `T` at `x`.
pub fn ulp<T: Real>(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return T::LEAST;
    }
    // The power of two at or below |x|, exactly: the value with its fraction cleared.
    let power = f64::from_bits(x.abs().to_bits() & 0x7FF0_0000_0000_0000);
    (power * 2.0 * T::UNIT).max(T::LEAST)
}

/// Checks one element.
///
/// # Errors
/// A sentence with the element's place, both values and the bound.
pub fn expect<T: Real>(
    what: &str,
    at: impl std::fmt::Debug,
    got: T,
    want: f64,
    bound: f64,
) -> Result<(), String> {
    if within(got, want, bound) {
        return Ok(());
    }
    let off = (got.to_f64() - want).abs() / bound;
    Err(format!(
        "{what}[{at:?}] ({}): got {got:e}, want {want:e}, bound {bound:e}: off by {off:.3} bounds",
        T::NAME
    ))
}

/// Checks that two outputs have the same bits; one NaN is as good as another.
///
/// # Errors
/// A sentence with the first difference.
pub fn same_bits<T: Real>(what: &str, got: &[T], want: &[T]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} elements against {}", got.len(), want.len()));
    }
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if g.bits() != w.bits() && !(g.is_nan() && w.is_nan()) {
            return Err(format!("{what}[{i}] ({}): {g:e} and {w:e} differ in bits", T::NAME));
        }
    }
    Ok(())
}

/// The magnitude of what is summed: finite terms only, since a sum with an infinite or NaN term does
/// not depend on rounding. Kept beside the exact result, it bounds the error of any summation order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Magnitude(f64);

impl Magnitude {
    /// Adds |term|.
    pub fn add(&mut self, term: f64) {
        if term.is_finite() {
            self.0 += term.abs();
        }
    }

    /// The sum of the magnitudes.
    pub fn total(self) -> f64 {
        self.0
    }

    /// The error bound of a sum of these terms in which each passes `roundings` roundings;
    /// infinite where a partial sum may overflow.
    pub fn bound<T: Real>(self, roundings: f64) -> f64 {
        limited::<T>(self.0, gamma::<T>(roundings) * self.0 + roundings * T::LEAST)
    }
}

/// `bound`, or infinity where a value of size `magnitude` may overflow `T`.
pub fn limited<T: Real>(magnitude: f64, bound: f64) -> f64 {
    // Two units cover the rounding of the magnitude itself and of the last addition.
    if magnitude * (1.0 + 4.0 * T::UNIT) + bound >= T::LIMIT { f64::INFINITY } else { bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_sees_every_kind_of_difference() {
        assert!(within(1.0f32, 1.0, 0.0));
        assert!(within(f32::NAN, f64::NAN, 0.0));
        assert!(within(f32::INFINITY, f64::INFINITY, 1.0));
        assert!(within(f32::INFINITY, 3e38, f64::INFINITY));
        assert!(!within(f32::NAN, 1.0, 1.0));
        assert!(!within(1.0f32, f64::NAN, f64::INFINITY));
        assert!(!within(f32::INFINITY, f64::NEG_INFINITY, 1.0));
        assert!(!within(f32::INFINITY, 1.0, 1e30));
        assert!(!within(1.0f32, 1.0 + 1e-6, 1e-7));
    }

    #[test]
    fn an_ulp_is_the_distance_of_neighbours() {
        for x in [1.0f32, 1.5, 3.9, 1e-40, 1e30] {
            assert_eq!(ulp::<f32>(x.into()), f64::from(x.next_up()) - f64::from(x));
        }
        assert_eq!(ulp::<f64>(0.7), f64::EPSILON / 2.0);
    }

    #[test]
    fn same_bits_sees_the_sign_of_zero() {
        assert!(same_bits("x", &[0.0f32], &[-0.0]).is_err());
        assert!(same_bits("x", &[f32::NAN], &[-f32::NAN]).is_ok());
        assert!(same_bits("x", &[1.0f64, 2.0], &[1.0]).is_err());
    }

    #[test]
    fn a_sum_that_may_overflow_has_no_bound() {
        let mut sum = Magnitude::default();
        sum.add(3e38);
        sum.add(-3e38);
        sum.add(f64::INFINITY);
        assert_eq!(sum.bound::<f32>(2.0), f64::INFINITY);
        assert!(sum.bound::<f64>(2.0) < 1e24);
    }
}
