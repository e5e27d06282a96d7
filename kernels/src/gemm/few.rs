//! A few rows of halves: every element of B is used a few times only, so it is
//! widened in registers where it lies, in the order of memory, and nothing is packed.
//!
//! ```text
//!   sums of a strip of columns, in f32:  [ row 0 ][ row 1 ] ...  stay in the first-level cache
//!   B, eight steps of the strip:         step p   | 2 vectors | 2 vectors | ...
//!                                        step p+1 | 2 vectors | 2 vectors | ...   and so on
//! ```
//!
//! On a CPU with tiles the fewest rows go this way too, unless rows must have the same bits in any batch:
//! tiles sum in another order.
//!
//! The sums run over k in ascending order, one multiply-add per step, exactly as in the tiles: a row of
//! C has the same bits alone, among a few and among many. Where columns of B are contiguous instead, and
//! bits may depend on the number of rows, elements are [dot products](super::dots).

use super::blocking::even_pieces;
use super::element::Element;
use super::epilogue::Finish;
use super::plan::{Method, Operand, Problem};
use super::region::Region;
use super::{Gemm, SumsTo};
use crate::buffer::with_scratch;
use crate::dispatch::Isa;
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::ColumnsMut;
use crate::simd::{Float, Kernel, MOST_LANES, Simd};

/// Rows that are computed so, at most: with more of them packing is earned back.
const MOST_ROWS: usize = 8;

/// Sums of a strip, of all its rows: a third of a first-level cache.
const SUMS: usize = 4096;

/// Steps of k that are added at once.
const STEPS: usize = 8;

/// How a product of halves of `[m, n, k]` with these strides is computed without packing, and whether it
/// is the transposed one, if a side is short enough for that.
fn way([m, n, k]: [usize; 3], [a, b]: [[usize; 2]; 2], invariant: bool) -> Option<(Method, bool)> {
    let turned = m > n;
    // The short side, and the strides of the other operand along k and along its long side.
    let (rows, [along_k, along]) = if turned { (n, [a[1], a[0]]) } else { (m, b) };
    if rows > MOST_ROWS || k == 0 {
        None
    } else if !invariant && along_k == 1 {
        Some((Method::Dots, turned))
    } else {
        (along == 1).then_some((Method::Rows, turned))
    }
}

impl<E: Element> Problem<'_, E> {
    /// The same of this product, if its operands are halves.
    #[inline(always)]
    pub(super) fn way_of_few(&self, invariant: bool) -> Option<(Method, bool)> {
        let Problem { a, b, shape, .. } = self;
        if E::FEW { way(*shape, [a.strides, b.strides], invariant) } else { None }
    }
}

/// Whether a product has at most so many multiply-adds.
fn is_at_most(work: usize, [m, n, k]: [usize; 3]) -> bool {
    m.checked_mul(n).and_then(|sums| sums.checked_mul(k)).is_some_and(|all| all <= work)
}

/// Rows for which vectors are faster than tiles of bf16, whose operands must be packed, at most.
const BESIDE_TILES: usize = 4;

impl<T: Float, E: SumsTo<T>> Gemm<'_, T, E> {
    /// The path that will run: the one that an operand was packed for, if one was.
    #[inline]
    pub(super) fn path(&self, exec: Exec) -> Result<Isa> {
        if let Some(isa) = self.a.isa().or(self.b.isa()) {
            return Ok(isa);
        }
        let isa = E::path_on(exec.path_for_halves()?, self.precision);
        let vectors = E::FEW && !self.invariant && self.blocking.is_none() && self.is_for_vectors();
        Ok(if vectors { isa.without_tiles() } else { isa })
    }

    /// Whether vectors multiply these halves faster than tiles.
    fn is_for_vectors(&self) -> bool {
        let (a, b) = (self.a.operand(), self.b.operand());
        let ([m, k], [_, n]) = (self.a.shape(), self.b.shape());
        let few = m.min(n) <= BESIDE_TILES;
        is_at_most(E::BESIDE_TILES, [m, n, k])
            || few && way([m, n, k], [a.strides, b.strides], false).is_some()
    }
}

