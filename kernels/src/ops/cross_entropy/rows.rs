//! The body of softmax cross-entropy: one block of rows.

use super::Targets;
use super::soft::SoftRow;
use crate::ops::elementwise::{Binary, Unary, zip_slices};
use crate::ops::rows::{row_max, row_sum};
use crate::ops::softmax::{LnOfSum, ShiftedExp, flat_sum, softmax_in_place, softmax_row};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// Rows whose losses are added one after the other; larger sums are trees of these.
pub(super) const BLOCK: usize = 64;

/// Rows in place that are shorter, and no whole number of vectors, are copied, a whole block before its first
/// gradient is written: the last vector loaded from a row reaches into the next ones, and would wait for what
/// was just stored there.
const SHORT: usize = 64;

/// Elements of the longest vector on any path.
const VECTOR: usize = 16;

/// How targets become weights of the negative log-probabilities.
pub(super) struct Rules<'a, T> {
    pub(super) ignore_index: Option<usize>,
    pub(super) class_weights: Option<&'a [T]>,
    /// 1 - smoothing: what is left of the target itself.
    pub(super) keep: T,
    /// smoothing / classes: what every class gets.
    pub(super) floor: T,
    /// The sum of `floor` times class weight over the classes.
    pub(super) floor_total: T,
}

impl<T: Float> Rules<'_, T> {
    pub(super) fn weight_of(&self, class: usize) -> T {
        self.class_weights.map_or(T::ONE, |weights| weights[class])
    }
}

/// Where the logits are and the gradient goes.
#[derive(Debug)]
pub(crate) enum Matrices<'a, T> {
    /// No gradient is wanted.
    Logits(MatRef<'a, T>),
    /// It goes to another matrix.
    Apart(MatRef<'a, T>, MatMut<'a, T>),
    /// It replaces the logits.
    InPlace(MatMut<'a, T>),
}

impl<T> Matrices<'_, T> {
    fn rows(&self) -> usize {
        match self {
            Self::Logits(z) | Self::Apart(z, _) => z.rows(),
            Self::InPlace(z) => z.rows(),
        }
    }

    pub(super) fn cols(&self) -> usize {
        match self {
            Self::Logits(z) | Self::Apart(z, _) => z.cols(),
            Self::InPlace(z) => z.cols(),
        }
    }

    fn split(self, mid: usize) -> (Self, Self) {
        match self {
            Self::Logits(z) => {
                let (head, rest) = z.split_rows(mid);
                (Self::Logits(head), Self::Logits(rest))
            }
            Self::Apart(z, d) => {
                let ((z, z_rest), (d, d_rest)) = (z.split_rows(mid), d.split_rows(mid));
                (Self::Apart(z, d), Self::Apart(z_rest, d_rest))
            }
            Self::InPlace(z) => {
                let (head, rest) = z.split_rows(mid);
                (Self::InPlace(head), Self::InPlace(rest))
            }
        }
    }

    fn are_short_in_place(&self) -> bool {
        matches!(self, Self::InPlace(z) if z.cols() < SHORT && z.cols() % VECTOR != 0)
    }

    /// Copies the logits of short rows in place; `copy` stays as it is where they are not.
    fn copy_short(&self, copy: &mut [T])
    where
        T: Copy,
    {
        let Self::InPlace(z) = self else { return };
        if self.are_short_in_place() {
            let z = z.as_ref();
            for (i, copy) in copy.chunks_exact_mut(z.cols().max(1)).take(z.rows()).enumerate() {
                copy.copy_from_slice(z.row(i));
            }
        }
    }

    /// Row `i`, with its logits in `copy` where they have been copied; else what room there is.
    #[inline(always)]
    fn row<'b>(&'b mut self, i: usize, copy: &'b mut [T]) -> (Row<'b, T>, &'b mut [T]) {
        let short = self.are_short_in_place();
        let row = match self {
            Self::Logits(z) => Row::Logits(z.row(i)),
            Self::Apart(z, d) => Row::Apart(z.row(i), d.row_mut(i)),
            Self::InPlace(z) => {
                let cols = z.cols();
                if short {
                    return (Row::Apart(&copy[i * cols..][..cols], z.row_mut(i)), &mut []);
                }
                Row::InPlace(z.row_mut(i))
            }
        };
        (row, copy)
    }
}

