//! A row of logits compared with a distribution.

use super::rows::{Parts, Row, Rules, below_max, sums};
use crate::ops::elementwise::Unary;
use crate::ops::rows::uniform_lane;
use crate::ops::softmax::LnOfSum;
use crate::simd::{Float, Simd};

/// A row compared with a distribution: target weights a = class weight (keep t + floor), and `peak`
/// more at one class.
pub(super) struct SoftRow<'a, T> {
    pub(super) t: Option<&'a [T]>,
    pub(super) peak: Option<(usize, T)>,
    pub(super) rules: &'a Rules<'a, T>,
    pub(super) scale: T,
}

impl<T: Float> SoftRow<'_, T> {
    /// The loss Σ a (ln sum + max - z) as an offset; the gradient scale (p Σ a - a).
    #[inline(always)]
    pub(super) fn run<S: Simd<T>>(self, simd: S, z: &[T], mut d: Option<&mut [T]>) -> Parts<T> {
        let peak_share = self.peak.map_or(T::ZERO, |(_, share)| share);
        let total = match self.t {
            None => self.rules.floor_total + peak_share,
            Some(_) if d.is_none() => T::ZERO,
            Some(_) => self.total_weight(simd, z.len()),
        };
        let mut row = match d.as_deref_mut() {
            Some(d) => Row::Apart(z, d),
            None => Row::Logits(z),
        };
        let (max, sum) = sums(simd, &mut row, total * self.scale);
        let ln_sum = uniform_lane(simd, LnOfSum.apply(simd, simd.splat(sum)));
        let mut offset = self.spread(simd, z, [max, ln_sum], d.as_deref_mut());
        if let Some((label, share)) = self.peak {
            if share != T::ZERO {
                offset += share * (ln_sum + below_max(max, z[label]));
            }
            if let Some(d) = d {
                d[label] -= share * self.scale;
            }
        }
        Parts { sum: T::ONE, offset, factor: T::ONE }
    }

    /// The weights of classes `from..to`, at most a vector; 0 in the lanes beyond.
    #[inline(always)]
    fn weights<S: Simd<T>>(&self, simd: S, from: usize, to: usize) -> S::V {
        let floor = simd.splat(self.rules.floor);
        let a = match self.t {
            Some(t) => {
                simd.mul_add(simd.load_partial(&t[from..to]), simd.splat(self.rules.keep), floor)
            }
            None => floor,
        };
        let a = match self.rules.class_weights {
            Some(weights) => simd.mul(a, simd.load_partial(&weights[from..to])),
            None => a,
        };
        simd.first_lanes(to - from, a, simd.zero())
    }

    #[inline(always)]
    fn total_weight<S: Simd<T>>(&self, simd: S, classes: usize) -> T {
        let mut total = simd.zero();
        for from in (0..classes).step_by(S::LANES) {
            total = simd.add(total, self.weights(simd, from, classes.min(from + S::LANES)));
        }
        simd.sum_lanes(total)
    }

    /// Takes `scale` times a, without the peak, off `d`.
    #[inline(always)]
    pub(super) fn take_off<S: Simd<T>>(&self, simd: S, d: &mut [T]) {
        for from in (0..d.len()).step_by(S::LANES) {
            let to = d.len().min(from + S::LANES);
            let a = self.weights(simd, from, to);
            let share = simd.load_partial(&d[from..to]);
            let gradient = simd.neg_mul_add(a, simd.splat(self.scale), share);
            simd.store_partial(gradient, &mut d[from..to]);
        }
    }

    /// Σ a (ln_sum + max - z) without the peak; takes `scale` times a off `d`.
    #[inline(always)]
    pub(super) fn spread<S: Simd<T>>(
        &self,
        simd: S,
        z: &[T],
        [max, ln_sum]: [T; 2],
        mut d: Option<&mut [T]>,
    ) -> T {
        let flat = max == T::NEG_INFINITY;
        let mut loss = simd.zero();
        for from in (0..z.len()).step_by(S::LANES) {
            let to = z.len().min(from + S::LANES);
            let a = self.weights(simd, from, to);
            let below = simd.sub(simd.splat(max), simd.load_partial(&z[from..to]));
            let below = if flat { simd.zero() } else { below };
            let term = simd.mul(a, simd.add(simd.splat(ln_sum), below));
            // Weight 0 silences a logit of -∞.
            let silent = simd.eq(a, simd.zero());
            loss = simd.add(loss, simd.select(silent, simd.zero(), term));
            if let Some(d) = d.as_deref_mut() {
                let share = simd.load_partial(&d[from..to]);
                let gradient = simd.neg_mul_add(a, simd.splat(self.scale), share);
                simd.store_partial(gradient, &mut d[from..to]);
            }
        }
        simd.sum_lanes(loss)
    }
}
