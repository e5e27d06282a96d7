//! Seeded test values of every kind that breaks kernels.

use arbitrary::{Arbitrary, Unstructured};

use crate::real::Real;

/// SplitMix64: small, seedable, the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for every `seed` and every `stream` of one seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (0.5 / (1u64 << 52) as f64)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// A kind of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Values {
    /// Standard normal.
    Normal,
    /// Uniform in [0.5, 1.5): sums grow without cancelling.
    Positive,
    /// 1e4 plus 0.1 times a normal: cancels in a careless variance.
    Offset,
    /// 1e6 plus 0.1 times a normal.
    FarOffset,
    /// Both signs, magnitudes from 2^-20 to 2^20.
    Wide,
    /// Times 1e30: squares overflow `f32`.
    Huge,
    /// Subnormal values.
    Subnormal,
    /// 0 and -0.
    Zeros,
    /// One value everywhere.
    Constant,
    /// Normal ones among which NaN, infinities, zeros and extremes are sprinkled.
    Special,
    /// Normal ones with infinities of both signs.
    Infinite,
}

/// The kinds in which every value is finite.
pub const FINITE: [Values; 9] = [
    Values::Normal,
    Values::Positive,
    Values::Offset,
    Values::FarOffset,
    Values::Wide,
    Values::Huge,
    Values::Subnormal,
    Values::Zeros,
    Values::Constant,
];

impl Values {
    /// One value of this kind.
    pub fn draw<T: Real>(self, rng: &mut Rng) -> T {
        let normal = rng.normal();
        T::from_f64(match self {
            Self::Normal => normal,
            Self::Positive => 0.5 + rng.unit(),
            Self::Offset => 1e4 + 0.1 * normal,
            Self::FarOffset => 1e6 + 0.1 * normal,
            Self::Wide => normal.signum() * (40.0 * rng.unit() - 20.0).exp2(),
            Self::Huge => 1e30 * normal,
            Self::Subnormal => T::MIN_POSITIVE.to_f64() * 0.25 * normal,
            Self::Zeros => 0.0f64.copysign(normal),
            Self::Constant => 0.7,
            Self::Special if rng.below(6) == 0 => special::<T>(rng),
            Self::Infinite if rng.below(8) == 0 => f64::INFINITY.copysign(normal),
            Self::Special | Self::Infinite => normal,
        })
    }

    /// `count` values of this kind.
    pub fn fill<T: Real>(self, count: usize, rng: &mut Rng) -> Vec<T> {
        (0..count).map(|_| self.draw(rng)).collect()
    }
}

fn special<T: Real>(rng: &mut Rng) -> f64 {
    let all = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        T::LEAST,
        -T::MIN_POSITIVE.to_f64(),
        // The largest finite value is left out: in f64 the reference itself would overflow.
        1e30,
        -1e30,
    ];
    all[rng.below(all.len())]
}

/// A size up to `max`: a third of the draws are sizes at which vectors, tiles and blocks end.
///
/// # Errors
/// None in practice: exhausted bytes give 0.
pub fn size(u: &mut Unstructured<'_>, max: usize) -> arbitrary::Result<usize> {
    const EDGES: [usize; 26] = [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127,
        129,
    ];
    let edges = EDGES.iter().filter(|&&edge| edge <= max).count();
    if u.ratio(1u8, 3)? { Ok(EDGES[u.choose_index(edges)?]) } else { u.int_in_range(0..=max) }
}

/// A kind of finite values.
///
/// # Errors
/// None in practice: exhausted bytes give the first kind.
pub fn finite(u: &mut Unstructured<'_>) -> arbitrary::Result<Values> {
    u.choose(&FINITE).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_values_and_streams_differ() {
        let draw = |stream| Values::Normal.fill::<f32>(8, &mut Rng::new(7, stream));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn kinds_are_what_they_say() {
        let rng = &mut Rng::new(3, 0);
        assert!(Values::Subnormal.fill::<f32>(50, rng).iter().any(|x| x.is_subnormal()));
        assert!(Values::Special.fill::<f64>(200, rng).iter().any(|x| x.is_nan()));
        for kind in FINITE {
            assert!(kind.fill::<f32>(100, rng).iter().all(|x| x.is_finite()), "{kind:?}");
        }
    }
}