/// A row of [`Matrices`].
pub(super) enum Row<'a, T> {
    Logits(&'a [T]),
    Apart(&'a [T], &'a mut [T]),
    InPlace(&'a mut [T]),
}

impl<'a, T: Float> Row<'a, T> {
    /// The place of the gradient.
    #[inline(always)]
    fn gradient(self) -> Option<&'a mut [T]> {
        match self {
            Self::Logits(_) => None,
            Self::Apart(_, d) | Self::InPlace(d) => Some(d),
        }
    }

    /// The logits, in `copy` where the gradient would overwrite them, and its place.
    #[inline(always)]
    fn apart(self, copy: &'a mut [T]) -> (&'a [T], Option<&'a mut [T]>) {
        match self {
            Self::Logits(z) => (z, None),
            Self::Apart(z, d) => (z, Some(d)),
            Self::InPlace(d) => {
                copy.copy_from_slice(d);
                (copy, Some(d))
            }
        }
    }

    #[inline(always)]
    fn logit(&self, class: usize) -> T {
        match self {
            Self::Logits(z) | Self::Apart(z, _) => z[class],
            Self::InPlace(z) => z[class],
        }
    }
}

/// Rows of logits with their targets and outputs.
pub(super) struct Rows<'a, T> {
    pub(super) rules: &'a Rules<'a, T>,
    pub(super) matrices: Matrices<'a, T>,
    pub(super) targets: Targets<'a, T>,
    /// The factor of every gradient.
    pub(super) scale: T,
    pub(super) losses: Option<&'a mut [T]>,
}

impl<T: Float> Split for Rows<'_, T> {
    fn units(&self) -> usize {
        self.matrices.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (matrices, matrices_rest) = self.matrices.split(mid);
        let (targets, targets_rest) = match self.targets {
            Targets::Classes(labels) => {
                let (head, rest) = labels.split_at(mid);
                (Targets::Classes(head), Targets::Classes(rest))
            }
            Targets::Probabilities(t) => {
                let (head, rest) = t.split_rows(mid);
                (Targets::Probabilities(head), Targets::Probabilities(rest))
            }
        };
        let (losses, losses_rest) = self.losses.map(|l| l.split_at_mut(mid)).unzip();
        let Self { rules, scale, .. } = self;
        let rest = Self {
            matrices: matrices_rest,
            targets: targets_rest,
            losses: losses_rest,
            rules,
            scale,
        };
        (Self { matrices, targets, losses, rules, scale }, rest)
    }
}

/// At most [`BLOCK`] rows.
pub(super) struct Block<'a, 'b, T> {
    pub(super) rows: Rows<'a, T>,
    /// Room for logits that are needed beyond their gradient; see [`Rows::copies`].
    pub(super) copy: &'b mut [T],
}

impl<T: Float> Kernel<T> for Block<'_, '_, T> {
    /// The sum of the losses.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> f64 {
        let Self { rows: mut work, copy } = self;
        let rows = work.units();
        debug_assert!(rows <= BLOCK);
        // A row's loss is factor (ln sum + offset); the logarithms of a block are taken together.
        work.matrices.copy_short(copy);
        let mut sums = [T::ONE; BLOCK];
        let mut offsets = [T::ZERO; BLOCK];
        let mut factors = [T::ONE; BLOCK];
        for i in 0..rows {
            let parts = work.row(simd, i, copy);
            (sums[i], offsets[i], factors[i]) = (parts.sum, parts.offset, parts.factor);
        }
        let mut losses = [T::ZERO; BLOCK];
        zip_slices(simd, AddLn, [&sums[..rows], &offsets[..rows]], &mut losses[..rows]);
        let mut total = 0.0;
        for (loss, &factor) in losses[..rows].iter_mut().zip(&factors) {
            // A class without weight counts for nothing even where its loss is infinite.
            *loss = if factor == T::ZERO { T::ZERO } else { *loss * factor };
            total += loss.to_f64();
        }
        if let Some(out) = work.losses {
            out.copy_from_slice(&losses[..rows]);
        }
        total
    }
}

