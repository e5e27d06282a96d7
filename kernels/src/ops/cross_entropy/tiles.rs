//! Cross-entropy of rows whose logits come a tile of classes at a time.

use super::rows::{BLOCK, Rules, below_max};
use super::soft::SoftRow;
use crate::ops::elementwise::{Unary, update_slice};
use crate::ops::rows::{row_max, row_sum, uniform_lane};
use crate::ops::softmax::{LnOfSum, ShiftedExp, flat_sum};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// What is known of rows of which some tiles have been seen, one number of each kind per row.
#[derive(Debug)]
pub(super) struct States<'a, T> {
    /// The largest logit.
    max: &'a mut [T],
    /// Σ exp(z - max); where all were -∞, their number. In the end what exponentials are multiplied
    /// with to become gradients.
    sum: &'a mut [T],
    /// Σ a (max - z) for the weights a that every class has, whatever the label.
    spread: &'a mut [T],
    /// The logit of the label.
    label: &'a mut [T],
}

impl<'a, T: Float> States<'a, T> {
    /// Numbers per row.
    pub(super) const PER_ROW: usize = 4;

    /// Of `rows` rows, in the first elements of `room`.
    pub(super) fn new(room: &'a mut [T], rows: usize) -> Self {
        let (max, room) = room.split_at_mut(rows);
        let (sum, room) = room.split_at_mut(rows);
        let (spread, room) = room.split_at_mut(rows);
        Self { max, sum, spread, label: &mut room[..rows] }
    }

    /// Before the first tile.
    pub(super) fn reset(&mut self) {
        self.max.fill(T::NEG_INFINITY);
        self.sum.fill(T::ZERO);
        self.spread.fill(T::ZERO);
        self.label.fill(T::ZERO);
    }

    pub(super) fn reborrow(&mut self) -> States<'_, T> {
        let Self { max, sum, spread, label } = self;
        States { max, sum, spread, label }
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (max, max_rest) = self.max.split_at_mut(mid);
        let (sum, sum_rest) = self.sum.split_at_mut(mid);
        let (spread, spread_rest) = self.spread.split_at_mut(mid);
        let (label, label_rest) = self.label.split_at_mut(mid);
        let rest = Self { max: max_rest, sum: sum_rest, spread: spread_rest, label: label_rest };
        (Self { max, sum, spread, label }, rest)
    }
}

impl<T: Float> Rules<'_, T> {
    /// The rules for the classes from `first` on.
    pub(super) fn of_classes(&self, first: usize, count: usize) -> Self {
        let class_weights = self.class_weights.map(|weights| &weights[first..first + count]);
        let total = match class_weights {
            _ if self.floor == T::ZERO => 0.0,
            None => count as f64,
            Some(weights) => weights.iter().map(|w| w.to_f64()).sum(),
        };
        let floor_total = T::from_f64(self.floor.to_f64() * total);
        Self { ignore_index: self.ignore_index, class_weights, floor_total, ..*self }
    }

    /// What every class weighs, as the weights of a row.
    fn floors(&self, scale: T) -> SoftRow<'_, T> {
        SoftRow { t: None, peak: None, rules: self, scale }
    }
}

/// A tile of logits that is brought into the states of its rows.
pub(super) struct Fold<'a, T> {
    /// Of the tile's classes.
    pub(super) rules: &'a Rules<'a, T>,
    pub(super) z: MatRef<'a, T>,
    pub(super) labels: &'a [usize],
    /// The tile's first class.
    pub(super) class: usize,
    /// What the classes before it weigh, whatever the label.
    pub(super) seen: T,
    pub(super) states: States<'a, T>,
}

impl<T: Float> Split for Fold<'_, T> {
    fn units(&self) -> usize {
        self.z.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (z, z_rest) = self.z.split_rows(mid);
        let (labels, labels_rest) = self.labels.split_at(mid);
        let (states, states_rest) = self.states.split(mid);
        let rest = Self { z: z_rest, labels: labels_rest, states: states_rest, ..self };
        (Self { z, labels, states, ..self }, rest)
    }
}

impl<T: Float> Kernel<T> for Fold<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { rules, z, labels, class, seen, states } = self;
        for (i, label) in labels.iter().enumerate() {
            let row = z.row(i);
            let (old, top) = (states.max[i], row_max(simd, row));
            // False where the row has a NaN, which the sum will keep.
            let max = if top > old { top } else { old };
            states.max[i] = max;
            if max == T::NEG_INFINITY {
                states.sum[i] += flat_sum(row);
            } else {
                let f = ShiftedExp { max };
                if max != old {
                    states.sum[i] *= uniform_lane(simd, f.apply(simd, simd.splat(old)));
                }
                states.sum[i] += row_sum(simd, f, row, T::NEG_INFINITY);
                if rules.floor != T::ZERO {
                    let moved = if seen == T::ZERO { T::ZERO } else { seen * (max - old) };
                    let new = rules.floors(T::ONE).spread(simd, row, [max, T::ZERO], None);
                    states.spread[i] += moved + new;
                }
            }
            if let Some(z) = label.checked_sub(class).and_then(|at| row.get(at)) {
                states.label[i] = *z;
            }
        }
    }
}

