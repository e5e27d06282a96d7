//! Arithmetic that carries its own error bound.
//!
//! A [`Tracked`] value is the exact one and how far a rounded computation of it may be off: running
//! error analysis (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.3). A bound is
//! then the operation's formula written once more, and follows from the rounding of each step; fused
//! operations round less and stay inside it. The unit is the fast path's and that of the `f64`
//! reference together ([`Real::STEP`]).

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::compare::{expect, ulp};
use crate::real::Real;

/// A value, and a bound on the error of its computation in `T`.
#[derive(Debug, Clone, Copy)]
pub struct Tracked<T> {
    /// In exact arithmetic (in `f64`).
    pub value: f64,
    /// At most this far is a computed value from it; infinite where the computation may overflow.
    pub error: f64,
    of: PhantomData<T>,
}

impl<T: Real> Tracked<T> {
    /// A value known with the given error.
    pub fn new(value: f64, error: f64) -> Self {
        if !value.is_finite() {
            // Infinities and NaN of the input stay what they are, unless an overflow came first.
            return Self {
                value,
                error: if error == f64::INFINITY { error } else { 0.0 },
                of: PhantomData,
            };
        }
        let overflows = value.abs() * (1.0 + 2.0 * T::STEP) + error >= T::LIMIT;
        let error = if overflows || error.is_nan() { f64::INFINITY } else { error };
        Self { value, error, of: PhantomData }
    }

    /// An input.
    pub fn exact(value: T) -> Self {
        Self::new(value.to_f64(), 0.0)
    }

    /// A constant of the formula, rounded to `T` once.
    pub fn constant(value: f64) -> Self {
        Self::rounded(value, 0.0)
    }

    /// A value whose operands contribute `inherited` and that is rounded on top.
    fn rounded(value: f64, inherited: f64) -> Self {
        Self::new(value, inherited + T::STEP * (value.abs() + inherited) + T::LEAST)
    }

    /// The square root.
    #[must_use]
    pub fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let low = (self.value - self.error).max(0.0).sqrt();
        Self::rounded(root, (self.value + self.error).sqrt() - low)
    }

    /// e^x by a function that is off by at most `ulps`.
    #[must_use]
    pub fn exp(self, ulps: f64) -> Self {
        let most = (self.value + self.error).exp();
        let low = (self.value - self.error).exp();
        Self::new(self.value.exp(), most - low + (ulps + T::REFERENCE_ULPS) * ulp::<T>(most))
    }

    /// e^x for x <= 0 by the function of the softmax family: within 1.1 ulp, and where the value is
    /// not, or by 1 % only just, above the least normal one, perhaps 0.
    #[must_use]
    pub fn decay(self) -> Self {
        let power = self.exp(1.1);
        let flushed = power.value < 1.01 * T::MIN_POSITIVE.to_f64();
        power.widened(if flushed { power.value } else { 0.0 })
    }

    /// ln x by a function that is off by at most `ulps`.
    #[must_use]
    pub fn ln(self, ulps: f64) -> Self {
        let value = self.value.ln();
        let low = (self.value - self.error).max(0.0).ln();
        let inherited = (self.value + self.error).ln() - low;
        let own = (ulps + T::REFERENCE_ULPS) * ulp::<T>(value.abs() + inherited);
        Self::new(value, inherited + own)
    }

    /// The sum in any order: each term meets at most as many roundings as there are terms.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        let (mut count, mut value, mut error, mut magnitude) = (0.0, 0.0, 0.0, 0.0);
        for term in terms {
            count += 1.0;
            value += term.value;
            error += term.error;
            magnitude += if term.value.is_finite() { term.value.abs() } else { 0.0 };
        }
        let spread = crate::compare::gamma::<T>(count) * (magnitude + error);
        let partial_overflow = magnitude * (1.0 + 4.0 * T::STEP) + error >= T::LIMIT;
        let error = if partial_overflow { f64::INFINITY } else { error + spread };
        Self::new(value, error)
    }

    /// The same with an error larger by `more`.
    #[must_use]
    pub fn widened(self, more: f64) -> Self {
        Self::new(self.value, self.error + more)
    }

    /// Checks a computed value against the reference `want`, which must be this one's value up to
    /// the rounding of the reference, under this one's bound.
    ///
    /// # Errors
    /// A sentence with the element's place, both values and the bound.
    pub fn expect(
        self,
        what: &str,
        at: impl std::fmt::Debug,
        got: T,
        want: f64,
    ) -> Result<(), String> {
        expect(what, at, got, want, self.error)
    }
}

impl<T: Real> Add for Tracked<T> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.error + other.error)
    }
}

impl<T: Real> Sub for Tracked<T> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<T: Real> Neg for Tracked<T> {
    type Output = Self;

    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

impl<T: Real> Mul for Tracked<T> {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let cross = product(self.value, other.error) + product(other.value, self.error);
        let inherited = cross + product(self.error, other.error);
        Self::rounded(self.value * other.value, inherited)
    }
}

/// |a| times the bound b, where 0 times anything is 0, except 0 times what may have overflowed.
fn product(a: f64, b: f64) -> f64 {
    match b == f64::INFINITY {
        true => b,
        false if a == 0.0 || b == 0.0 => 0.0,
        false => a.abs() * b,
    }
}

impl<T: Real> Div for Tracked<T> {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let least = other.value.abs() - other.error;
        // A divisor that may be zero, or an infinite one with no bound: anything can come out.
        let inherited = match least > 0.0 {
            _ if !value.is_finite() && other.value != 0.0 => 0.0,
            true => (product(value, other.error) + self.error) / least,
            false if other.error == 0.0 => 0.0,
            false => f64::INFINITY,
        };
        Self::rounded(value, inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Rng, Values};

    /// Formulas computed in `f32` stay inside the bounds, and not far inside.
    #[test]
    fn bounds_hold_and_are_not_idle() {
        let mut closest: f64 = 0.0;
        for seed in 0..2000 {
            let v: Vec<f32> = Values::Normal.fill(4, &mut Rng::new(seed, 0));
            let t: Vec<Tracked<f32>> = v.iter().map(|&x| Tracked::exact(x)).collect();
            let got = (v[0] * v[1] + v[2]) / (v[3] * v[3] + 0.5).sqrt() - v[1];
            let half = Tracked::exact(0.5);
            let want = (t[0] * t[1] + t[2]) / (t[3] * t[3] + half).sqrt() - t[1];
            let off = (f64::from(got) - want.value).abs();
            assert!(off <= want.error, "{off:e} of {:e}", want.error);
            closest = closest.max(off / want.error);
        }
        assert!(closest > 0.3, "the bound was never reached by more than {closest}");
    }

    #[test]
    fn sums_in_any_order_stay_inside() {
        let values: Vec<f32> = Values::Wide.fill(300, &mut Rng::new(1, 0));
        let sum = Tracked::sum(values.iter().map(|&x| Tracked::exact(x)));
        let forward: f32 = values.iter().sum();
        let backward: f32 = values.iter().rev().sum();
        assert!((f64::from(forward) - sum.value).abs() <= sum.error);
        assert!((f64::from(backward) - sum.value).abs() <= sum.error);
        assert_ne!(forward, backward);
    }

    #[test]
    fn an_overflow_on_the_way_has_no_bound() {
        let big = Tracked::exact(1e30f32);
        assert_eq!((big * big / (big * big)).error, f64::INFINITY);
        assert!((big / big).error < 1e-6);
        assert_eq!(Tracked::exact(f32::INFINITY).error, 0.0);
    }
}