/// A region of a few rows, of halves whose B has contiguous rows.
pub(super) struct FewRows<'a, 'b, E: Element> {
    pub(super) region: &'a Region<'b, E>,
}

impl<E: Element> Kernel<E::Sum> for FewRows<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let Problem { c, shape: [rows, cols, _], ref store, .. } = self.region.problem;
        let together = 2 * S::LANES;
        let at_once = rows.clamp(1, MOST_ROWS);
        let most = (SUMS / at_once).next_multiple_of(together);
        let width = most.min(cols.next_multiple_of(together));
        // A row of sums in their order follows the sums.
        with_scratch((at_once + 1) * width, |sums: *mut E::Sum| {
            for first in (0..cols).step_by(width.max(1)) {
                let count = width.min(cols - first);
                for row in (0..rows).step_by(MOST_ROWS) {
                    let place = [row, first];
                    let shape = [MOST_ROWS.min(rows - row), count];
                    let sums = Sums { start: sums, width };
                    simd.call(Strip { region: self.region, place, shape, sums });
                }
            }
        });
        store.measure(simd, c, self.region.origin, [rows, cols]);
    }
}

/// Sums of a strip: row by row, and in the order in which pairs of vectors are loaded.
struct Sums<T> {
    start: *mut T,
    /// From row to row.
    width: usize,
}

impl<T> Sums<T> {
    fn at(&self, row: usize, col: usize) -> *mut T {
        self.start.wrapping_add(row * self.width + col)
    }
}

/// Some columns of some rows of a region.
struct Strip<'a, 'b, E: Element> {
    region: &'a Region<'b, E>,
    /// The first row and column, and how many.
    place: [usize; 2],
    shape: [usize; 2],
    sums: Sums<E::Sum>,
}

impl<E: Element> Kernel<E::Sum> for Strip<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let ([rows, _], k) = (self.shape, self.region.problem.shape[2]);
        let Sums { start, width } = self.sums;
        for (step, steps) in even_pieces(k, self.region.packing.blocking.kc) {
            // SAFETY: room for so many sums, which nobody else uses now.
            unsafe { start.write_bytes(0, rows * width) };
            self.add_steps(simd, [step, step + steps]);
            for row in 0..rows {
                self.finish(simd, row, [step == 0, step + steps == k]);
            }
        }
    }
}

impl<E: Element> Strip<'_, '_, E> {
    /// Adds the products of steps from `step` to `end`.
    #[inline(always)]
    fn add_steps<S: Simd<E::Sum>>(&self, simd: S, [mut step, end]: [usize; 2]) {
        while step + STEPS <= end {
            self.add::<S, STEPS>(simd, step);
            step += STEPS;
        }
        for step in step..end {
            self.add::<S, 1>(simd, step);
        }
    }

    /// Adds the products of `N` steps.
    #[inline(always)]
    fn add<S: Simd<E::Sum>, const N: usize>(&self, simd: S, step: usize) {
        let (Problem { a, b, .. }, [rows, count]) = (self.region.problem, self.shape);
        let mut factors = [[E::Sum::ZERO; N]; MOST_ROWS];
        for (row, factors) in factors[..rows].iter_mut().enumerate() {
            for (i, factor) in factors.iter_mut().enumerate() {
                // SAFETY: the region has these rows and steps.
                *factor = unsafe { *a.at(self.place[0] + row, step + i) }.widen();
            }
        }
        let (factors, from) = (&factors[..rows], b.at(step, self.place[1]));
        let from = Operand { start: from, ..b };
        let together = 2 * S::LANES;
        let whole = count / together * together;
        for col in (0..whole).step_by(together) {
            let mut values = [[simd.zero(); 2]; N];
            for (i, values) in values.iter_mut().enumerate() {
                let at = from.at(i, col);
                simd.prefetch(from.at(N + i, col).cast());
                // SAFETY: so many columns of the strip exist from `col` on.
                *values = unsafe { E::load_two(simd, at) };
            }
            add_products(simd, factors, &values, |row| self.sums.at(row, col));
        }
        if whole < count {
            let mut values = [[simd.zero(); 2]; N];
            for (i, values) in values.iter_mut().enumerate() {
                // SAFETY: the last columns of the strip.
                *values = unsafe { E::load_some(simd, from.at(i, whole), count - whole) };
            }
            add_products(simd, factors, &values, |row| self.sums.at(row, whole));
        }
    }