/// The end of a block: losses are taken, and states become factors of gradients.
pub(super) struct Rescaled<'a, T> {
    /// Of all classes.
    pub(super) rules: &'a Rules<'a, T>,
    pub(super) labels: &'a [usize],
    /// The factor of every gradient.
    pub(super) scale: T,
    pub(super) states: States<'a, T>,
    pub(super) losses: Option<&'a mut [T]>,
}

impl<T: Float> Kernel<T> for Rescaled<'_, T> {
    /// The sum of the losses.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) -> f64 {
        let mut total = 0.0;
        for first in (0..self.labels.len()).step_by(BLOCK) {
            let rows = first..self.labels.len().min(first + BLOCK);
            let mut ln_sums = [T::ONE; BLOCK];
            ln_sums[..rows.len()].copy_from_slice(&self.states.sum[rows.clone()]);
            update_slice(simd, LnOfSum, &mut ln_sums[..rows.len()]);
            for (i, ln_sum) in rows.zip(ln_sums) {
                let loss = self.row(i, ln_sum);
                total += loss.to_f64();
                if let Some(losses) = self.losses.as_deref_mut() {
                    losses[i] = loss;
                }
            }
        }
        total
    }
}

impl<T: Float> Rescaled<'_, T> {
    /// The loss of a row; its sum becomes the factor of its gradient.
    #[inline(always)]
    fn row(&mut self, i: usize, ln_sum: T) -> T {
        let Self { rules, labels, scale, states, .. } = self;
        if rules.ignore_index == Some(labels[i]) {
            return T::ZERO;
        }
        let share = rules.keep * rules.weight_of(labels[i]);
        states.sum[i] = (rules.floor_total + share) * *scale / states.sum[i];
        // What weighs nothing counts for nothing even where its loss is infinite.
        let mut loss = T::ZERO;
        if rules.floor_total != T::ZERO {
            loss += states.spread[i] + rules.floor_total * ln_sum;
        }
        if share != T::ZERO {
            loss += share * (ln_sum + below_max(states.max[i], states.label[i]));
        }
        loss
    }
}

/// A tile of logits that becomes their gradient.
pub(super) struct Gradient<'a, T> {
    /// Of the tile's classes.
    pub(super) rules: &'a Rules<'a, T>,
    pub(super) z: MatMut<'a, T>,
    pub(super) labels: &'a [usize],
    /// The tile's first class.
    pub(super) class: usize,
    /// The factor of every gradient.
    pub(super) scale: T,
    pub(super) states: States<'a, T>,
}

impl<T: Float> Split for Gradient<'_, T> {
    fn units(&self) -> usize {
        self.z.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (z, z_rest) = self.z.split_rows(mid);
        let (labels, labels_rest) = self.labels.split_at(mid);
        let (states, states_rest) = self.states.split(mid);
        let Self { rules, class, scale, .. } = self;
        let rest =
            Self { z: z_rest, labels: labels_rest, states: states_rest, rules, class, scale };
        (Self { z, labels, states, rules, class, scale }, rest)
    }
}

impl<T: Float> Kernel<T> for Gradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let Self { rules, labels, class, scale, .. } = self;
        for (i, &label) in labels.iter().enumerate() {
            let row = self.z.row_mut(i);
            if rules.ignore_index == Some(label) {
                row.fill(T::ZERO);
                continue;
            }
            let (max, factor) = (self.states.max[i], self.states.sum[i]);
            if max == T::NEG_INFINITY {
                row.fill(factor);
            } else {
                update_slice(simd, ScaledExp { max, factor }, row);
            }
            if rules.floor != T::ZERO {
                rules.floors(scale).take_off(simd, row);
            }
            let at = label.checked_sub(class).filter(|&at| at < row.len());
            if let Some(at) = at {
                row[at] -= rules.keep * rules.weight_of(at) * scale;
            }
        }
    }
}

/// factor exp(z - max).
#[derive(Clone, Copy)]
struct ScaledExp<T> {
    max: T,
    factor: T,
}

impl<T: Float> Unary<T> for ScaledExp<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, z: S::V) -> S::V {
        let power = ShiftedExp { max: self.max }.apply(simd, z);
        simd.mul(power, simd.splat(self.factor))
    }
}
