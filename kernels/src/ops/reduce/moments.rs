//! Mean and variance of columns: fixed blocks of rows, merged in order.
//!
//! The values of a block are shifted by a pivot, the mean of the block's first rows, and summed
//! with their squares in one pass. With `k` of the block's `n` rows in the pivot `p`,
//! `sum (x - p)^2 = M2 + n (p - mean)^2 <= M2 (1 + n / k)`, because the `k` rows alone contribute
//! at least `k (p - mean)^2` to `M2`: at most a factor of 9 of precision goes into the
//! cancellation, whatever the data. Merging follows Chan, Golub and LeVeque (1983), in `f64` and
//! relative to the first pivot, so that a large offset costs nothing.

use super::columns::{Columns, Group, Panel, Rows, sweep};
use crate::ops::storage::Storage;
use crate::simd::{Float, Simd};

/// Rows per block: sums in the element type stay short, and merging stays rare.
pub(crate) const BLOCK_ROWS: usize = 128;

/// The pivot is the mean of one row in this many, rounded up.
pub(crate) const PIVOT_SHARE: usize = 8;

/// Channels that are worked on together. One row of a strip is four cache lines of `f32`: fewer
/// per row defeat the hardware's prefetching.
pub(crate) const STRIP: usize = 64;

/// Rows that are asked for ahead of their use: the rows of a strip lie too far apart for the
/// hardware to guess the next one.
const AHEAD: usize = 8;

/// Merged statistics of one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    /// A value near the mean.
    pub(crate) pivot: f64,
    /// The mean less the pivot.
    pub(crate) delta: f64,
    /// The sum of squared distances from the mean.
    pub(crate) m2: f64,
}

impl Moment {
    /// The statistics of `count` values from the sums of what exceeds `pivot`, and its squares.
    #[inline(always)]
    pub(crate) fn from_sums(pivot: f64, sum: f64, squares: f64, count: f64) -> Self {
        // The same for all channels of a strip: one division for all of them.
        let share = 1.0 / count;
        let delta = sum * share;
        let m2 = squares - sum * delta;
        // Rounding can leave a little less than nothing; a NaN stays.
        Self { pivot, delta, m2: if m2 < 0.0 { 0.0 } else { m2 } }
    }

    /// The statistics of `count` values (these) and `more` others.
    #[inline(always)]
    pub(crate) fn merged(self, count: f64, other: Self, more: f64) -> Self {
        if count == 0.0 {
            return other;
        }
        let share = more / (count + more);
        let apart = ((other.pivot - self.pivot) + other.delta) - self.delta;
        Self {
            pivot: self.pivot,
            delta: self.delta + apart * share,
            m2: self.m2 + other.m2 + apart * apart * (count * share),
        }
    }

    /// The mean rounded to `T`, and what that left out; NaN both where a value was not finite.
    #[inline(always)]
    pub(crate) fn mean<T: Float>(self) -> (T, T) {
        if self.m2.is_nan() {
            return (T::NAN, T::NAN);
        }
        let mean = T::from_f64(self.pivot + self.delta);
        (mean, T::from_f64((self.pivot - mean.to_f64()) + self.delta))
    }

    /// The biased variance of `count` values.
    #[inline(always)]
    pub(crate) fn var<T: Float>(self, count: f64) -> T {
        let share = 1.0 / count;
        T::from_f64(self.m2 * share)
    }
}

/// Merged statistics of a strip of channels.
pub(crate) struct StripMoments {
    pub(crate) channels: [Moment; STRIP],
    pub(crate) count: f64,
}

