//! Sums, maxima and searches along one slice.

use super::runs::{BLOCK, Walker, sum_slots, walk};
use crate::simd::{Float, Kernel, Simd};

/// What is summed of each element.
pub(super) trait Term {
    /// The sum with one more term. Mark it `#[inline(always)]`.
    fn add<T: Float, S: Simd<T>>(&self, simd: S, x: S::V, sum: S::V) -> S::V;
}

/// The element.
pub(super) struct Plain;

impl Term for Plain {
    #[inline(always)]
    fn add<T: Float, S: Simd<T>>(&self, simd: S, x: S::V, sum: S::V) -> S::V {
        simd.add(sum, x)
    }
}

/// Its square.
pub(super) struct Squared;

impl Term for Squared {
    #[inline(always)]
    fn add<T: Float, S: Simd<T>>(&self, simd: S, x: S::V, sum: S::V) -> S::V {
        simd.mul_add(x, x, sum)
    }
}

/// The sum of the terms of `scale * x`: in `T` within a block, in `f64` over blocks.
#[inline(always)]
pub(super) fn block_sums<T: Float, S: Simd<T>, F: Term>(
    simd: S,
    x: &[T],
    scale: T,
    term: &F,
) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut terms = Terms { term, scale: simd.splat(scale), sum: [simd.zero(); 4] };
        walk(simd, [block], [T::ZERO], &mut terms);
        total += sum_slots::<T, S>(simd, terms.sum).to_f64();
    }
    total
}

/// The sum of a slice, for rows.
#[inline(always)]
pub(super) fn slice_sum<T: Float, S: Simd<T>>(simd: S, x: &[T]) -> T {
    T::from_f64(block_sums(simd, x, T::ONE, &Plain))
}

struct Terms<'a, F, V> {
    term: &'a F,
    scale: V,
    sum: [V; 4],
}

impl<T: Float, S: Simd<T>, F: Term> Walker<T, S, 1> for Terms<'_, F, S::V> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, [x]: [S::V; 1]) {
        self.sum[SLOT] = self.term.add(simd, simd.mul(x, self.scale), self.sum[SLOT]);
    }
}

/// The largest element of a slice that is not empty; NaN if one is NaN.
#[inline(always)]
pub(super) fn slice_max<T: Float, S: Simd<T>>(simd: S, x: &[T]) -> T {
    let mut top = Top::<_, false>([simd.splat(x[0]); 4]);
    walk(simd, [x], [x[0]], &mut top);
    top.value::<T, S>(simd)
}

/// The largest magnitude of a slice; NaN if an element is NaN.
#[inline(always)]
pub(super) fn slice_magnitude<T: Float, S: Simd<T>>(simd: S, x: &[T]) -> T {
    let mut top = Top::<_, true>([simd.zero(); 4]);
    walk(simd, [x], [T::ZERO], &mut top);
    top.value::<T, S>(simd)
}

/// The largest values or magnitudes so far.
struct Top<V, const MAGNITUDE: bool>([V; 4]);

impl<T: Float, S: Simd<T>, const MAGNITUDE: bool> Walker<T, S, 1> for Top<S::V, MAGNITUDE> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, [x]: [S::V; 1]) {
        let x = if MAGNITUDE { simd.abs(x) } else { x };
        self.0[SLOT] = simd.max_nan(self.0[SLOT], x);
    }
}

impl<V: Copy, const MAGNITUDE: bool> Top<V, MAGNITUDE> {
    #[inline(always)]
    fn value<T: Float, S: Simd<T, V = V>>(&self, simd: S) -> T {
        let [a, b, c, d] = self.0;
        let all = simd.max_nan(simd.max_nan(a, b), simd.max_nan(c, d));
        if simd.any(simd.is_nan(all)) { T::NAN } else { simd.max_lanes(all) }
    }
}

/// Where `value` comes first; the place of the first NaN as an error if `value` is NaN.
pub(super) struct Find<'a, T> {
    pub(super) x: &'a [T],
    pub(super) value: T,
}

impl<T: Float> Kernel<T> for Find<'_, T> {
    type Output = Result<usize, usize>;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> Result<usize, usize> {
        let Self { x, value } = self;
        if value.is_nan() {
            return Err(x.iter().position(|x| x.is_nan()).unwrap_or(x.len()));
        }
        let wanted = simd.splat(value);
        let mut at = 0;
        while at + S::LANES < x.len() && !simd.any(simd.eq(simd.load(&x[at..]), wanted)) {
            at += S::LANES;
        }
        Ok(at + x[at..].iter().position(|&x| x == value).unwrap_or(0))
    }
}