    /// Makes of a row of finished sums the row of C. `begins`: C holds its old values; `ends`: no
    /// steps follow.
    #[inline(always)]
    fn finish<S: Simd<E::Sum>>(&self, simd: S, row: usize, [begins, ends]: [bool; 2]) {
        let Region { problem: Problem { c, ref store, .. }, origin, .. } = *self.region;
        let (at, [rows, count]) = ([self.place[0] + row, self.place[1]], self.shape);
        // SAFETY: one row of sums, and the room for another behind them, which nobody else uses now.
        let (sums, values) = unsafe {
            let values = std::slice::from_raw_parts_mut(self.sums.at(rows, 0), count);
            (std::slice::from_raw_parts(self.sums.at(row, 0), self.sums.width), values)
        };
        let [alpha, beta] = store.scale(begins);
        let mut pieces = values.chunks_exact_mut(2 * S::LANES);
        for (i, piece) in pieces.by_ref().enumerate() {
            let sums = &sums[i * 2 * S::LANES..];
            E::in_order(simd, [simd.load(sums), simd.load(&sums[S::LANES..])], piece);
        }
        let rest = pieces.into_remainder();
        let tail = &sums[count - rest.len()..];
        for (i, piece) in rest.chunks_mut(S::LANES).enumerate() {
            simd.store_partial(simd.load(&tail[i * S::LANES..]), piece);
        }
        let place = |j: usize| c.at(at[0], at[1] + j).cast_mut();
        let factors = [alpha, beta].map(|x| simd.splat(x));
        for (i, piece) in values.chunks_mut(S::LANES).enumerate() {
            let mut value = simd.mul(factors[0], simd.load_partial(piece));
            if beta != E::Sum::ZERO {
                let mut old = [E::Sum::ZERO; MOST_LANES];
                for (j, old) in old[..piece.len()].iter_mut().enumerate() {
                    // SAFETY: an element of C in the region, which no one else touches now.
                    *old = unsafe { *place(i * S::LANES + j) };
                }
                value = simd.mul_add(factors[1], simd.load(&old), value);
            }
            simd.store_partial(value, piece);
        }
        if ends && !store.keeps_values() {
            let at = [origin[0] + at[0], origin[1] + at[1]];
            Finish { store, rows: ColumnsMut::new(values, 1, count), at }.apply(simd);
        }
        if c.strides[1] == 1 {
            for (i, piece) in values.chunks(S::LANES).enumerate() {
                // SAFETY: a part of the row of C in the region, which no one else touches now.
                unsafe {
                    let tail = simd.tail(piece.len());
                    simd.store_tail(simd.load_partial(piece), place(i * S::LANES), tail);
                }
            }
            return;
        }
        for (j, value) in values.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *place(j) = *value };
        }
    }
}

/// Adds to the two vectors of sums of each row the products of its factors and `values`.
#[inline(always)]
fn add_products<T: Float, S: Simd<T>, const N: usize>(
    simd: S,
    factors: &[[T; N]],
    values: &[[S::V; 2]; N],
    place: impl Fn(usize) -> *mut T,
) {
    for (row, factors) in factors.iter().enumerate() {
        let [low, high] = [place(row), place(row).wrapping_add(S::LANES)];
        // SAFETY: the caller's strip has room for whole pairs of vectors of every row.
        unsafe {
            let mut sums = [simd.load_ptr(low), simd.load_ptr(high)];
            for (factor, values) in factors.iter().zip(values) {
                let factor = simd.splat(*factor);
                sums[0] = simd.mul_add(factor, values[0], sums[0]);
                sums[1] = simd.mul_add(factor, values[1], sums[1]);
            }
            simd.store_ptr(sums[0], low);
            simd.store_ptr(sums[1], high);
        }
    }
}
