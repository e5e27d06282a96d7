//! A few rows of A times a B whose columns are contiguous: every element of C is a dot product of
//! two contiguous runs, and packing B would cost more than the sums.
//!
//! ```text
//!            k ->                     a group: ROWS x COLS = LANES accumulators of one vector each
//!   a0  ================              b0 ================
//!   a1  ================              b1 ================     c[i][j] = sum of the lanes
//!                                     b2 ================              of accumulator (i, j)
//! ```
//!
//! Each lane sums every `LANES`-th step; the lanes are added at the end, those of all accumulators
//! together. The order depends on k alone, but it is not that of the tiles: a row has other bits in
//! a product of so many rows that tiles take it.

use super::element::Element;
use super::epilogue::Finish;
use super::plan::{Operand, Problem};
use super::region::Region;
use crate::buffer::with_scratch;
use crate::dispatch::caches;
use crate::parallel::ColumnsMut;
use crate::simd::{Float, Kernel, MOST_LANES, Simd};

/// Rows of A that are taken at once, at most.
pub(super) const MOST_ROWS: usize = 8;

/// Bytes that a single row asks for ahead of their use: a page, since the prefetchers of the CPU stop at
/// its end. With more rows the sums take longer than the memory.
const AHEAD: usize = 4096;

/// The same in halves: they are used up at half the speed.
const HALVES_AHEAD: usize = 512;

/// A region whose rows of A and columns of B are contiguous.
pub(super) struct Dots<'a, 'b, E: Element> {
    pub(super) region: &'a Region<'b, E>,
}

impl<E: Element> Kernel<E::Sum> for Dots<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let Problem { a, shape: [rows, _, k], .. } = self.region.problem;
        if a.strides[1] == 1 || k == 1 {
            return self.rows(simd, a);
        }
        // A few rows of halves, which are wanted in runs. A sum has the room of two.
        let len = rows * k;
        with_scratch(len, |scratch: *mut E::Sum| {
            let start: *mut E = scratch.cast();
            for row in 0..rows {
                for step in 0..k {
                    // SAFETY: the region has these rows and steps, and the scratch as many elements.
                    unsafe { *start.wrapping_add(row * k + step) = *a.at(row, step) };
                }
            }
            self.rows(simd, Operand { start: start.cast_const(), strides: [k, 1] });
        });
    }
}

impl<E: Element> Dots<'_, '_, E> {
    /// The products of rows `a`, whose elements are neighbours.
    #[inline(always)]
    fn rows<S: Simd<E::Sum>>(&self, simd: S, a: Operand<E>) {
        let [rows, cols, k] = self.region.problem.shape;
        // Columns that stay in the second level while all rows pass.
        let column = k.saturating_mul(size_of::<E>()).max(1);
        let most = (caches().l2 / 2 / column).next_multiple_of(S::LANES).max(S::LANES);
        for first_col in (0..cols).step_by(most) {
            let some = [first_col, cols.min(first_col.saturating_add(most))];
            for first in (0..rows).step_by(MOST_ROWS) {
                let rows = [first, rows.min(first + MOST_ROWS)];
                let strip = Strip { region: self.region, a, rows, k };
                strip.columns(simd, some);
            }
        }
        let Region { problem: Problem { c, shape, ref store, .. }, origin, .. } = *self.region;
        store.measure(simd, c, origin, [shape[0], shape[1]]);
    }
}

/// A few rows of a region, with all its columns.
struct Strip<'a, 'b, E: Element> {
    region: &'a Region<'b, E>,
    a: Operand<E>,
    /// The first row, and the one behind the last.
    rows: [usize; 2],
    k: usize,
}

/// Columns of a strip that are taken in groups of one size, with `CHAINS` accumulators for each sum.
struct Groups<'a, 'b, 'c, E: Element, const ROWS: usize, const COLS: usize, const CHAINS: usize> {
    strip: &'a Strip<'b, 'c, E>,
    /// The first column, and the one behind the last.
    cols: [usize; 2],
}

impl<E: Element> Strip<'_, '_, E> {
    /// Some columns, in groups of a size that suits the number of rows.
    fn columns<S: Simd<E::Sum>>(&self, simd: S, cols: [usize; 2]) {
        let [first, end] = self.rows;
        // All rows of a product have their sums in the same order, the last one too.
        let alone = self.region.problem.shape[0] == 1;
        match (S::LANES, end - first) {
            (_, 1) if alone && S::REGISTERS >= 32 => self.row::<S, 8>(simd, cols),
            (_, 1) if alone => self.row::<S, 4>(simd, cols),
            (16, 1) => self.enter::<S, 1, 16, 1>(simd, cols),
            (8, 1) => self.enter::<S, 1, 8, 1>(simd, cols),
            (4, 1) => self.enter::<S, 1, 4, 1>(simd, cols),
            (16, 2) => self.enter::<S, 2, 8, 1>(simd, cols),
            (16, 3 | 4) => self.enter::<S, 4, 4, 1>(simd, cols),
            (16, _) => self.enter::<S, 8, 2, 1>(simd, cols),
            (8, 2) => self.enter::<S, 2, 4, 1>(simd, cols),
            (8, 3 | 4) => self.enter::<S, 4, 2, 1>(simd, cols),
            (8, _) => self.enter::<S, 8, 1, 1>(simd, cols),
            (4, 2) => self.enter::<S, 2, 2, 1>(simd, cols),
            (4, _) => self.enter::<S, 4, 1, 1>(simd, cols),
            _ => unreachable!("vectors have 4, 8 or 16 lanes"),
        }
    }

