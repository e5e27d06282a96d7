//! Finding values outside an interval before anything is written.

use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Elements checked by one leaf.
const BLOCK: usize = 1 << 14;

/// The index of the first value that is not in `low..=high` (NaN is not), if there is one. One read
/// of `values`.
pub(crate) fn first_outside<T: Float>(
    values: &[T],
    [low, high]: [T; 2],
    exec: Exec,
) -> Result<Option<usize>> {
    let isa = exec.path()?;
    let work = Inside { values, low, high };
    let leaf = |piece: Inside<'_, T>| isa.run(piece);
    let inside = exec.threads().fold_blocks(work, [BLOCK, 4 * BLOCK], &leaf, &|a, b| a && b);
    if inside {
        return Ok(None);
    }
    Ok(values.iter().position(|&x| !(low <= x && x <= high)))
}

struct Inside<'a, T> {
    values: &'a [T],
    low: T,
    high: T,
}

impl<T: Float> Split for Inside<'_, T> {
    fn units(&self) -> usize {
        self.values.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (values, rest) = self.values.split_at(mid);
        (Self { values, ..self }, Self { values: rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Inside<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> bool {
        let (low, high) = (simd.splat(self.low), simd.splat(self.high));
        let mut outside = simd.zero();
        for x in self.values.chunks(S::LANES) {
            let x = simd.load_or(x, self.low);
            // The clamp returns NaN, its second operand, and NaN equals nothing.
            let clamped = simd.max(low, simd.min(high, x));
            outside = simd.select(simd.eq(clamped, x), outside, simd.splat(T::ONE));
        }
        !simd.any(simd.lt(simd.zero(), outside))
    }
}
