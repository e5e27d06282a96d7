//! What the oracle of matrix products needs to know of the operands' types.

use tilewise_kernels::{Float, Isa, SumsTo, bf16, f16};

use crate::real::{Real, Stored};

/// An operand of products that are summed in `T`.
pub trait Multiplied<T: Real>: SumsTo<T> + Stored {
    /// The nearest value of this type.
    fn narrow(x: T) -> Self;

    /// This value as products on `isa` see it.
    fn seen_on(self, _isa: Isa) -> T {
        self.widen()
    }

    /// How sums over `k` steps are rounded on `isa`.
    fn rounding(_isa: Isa, k: usize) -> Rounding {
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
}

impl Rounding {
    /// One rounding of the product where it is not fused; one per block, and kc - 1 in the sum of a
    /// block, in whatever order: kc + blocks <= k + 1 for two blocks or more.
    fn of_a_chain<T: Real>(k: usize) -> Self {
        let times = (k + 1) as f64;
        Self { times, underflow: times * T::LEAST }
    }

    /// TDPBF16PS: 32 steps in two chains of 16 fused multiply-adds, the sum of the two chains, and
    /// the sum over the blocks of 32. Each of these operations loses less than the smallest normal
    /// value, because subnormal results become zero.
    fn of_tiles(k: usize) -> Self {
        let blocks = k.div_ceil(32);
        let operations = (k + 2 * blocks) as f64;
        Self {
            times: (k.min(16) + 1 + blocks) as f64,
            underflow: operations * f64::from(f32::MIN_POSITIVE),
        }
    }
}

fn on_tiles(isa: Isa) -> bool {
    isa != isa.without_tiles()
}

impl Multiplied<Self> for f32 {
    fn narrow(x: Self) -> Self {
        x
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
}

impl Multiplied<f32> for bf16 {
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }

    /// Tiles take subnormal operands for zero.
    fn seen_on(self, isa: Isa) -> f32 {
        let x = self.to_f32();
        if on_tiles(isa) && x.is_subnormal() { f32::ZERO.copysign(x) } else { x }
    }

    fn rounding(isa: Isa, k: usize) -> Rounding {
        if on_tiles(isa) { Rounding::of_tiles(k) } else { Rounding::of_a_chain::<f32>(k) }
    }
}