    /// A function of its own for each size: together they would take each other's registers.
    #[inline(never)]
    fn enter<S: Simd<E::Sum>, const ROWS: usize, const COLS: usize, const CHAINS: usize>(
        &self,
        simd: S,
        cols: [usize; 2],
    ) {
        simd.call(Groups::<E, ROWS, COLS, CHAINS> { strip: self, cols });
    }

    /// A single row, in two chains for each sum: as many runs at once as memory serves best.
    fn row<S: Simd<E::Sum>, const COLS: usize>(&self, simd: S, [first, end]: [usize; 2]) {
        let whole = first + (end - first) / COLS * COLS;
        self.enter::<S, 1, COLS, 2>(simd, [first, whole]);
        self.enter::<S, 1, 1, 2>(simd, [whole, end]);
    }
}

impl<E: Element, const ROWS: usize, const COLS: usize, const CHAINS: usize> Kernel<E::Sum>
    for Groups<'_, '_, '_, E, ROWS, COLS, CHAINS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let Strip { region, a, rows: [first, end], k } = *self.strip;
        let Problem { b, c, ref store, .. } = region.problem;
        let alpha = simd.splat(store.alpha);
        let plain = store.is_plain() && store.beta == E::Sum::ZERO && c.strides[1] == 1;
        let [first_col, end_col] = self.cols;
        for col in (first_col..end_col).step_by(COLS) {
            let width = COLS.min(end_col - col);
            for row in (first..end).step_by(ROWS) {
                let height = ROWS.min(end - row);
                let whole = height == ROWS && width == COLS;
                let group: Group<_, ROWS, COLS> = if whole {
                    Group {
                        rows: std::array::from_fn(|i| a.at(row + i, 0)),
                        cols: std::array::from_fn(|j| b.at(0, col + j)),
                        k,
                    }
                } else {
                    // The last row and column that there are are taken again.
                    Group {
                        rows: std::array::from_fn(|i| a.at(row + i.min(height - 1), 0)),
                        cols: std::array::from_fn(|j| b.at(0, col + j.min(width - 1))),
                        k,
                    }
                };
                let mut sums = [E::Sum::ZERO; MOST_LANES];
                simd.store(simd.mul(alpha, group.sums::<S, CHAINS>(simd)), &mut sums);
                if whole && plain {
                    for (i, sums) in sums[..ROWS * COLS].chunks_exact(COLS).enumerate() {
                        let place = c.at(row + i, col).cast_mut();
                        // SAFETY: COLS elements of C in the region, which no one else touches now.
                        unsafe { place.copy_from_nonoverlapping(sums.as_ptr(), COLS) };
                    }
                    continue;
                }
                for (i, sums) in sums.chunks_exact_mut(COLS).enumerate().take(height) {
                    self.strip.store(simd, &mut sums[..width], [row + i, col]);
                }
            }
        }
    }
}

impl<E: Element> Strip<'_, '_, E> {
    /// Finishes the sums of a part of a row, scaled already, and stores them.
    #[inline(never)]
    fn store<S: Simd<E::Sum>>(&self, simd: S, sums: &mut [E::Sum], [row, col]: [usize; 2]) {
        let Region { problem: Problem { c, ref store, .. }, origin, .. } = *self.region;
        let place = |j: usize| c.at(row, col + j).cast_mut();
        if store.beta != E::Sum::ZERO {
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: an element of C in the region, which no one else touches now.
                *sum += store.beta * unsafe { *place(j) };
            }
        }
        if !store.keeps_values() {
            let at = [origin[0] + row, origin[1] + col];
            let width = sums.len();
            Finish { store, rows: ColumnsMut::new(sums, 1, width), at }.apply(simd);
        }
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *place(j) = *sum };
        }
    }
}

/// `ROWS` rows of A times `COLS` columns of B: as many products as vectors have lanes.
struct Group<E, const ROWS: usize, const COLS: usize> {
    rows: [*const E; ROWS],
    cols: [*const E; COLS],
    k: usize,
}

