//! Reproducible random numbers: the same seed gives the same bits on every CPU and in every version.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014) used by position: draw `n` of a stream is a function of the stream's
//! key and `n` alone, so that draws can be taken in any order and by any number of threads. General
//! purpose generators do not promise their bits from version to version, and the system's `ln`
//! differs between platforms; here everything is integer arithmetic and correctly rounded `f64`.

use crate::portable::ln;

/// 2^64 divided by the golden ratio, odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of random numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    key: u64,
    drawn: u64,
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed.wrapping_add(GOLDEN)), drawn: 0 }
    }

    /// Stream number `index` below this one; it does not depend on what was drawn here.
    #[must_use]
    pub fn stream(&self, index: u64) -> Self {
        Self { key: mix(self.key ^ mix(index.wrapping_mul(GOLDEN).wrapping_add(1))), drawn: 0 }
    }

    /// The `n`-th 64 bits of this stream; does not advance it.
    #[inline]
    pub fn bits_at(&self, n: u64) -> u64 {
        mix(self.key.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let bits = self.bits_at(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        bits
    }

    /// Uniform in [0, 1): a multiple of 2^-53.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..bound`, without bias (Lemire, "Fast random integer generation in an
    /// interval", 2019); 0 for an empty range.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let Some(reject_below) = bound.wrapping_neg().checked_rem(bound) else { return 0 };
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= reject_below {
                return (product >> 64) as usize;
            }
        }
    }

    /// Normal with mean 0 and variance 1 (Marsaglia's polar method, one of its two values).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * ln(s) / s).sqrt();
            }
        }
    }

    /// Puts `items` in an order of which all are equally likely (Fisher and Yates).
    pub fn shuffle<V>(&mut self, items: &mut [V]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_pinned() {
        let mut random = Random::new(42);
        let first = [random.bits(), random.bits()];
        assert_eq!(first, [random.bits_at(0), random.bits_at(1)]);
        assert_eq!(first, [6_332_618_229_526_065_668, 17_630_415_256_238_047_317]);
        assert_eq!(Random::new(42).normal().to_bits(), 13_817_025_512_113_772_049);
    }

    #[test]
    fn moments_and_ranges() {
        let mut random = Random::new(1);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let var = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
        let mut seen = [0usize; 3];
        (0..9000).for_each(|_| seen[random.below(3)] += 1);
        assert!(seen.iter().all(|&count| count.abs_diff(3000) < 180), "{seen:?}");
        assert_eq!(random.below(0), 0);
        let mut order: Vec<usize> = (0..100).collect();
        random.shuffle(&mut order);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
