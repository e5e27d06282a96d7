//! Inputs from a seed, and the comparison of results.

use std::any::Any;

use tilewise_kernels::Float;

/// The SplitMix64 generator: a few lines, and good enough to fill benchmark inputs.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        // The upper 53 bits, as many as a double holds.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `len` values, uniform between `low` and `high`.
    pub(crate) fn uniform<T: Float>(&mut self, len: usize, low: f64, high: f64) -> Vec<T> {
        let mut values = vec![T::ZERO; len];
        self.refill(&mut values, low, high);
        values
    }

    /// The same into values that exist.
    pub(crate) fn refill<T: Float>(&mut self, values: &mut [T], low: f64, high: f64) {
        values.fill_with(|| T::from_f64(low + (high - low) * self.unit()));
    }

    /// `len` numbers below `bound`.
    pub(crate) fn below(&mut self, len: usize, bound: usize) -> Vec<usize> {
        (0..len).map(|_| (self.unit() * bound as f64) as usize).collect()
    }

    /// `len` eighths between -1 and 1. Sums of up to 2^18 products of two of them are exact in
    /// `f32` in whatever order they are added.
    pub(crate) fn eighths<T: Float>(&mut self, len: usize) -> Vec<T> {
        (0..len).map(|_| T::from_f64((self.unit() * 17.0).floor() / 8.0 - 1.0)).collect()
    }
}

/// Panics where a result is farther from the expected one than `tolerance`, relative to values
/// above 1 and absolute below.
pub(crate) fn assert_close(name: &str, expected: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(expected.len(), got.len(), "{name}: number of results");
    for (i, (&want, &got)) in expected.iter().zip(got).enumerate() {
        let bound = tolerance * want.abs().max(1.0);
        assert!((want - got).abs() <= bound, "{name}: result {i} is {got}, expected {want}");
    }
}

/// Appends values as `f64`.
pub(crate) fn append<T: Float>(values: &[T], to: &mut Vec<f64>) {
    to.extend(values.iter().map(|value| value.to_f64()));
}

/// Values of a generic workload as those `f32` that they are when a peer runs it that knows no others.
#[expect(clippy::ptr_arg, reason = "only a sized type can be asked what it is")]
pub(crate) fn singles<T: Float>(values: &Vec<T>) -> &[f32] {
    (values as &dyn Any).downcast_ref::<Vec<f32>>().expect("a case in f32")
}

/// The same to be written.
#[expect(clippy::ptr_arg, reason = "only a sized type can be asked what it is")]
pub(crate) fn singles_mut<T: Float>(values: &mut Vec<T>) -> &mut [f32] {
    (values as &mut dyn Any).downcast_mut::<Vec<f32>>().expect("a case in f32")
}