/// Accumulators of a group, one for each product.
type Sums<V> = [V; MOST_LANES];

impl<E: Element, const ROWS: usize, const COLS: usize> Group<E, ROWS, COLS> {
    /// The product of row i and column j, in lane `i * COLS + j`.
    #[inline(always)]
    fn sums<S: Simd<E::Sum>, const CHAINS: usize>(&self, simd: S) -> S::V {
        let mut chains = [[simd.zero(); MOST_LANES]; CHAINS];
        if E::FEW {
            self.sum_halves(simd, &mut chains);
        } else {
            self.sum(simd, &mut chains);
        }
        let mut sums = chains[0];
        for others in &chains[1..] {
            for (sum, &other) in sums.iter_mut().zip(others) {
                *sum = simd.add(*sum, other);
            }
        }
        simd.sum_each(&mut sums[..S::LANES])
    }

    /// Adds all products of halves, two vectors of each run at a time.
    #[inline(always)]
    fn sum_halves<S: Simd<E::Sum>, const CHAINS: usize>(
        &self,
        simd: S,
        chains: &mut [Sums<S::V>; CHAINS],
    ) {
        let together = 2 * S::LANES;
        let whole = self.k / together * together;
        for step in (0..whole).step_by(together) {
            // SAFETY: the region's rows and columns have k elements, of which these are two vectors.
            let load = |run: &*const E| unsafe { E::load_two(simd, run.wrapping_add(step)) };
            self.add_two(simd, load, chains);
            if ROWS == 1 {
                for col in &self.cols {
                    simd.prefetch(col.wrapping_add(step + HALVES_AHEAD).cast());
                }
            }
        }
        if whole < self.k {
            // SAFETY: as above; these are the last ones.
            let load = |run: &*const E| unsafe {
                E::load_some(simd, run.wrapping_add(whole), self.k - whole)
            };
            self.add_two(simd, load, chains);
        }
    }

    /// Adds the products of two vectors of every row and every column.
    #[inline(always)]
    fn add_two<S: Simd<E::Sum>, const CHAINS: usize>(
        &self,
        simd: S,
        load: impl Fn(&*const E) -> [S::V; 2],
        chains: &mut [Sums<S::V>; CHAINS],
    ) {
        let rows: [[S::V; 2]; ROWS] = std::array::from_fn(|i| load(&self.rows[i]));
        for (j, col) in self.cols.iter().enumerate() {
            for (v, col) in load(col).into_iter().enumerate() {
                let sums = &mut chains[v % CHAINS];
                for (i, row) in rows.iter().enumerate() {
                    sums[i * COLS + j] = simd.mul_add(row[v], col, sums[i * COLS + j]);
                }
            }
        }
    }

    /// Adds all products of floats, a vector of each run at a time.
    #[inline(always)]
    fn sum<S: Simd<E::Sum>, const CHAINS: usize>(
        &self,
        simd: S,
        chains: &mut [Sums<S::V>; CHAINS],
    ) {
        let (mut step, whole) = (0, self.k / S::LANES * S::LANES);
        while step + CHAINS * S::LANES <= whole {
            for sums in chains.iter_mut() {
                // SAFETY: the region's rows and columns have k elements, of which these are LANES.
                let load = |run: &*const E| unsafe { simd.load_ptr(run.wrapping_add(step).cast()) };
                self.add(simd, load, sums);
                if ROWS == 1 {
                    for col in &self.cols {
                        simd.prefetch(col.wrapping_add(step + AHEAD / size_of::<E>()).cast());
                    }
                }
                step += S::LANES;
            }
        }
        for sums in chains.iter_mut() {
            if step < whole {
                // SAFETY: as above.
                let load = |run: &*const E| unsafe { simd.load_ptr(run.wrapping_add(step).cast()) };
                self.add(simd, load, sums);
                step += S::LANES;
            }
        }
        if step < self.k {
            let tail = simd.tail(self.k - step);
            // SAFETY: as above; these are the last ones.
            let load =
                |run: &*const E| unsafe { simd.load_tail(run.wrapping_add(step).cast(), tail) };
            self.add(simd, load, &mut chains[CHAINS - 1]);
        }
    }

    /// Adds the products of one vector of every row and every column.
    #[inline(always)]
    fn add<S: Simd<E::Sum>>(
        &self,
        simd: S,
        load: impl Fn(&*const E) -> S::V,
        sums: &mut Sums<S::V>,
    ) {
        let rows: [S::V; ROWS] = std::array::from_fn(|i| load(&self.rows[i]));
        for (j, col) in self.cols.iter().enumerate() {
            let col = load(col);
            for (i, row) in rows.iter().enumerate() {
                sums[i * COLS + j] = simd.mul_add(*row, col, sums[i * COLS + j]);
            }
        }
    }
}
