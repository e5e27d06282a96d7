//! The clock of the CPU, seen from outside: how fast dependent instructions follow each other.
//!
//! Counters of cycles are not for every process to read, and the one that is counts at a rate of its
//! own. Instructions of known latency tell what the core does while it computes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tilewise_kernels::available;
use tilewise_kernels::simd::{Kernel, Simd};

use super::arithmetic::flops;

/// How long each clock is looked at: the best of some hundred attempts counts.
const TIME: Duration = Duration::from_millis(20);

/// Work per second of the best of many calls.
fn best_rate(mut body: impl FnMut() -> f64) -> f64 {
    let start = Instant::now();
    let mut best = 0.0_f64;
    while start.elapsed() < TIME {
        let call = Instant::now();
        let amount = body();
        best = best.max(amount / call.elapsed().as_secs_f64());
    }
    best
}

/// Cycles per second while plain code runs: a multiplication takes three cycles and an exclusive or
/// one on every 64-bit x86 CPU of the last fifteen years. `None` on others.
pub(crate) fn scalar() -> Option<f64> {
    const STEPS: usize = 25_000;
    let chain = || {
        let (factor, mask) = black_box((0x9e37_79b9_7f4a_7c15_u64, 0x1234_5678_u64));
        let mut x = 1_u64;
        for _ in 0..STEPS {
            x = x.wrapping_mul(factor) ^ mask;
        }
        black_box(x);
        (4 * STEPS) as f64
    };
    cfg!(target_arch = "x86_64").then(|| best_rate(chain))
}

/// Cycles per second while the widest vectors multiply and add without a pause, which some CPUs slow
/// down for. Follows from the rate, if that is of one or two whole units at about the `scalar` clock.
/// `None` where multiply-adds are not fused, so that their number per cycle is not known.
pub(crate) fn vector(scalar: Option<f64>) -> Option<f64> {
    let isa = *available().ok()?.last()?;
    let per_unit = 2 * isa.run::<f32, _>(FusedLanes)?;
    let per_unit = per_unit as f64;
    let rate = best_rate(flops::<f32>(isa));
    let units = (rate / (per_unit * scalar?)).round().max(1.0);
    Some(rate / (per_unit * units))
}

/// Lanes of a path that fuses multiply-adds.
struct FusedLanes;

impl Kernel<f32> for FusedLanes {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Simd<f32>>(self, _simd: S) -> Option<usize> {
        S::FUSED.then_some(S::LANES)
    }
}
