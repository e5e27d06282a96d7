//! One row times a matrix: every element of B is used once, so B is read in order, where it lies,
//! at the speed of the memory it comes from.
//!
//! The sums run over k in ascending order, one multiply-add per step, exactly as in the tiles: a
//! row of C has the same bits alone and among others.

use super::driver::Block;
use crate::simd::{Float, Kernel, Simd};

/// Columns whose sums stay in the first-level cache while eight rows of B at a time stream by.
const STRIP: usize = 2048;

/// The widest vector has this many lanes.
const MOST_LANES: usize = 16;

/// Groups of columns summed at a time: as many chains as keep the multiply-add units busy.
const GROUPS: usize = 4;

/// A block with a single row of A and an unpacked B with contiguous rows or contiguous columns.
pub(super) struct RowTimesMatrix<'a, T> {
    pub(super) block: &'a Block<'a, T>,
}

impl<T: Float> Kernel<T> for RowTimesMatrix<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        if self.block.b.strides[1] == 1 {
            self.along_rows(simd);
        } else {
            self.along_columns(simd);
        }
    }
}

impl<T: Float> RowTimesMatrix<'_, T> {
    /// Element `p` of the row of A.
    #[inline(always)]
    fn factor(&self, p: usize) -> T {
        // SAFETY: callers pass steps below k, which the block's A has.
        unsafe { *self.block.a.at(0, p) }
    }

    /// Rows of B are contiguous: sums of a strip of columns take eight rows at a time.
    #[inline(always)]
    fn along_rows<S: Simd<T>>(&self, simd: S) {
        let [_, cols, k] = self.block.shape;
        for first in (0..cols).step_by(STRIP) {
            let width = STRIP.min(cols - first);
            let mut sums = [T::ZERO; STRIP];
            let sums = &mut sums[..width];
            let whole = k / 8 * 8;
            for p in (0..whole).step_by(8) {
                self.add_rows::<S, 8>(simd, p, first, sums);
            }
            for p in whole..k {
                self.add_rows::<S, 1>(simd, p, first, sums);
            }
            for (i, sums) in sums.chunks(S::LANES).enumerate() {
                self.store(simd, simd.load_partial(sums), first + i * S::LANES, sums.len());
            }
        }
    }

    /// Adds `N` rows of B, from step `p` and column `first` on, times their factors.
    #[inline(always)]
    fn add_rows<S: Simd<T>, const N: usize>(
        &self,
        simd: S,
        p: usize,
        first: usize,
        sums: &mut [T],
    ) {
        let factors: [S::V; N] = std::array::from_fn(|i| simd.splat(self.factor(p + i)));
        let rows: [*const T; N] = std::array::from_fn(|i| self.block.b.at(p + i, first));
        let whole = sums.len() / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let mut sum = simd.load(&sums[at..]);
            for (factor, row) in factors.iter().zip(rows) {
                // SAFETY: LANES columns from `first + at` on lie within the strip.
                sum = simd.mul_add(*factor, unsafe { simd.load_ptr(row.add(at)) }, sum);
            }
            simd.store(sum, &mut sums[at..]);
        }
        let tail = simd.tail(sums.len() - whole);
        let mut sum = simd.load_partial(&sums[whole..]);
        for (factor, row) in factors.iter().zip(rows) {
            // SAFETY: `tail` ends with the strip; with nothing left nothing is read.
            let values = unsafe { simd.load_tail(row.wrapping_add(whole), tail) };
            sum = simd.mul_add(*factor, values, sum);
        }
        simd.store_partial(sum, &mut sums[whole..]);
    }

    /// Columns of B are contiguous: squares of it are turned, then used step by step. Several
    /// groups of columns at a time, since each is a chain of dependent multiply-adds.
    #[inline(always)]
    fn along_columns<S: Simd<T>>(&self, simd: S) {
        let [_, cols, k] = self.block.shape;
        let whole = k / S::LANES * S::LANES;
        for first in (0..cols).step_by(GROUPS * S::LANES) {
            let columns = (GROUPS * S::LANES).min(cols - first);
            let mut sums = [simd.zero(); GROUPS];
            for p in (0..whole).step_by(S::LANES) {
                self.add_squares::<S, true>(simd, [p, first], [S::LANES, columns], &mut sums);
            }
            if whole < k {
                self.add_squares::<S, false>(simd, [whole, first], [k - whole, columns], &mut sums);
            }
            for (group, sum) in sums.into_iter().enumerate() {
                let at = group * S::LANES;
                if at < columns {
                    self.store(simd, sum, first + at, S::LANES.min(columns - at));
                }
            }
        }
    }

    /// Adds `steps x columns` of B from `(p, first)` on. `WHOLE`: there are LANES steps.
    #[inline(always)]
    fn add_squares<S: Simd<T>, const WHOLE: bool>(
        &self,
        simd: S,
        [p, first]: [usize; 2],
        [steps, columns]: [usize; 2],
        sums: &mut [S::V; GROUPS],
    ) {
        let tail = simd.tail(steps);
        let mut squares = [[simd.zero(); MOST_LANES]; GROUPS];
        for (group, square) in squares.iter_mut().enumerate() {
            let at = group * S::LANES;
            let exist = columns.saturating_sub(at).min(S::LANES);
            let start = self.block.b.at(p, first + at);
            let stride = self.block.b.strides[1];
            for (i, values) in square[..exist].iter_mut().enumerate() {
                let from = start.wrapping_add(i * stride);
                // SAFETY: column `first + at + i` has `steps` steps from p on.
                *values =
                    unsafe { if WHOLE { simd.load_ptr(from) } else { simd.load_tail(from, tail) } };
            }
            simd.transpose(&mut square[..S::LANES]);
        }
        for i in 0..(if WHOLE { S::LANES } else { steps }) {
            let factor = simd.splat(self.factor(p + i));
            for (sum, square) in sums.iter_mut().zip(&squares) {
                *sum = simd.mul_add(factor, square[i], *sum);
            }
        }
    }

    /// Stores `count` sums at column `col` of C.
    #[inline(always)]
    fn store<S: Simd<T>>(&self, simd: S, sums: S::V, col: usize, count: usize) {
        let [alpha, beta] = self.block.scale;
        let c = self.block.c.at(0, col).cast_mut();
        let mut value = simd.mul(simd.splat(alpha), sums);
        let tail = simd.tail(count);
        // SAFETY: `count` columns of C exist from `col` on, contiguous in a block made for this.
        unsafe {
            if beta != T::ZERO {
                value = simd.mul_add(simd.splat(beta), simd.load_tail(c, tail), value);
            }
            simd.store_tail(value, c, tail);
        }
    }
}
