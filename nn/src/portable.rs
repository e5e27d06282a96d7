//! Elementary functions that every CPU and system rounds alike, so that a seed means the same trials
//! and the same weights everywhere: correctly rounded `f64` arithmetic in a fixed order.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// Natural logarithm of a positive number to about 1e-15: `ln(m·2^e) = e·ln 2 + 2·artanh((m-1)/(m+1))`
/// with `m` in [√½, √2).
pub(crate) fn ln(x: f64) -> f64 {
    if !(x >= f64::MIN_POSITIVE && x.is_finite()) {
        // Zero, infinity, NaN and the subnormal, which nobody here uses.
        return x.ln();
    }
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if m >= SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    // |s| < 0.1716, so the first term left out, s^23/23, is below 1e-18.
    let series = (0..11).rev().fold(0.0, |sum, k| sum * s2 + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// `1/n!` from 0; `r^15/15!`, the first term left out, is below 1e-19.
const INVERSE_FACTORIALS: [f64; 15] = {
    let mut terms = [1.0; 15];
    let (mut n, mut factorial) = (1, 1.0);
    while n < 15 {
        factorial *= n as f64;
        terms[n] = 1.0 / factorial;
        n += 1;
    }
    terms
};

/// `e^x` to about 1e-15: `2^k·e^r` with `|r| <= ½ ln 2` and the exponential series.
pub(crate) fn exp(x: f64) -> f64 {
    if !(-700.0..=700.0).contains(&x) {
        return x.exp();
    }
    // ln 2 in two parts, of which the first has 21 bits of zeros to its right: k times it is exact.
    const HIGH: f64 = 0.693_147_180_369_123_8;
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Above 2^52 there are no fractions: two additions round, without a call of the system's function.
    const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;
    let k = (x * LOG2_E + WHOLE) - WHOLE;
    let r = (x - k * HIGH) - k * LOW;
    let series = INVERSE_FACTORIALS.iter().rev().fold(0.0, |sum, term| sum * r + term);
    series * f64::from_bits(((1023 + k as i64) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_accurate() {
        for i in -6000..6000 {
            let x = f64::from(i) * 0.1137;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-15, "exp {x}");
            let y = x.exp();
            assert!((ln(y) - y.ln()).abs() <= 4e-16 * y.ln().abs().max(1.0), "ln {y}");
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert!(ln(0.0) == f64::NEG_INFINITY && exp(f64::NAN).is_nan());
    }
}
