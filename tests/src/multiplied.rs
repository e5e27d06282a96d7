//! What the oracle of matrix products needs to know of the operands' types.

use tilewise_kernels::{Float, Isa, Precision, SumsTo, bf16, f16};

use crate::real::{Real, Stored};

/// An operand of products that are summed in `T`.
pub trait Multiplied<T: Real>: SumsTo<T> + Stored {
    /// The nearest value of this type.
    fn narrow(x: T) -> Self;

    /// This value as products of a precision on `isa` see it.
    fn seen_on(self, _isa: Isa, _precision: Precision) -> T {
        self.widen()
    }

    /// How sums over `k` steps are rounded on `isa` at a precision.
    fn rounding(_isa: Isa, _precision: Precision, k: usize) -> Rounding {
        Rounding::of_a_chain::<T>(k)
    }
}

/// How often a product is rounded until it is part of a finished sum, and what is lost where results
/// are tiny.
#[derive(Debug, Clone, Copy)]
pub struct Rounding {
    /// Roundings that a single product meets at most, that of the product itself included.
    pub times: f64,
    /// The most that all operations behind a sum lose to underflow.
    pub underflow: f64,
    /// The same in units of the product of the largest magnitudes behind it.
    pub of_largest: f64,
    /// Roundings where values are tiny, huge or not finite, and the sum is taken in another way.
    pub at_extremes: f64,
    /// Whether a tiny value may count as zero next to an infinity.
    pub tiny_vanishes: bool,
}

impl Rounding {
    /// One rounding of the product where it is not fused; one per block, and kc - 1 in the sum of a
    /// block, in whatever order: kc + blocks <= k + 1 for two blocks or more.
    fn of_a_chain<T: Real>(k: usize) -> Self {
        let times = (k + 1) as f64;
        Self {
            times,
            underflow: times * T::LEAST,
            of_largest: 0.0,
            at_extremes: times,
            tiny_vanishes: false,
        }
    }

    /// TDPBF16PS: 32 steps in two chains of 16 fused multiply-adds, the sum of the two chains, and
    /// the sum over the blocks of 32. Each of these operations loses less than the smallest normal
    /// value, because subnormal results become zero.
    fn of_tiles(k: usize) -> Self {
        let blocks = k.div_ceil(32);
        let (times, operations) = ((k.min(16) + 1 + blocks) as f64, (k + 2 * blocks) as f64);
        let underflow = operations * f64::from(f32::MIN_POSITIVE);
        Self { times, underflow, of_largest: 0.0, at_extremes: times, tiny_vanishes: false }
    }

    /// Sums of products of parts. In a block of at most [`MOST_STEPS`] steps of 32 a product of the first parts meets
    /// 16 roundings in its chain, one where chains meet and `adds` at each step; then one for each
    /// block. The magnitudes of parts add up to those of the values and up to 2^-7 more. `left_out`: what is missing of a
    /// product, and the roundings of small products, in units of a rounding.
    fn of_parts(k: usize, adds: usize, left_out: f64) -> Self {
        let steps = k.div_ceil(32);
        // Of a long product blocks are twice as long.
        let most = if steps > LONG_STEPS { 2 * MOST_STEPS } else { MOST_STEPS };
        let chain = (k.min(16) + 1 + adds * steps.min(most) + steps.div_ceil(most)) as f64;
        let plain = Self::of_a_chain::<f32>(k);
        Self {
            times: 1.02 * chain + left_out,
            underflow: plain.underflow,
            // Subnormal parts and results are lost, all below 2^-126, beside a product of at least 2^-80.
            of_largest: k as f64 * (-42.0_f64).exp2(),
            at_extremes: plain.times + left_out,
            // Two parts are not exact.
            tiny_vanishes: left_out > 100.0,
        }
    }
}

/// Steps of 32 in a block of k of parts.
const MOST_STEPS: usize = 12;

/// Steps of 32 beyond which a product is long.
const LONG_STEPS: usize = 256;

/// Whether a value is far from where parts of values, or of products, are lost.
pub fn is_moderate(x: f64) -> bool {
    x == 0.0 || ((-40.0_f64).exp2()..=50.0_f64.exp2()).contains(&x.abs())
}

fn on_tiles(isa: Isa) -> bool {
    isa != isa.without_tiles()
}

impl Multiplied<Self> for f32 {
    fn narrow(x: Self) -> Self {
        x
    }

    fn seen_on(self, isa: Isa, precision: Precision) -> Self {
        match precision {
            Precision::Bf16 => bf16::from_f32(self).seen_on(isa, precision),
            _ => self,
        }
    }

    fn rounding(isa: Isa, precision: Precision, k: usize) -> Rounding {
        match precision {
            Precision::Bf16 => bf16::rounding(isa, precision, k),
            // Left out: 2^-25 twice, and 2^-34; five small products of up to 2^-7 in all.
            Precision::Bf16x6 if on_tiles(isa) => Rounding::of_parts(k, 1, 2.0),
            // Left out: 2^-16 of the second parts, and 2^-17 of each operand.
            Precision::Bf16x3 if on_tiles(isa) => Rounding::of_parts(k, 3, 516.0),
            _ => Rounding::of_a_chain::<Self>(k),
        }
    }
}

impl Multiplied<Self> for f64 {
    fn narrow(x: Self) -> Self {
        x
    }
}

impl Multiplied<f32> for f16 {
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }

    fn rounding(isa: Isa, _precision: Precision, k: usize) -> Rounding {
        // Two parts are exact.
        if on_tiles(isa) { Rounding::of_parts(k, 4, 0.0) } else { Rounding::of_a_chain::<f32>(k) }
    }
}

impl Multiplied<f32> for bf16 {
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }

    /// Tiles take subnormal operands for zero.
    fn seen_on(self, isa: Isa, _precision: Precision) -> f32 {
        let x = self.to_f32();
        if on_tiles(isa) && x.is_subnormal() { f32::ZERO.copysign(x) } else { x }
    }

    fn rounding(isa: Isa, _precision: Precision, k: usize) -> Rounding {
        if on_tiles(isa) { Rounding::of_tiles(k) } else { Rounding::of_a_chain::<f32>(k) }
    }
}