/// A row's loss as factor (ln sum + offset).
pub(super) struct Parts<T> {
    pub(super) sum: T,
    pub(super) offset: T,
    pub(super) factor: T,
}

impl<T: Float> Rows<'_, T> {
    /// Elements of the copy that a block needs: of all its rows if they are short, else of one.
    pub(super) fn copies(&self) -> usize {
        if self.matrices.are_short_in_place() {
            return BLOCK * self.matrices.cols();
        }
        let labels = matches!(self.targets, Targets::Classes(_)) && self.rules.floor == T::ZERO;
        if labels || !matches!(self.matrices, Matrices::InPlace(_)) {
            return 0;
        }
        self.matrices.cols()
    }

    #[inline(always)]
    fn row<S: Simd<T>>(&mut self, simd: S, i: usize, copy: &mut [T]) -> Parts<T> {
        let (row, copy) = self.matrices.row(i, copy);
        let (rules, scale) = (self.rules, self.scale);
        match self.targets {
            Targets::Classes(labels) if rules.ignore_index == Some(labels[i]) => {
                if let Some(d) = row.gradient() {
                    d.fill(T::ZERO);
                }
                Parts { sum: T::ONE, offset: T::ZERO, factor: T::ONE }
            }
            Targets::Classes(labels) if rules.floor == T::ZERO => {
                let factor = rules.weight_of(labels[i]);
                label_row(simd, row, labels[i], [factor, scale])
            }
            Targets::Classes(labels) => {
                let share = rules.keep * rules.weight_of(labels[i]);
                let peak = Some((labels[i], share));
                let (z, d) = row.apart(copy);
                SoftRow { t: None, peak, rules, scale }.run(simd, z, d)
            }
            Targets::Probabilities(t) => {
                let (z, d) = row.apart(copy);
                SoftRow { t: Some(t.row(i)), peak: None, rules, scale }.run(simd, z, d)
            }
        }
    }
}

/// The maximum of a row and the sum of its shifted exponentials; the gradient becomes `mass` times
/// the softmax. A row of only -∞ counts as zeros with maximum -∞.
#[inline(always)]
pub(super) fn sums<T: Float, S: Simd<T>>(simd: S, row: &mut Row<'_, T>, mass: T) -> (T, T) {
    let z = match row {
        Row::Logits(z) => *z,
        Row::Apart(z, d) => return softmax_row(simd, z, d, mass),
        Row::InPlace(d) => return softmax_in_place(simd, d, mass),
    };
    let max = row_max(simd, z);
    if max == T::NEG_INFINITY {
        return (max, flat_sum(z));
    }
    (max, row_sum(simd, ShiftedExp { max }, z, T::NEG_INFINITY))
}

/// `max - z`, or 0 in a row of only -∞.
#[inline(always)]
pub(super) fn below_max<T: Float>(max: T, z: T) -> T {
    if max == T::NEG_INFINITY { T::ZERO } else { max - z }
}

/// A row compared with one class: loss factor (ln sum + max - z[label]), gradient
/// factor scale (p - onehot(label)).
#[inline(always)]
fn label_row<T: Float, S: Simd<T>>(
    simd: S,
    mut row: Row<'_, T>,
    label: usize,
    [factor, scale]: [T; 2],
) -> Parts<T> {
    let (share, z) = (factor * scale, row.logit(label));
    let (max, sum) = sums(simd, &mut row, share);
    if let Some(d) = row.gradient() {
        d[label] -= share;
    }
    Parts { sum, offset: below_max(max, z), factor }
}

/// ln sum + offset.
#[derive(Clone, Copy)]
struct AddLn;

impl<T: Float> Binary<T> for AddLn {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, sum: S::V, offset: S::V) -> S::V {
        simd.add(LnOfSum.apply(simd, sum), offset)
    }
}