impl StripMoments {
    /// The statistics of all rows of a panel of at most [`STRIP`] columns.
    #[inline(always)]
    pub(crate) fn of<T, S, E>(simd: S, panel: Panel<'_, E>) -> Self
    where
        T: Float,
        S: Simd<T>,
        E: Storage<T>,
    {
        let mut all = Self { channels: [Moment::default(); STRIP], count: 0.0 };
        let mut first = 0;
        while first < panel.rows() {
            let rows = BLOCK_ROWS.min(panel.rows() - first);
            let block = BlockSums::of(simd, panel.rows_from(first, rows));
            for (c, all_of_c) in all.channels[..panel.width()].iter_mut().enumerate() {
                *all_of_c = all_of_c.merged(all.count, block.moment(c), rows as f64);
            }
            all.count += rows as f64;
            first += rows;
        }
        all
    }
}

/// One block's sums of what exceeds the pivot, and of its squares.
pub(crate) struct BlockSums<P, T> {
    panel: P,
    pivot: [T; STRIP],
    sum: [T; STRIP],
    squares: [T; STRIP],
}

impl<P: Rows<Element: Storage<T>>, T: Float> BlockSums<P, T> {
    /// The sums over a panel of at most [`BLOCK_ROWS`] rows and [`STRIP`] columns.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(simd: S, panel: P) -> Self {
        let (zeros, width) = ([T::ZERO; STRIP], panel.width());
        let mut sums = Self { panel, pivot: zeros, sum: zeros, squares: zeros };
        sweep(simd, width, &mut sums);
        sums
    }

    /// The statistics of column `c`.
    #[inline(always)]
    pub(crate) fn moment(&self, c: usize) -> Moment {
        let (pivot, sum) = (self.pivot[c].to_f64(), self.sum[c].to_f64());
        Moment::from_sums(pivot, sum, self.squares[c].to_f64(), self.panel.rows() as f64)
    }

    /// The mean of the first rows, exact where they are equal.
    #[inline(always)]
    fn pivot<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        group: Group<V, WHOLE>,
    ) -> [S::V; V] {
        let rows = self.panel.rows().div_ceil(PIVOT_SHARE);
        let first = group.load(simd, self.panel.row(0));
        let mut sum = [simd.zero(); V];
        for i in 1..rows {
            group.prefetch(simd, self.panel.start_of(i + AHEAD));
            let x = group.load(simd, self.panel.row(i));
            for k in 0..V {
                sum[k] = simd.add(sum[k], simd.sub(x[k], first[k]));
            }
        }
        let share = simd.splat(T::ONE / T::from_usize(rows));
        for k in 0..V {
            sum[k] = simd.mul_add(sum[k], share, first[k]);
        }
        sum
    }
}

impl<P: Rows<Element: Storage<T>>, T: Float> Columns<T> for BlockSums<P, T> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let pivot = self.pivot(simd, group);
        // Even and odd rows apart: shorter chains of additions, in time and in rounding.
        let mut even = Sums { sum: [simd.zero(); V], squares: [simd.zero(); V] };
        let mut odd = even;
        let rows = self.panel.rows();
        for i in (0..rows - rows % 2).step_by(2) {
            group.prefetch(simd, self.panel.start_of(i + AHEAD));
            group.prefetch(simd, self.panel.start_of(i + AHEAD + 1));
            even.add(simd, group.load(simd, self.panel.row(i)), pivot);
            odd.add(simd, group.load(simd, self.panel.row(i + 1)), pivot);
        }
        if rows % 2 == 1 {
            even.add(simd, group.load(simd, self.panel.row(rows - 1)), pivot);
        }
        for k in 0..V {
            even.sum[k] = simd.add(even.sum[k], odd.sum[k]);
            even.squares[k] = simd.add(even.squares[k], odd.squares[k]);
        }
        group.store(simd, pivot, &mut self.pivot);
        group.store(simd, even.sum, &mut self.sum);
        group.store(simd, even.squares, &mut self.squares);
    }
}

#[derive(Clone, Copy)]
struct Sums<V, const N: usize> {
    sum: [V; N],
    squares: [V; N],
}

impl<V: Copy, const N: usize> Sums<V, N> {
    #[inline(always)]
    fn add<T: Float, S: Simd<T, V = V>>(&mut self, simd: S, x: [V; N], pivot: [V; N]) {
        for k in 0..N {
            let excess = simd.sub(x[k], pivot[k]);
            self.sum[k] = simd.add(self.sum[k], excess);
            self.squares[k] = simd.mul_add(excess, excess, self.squares[k]);
        }
    }
}
