//! Rectangles of C, and how they are cut.
//!
//! Threads get rectangles of C and share nothing, so k is never split between them and the chain of
//! operations behind each element is the same for any number of threads.

use super::blocking::{panels, stays_in_second_level, strips, whole_panels};
use super::element::Element;
use super::plan::{GRAIN, Method, Operand, Packing, Problem, Source};
use super::tile_table::TileTable;
use crate::dispatch::caches;
use crate::parallel::Split;
use crate::simd::{LINE, Simd};

/// How far ahead of its multiply-adds a tile that packs asks for an operand that is near, in rows too far
/// apart for prefetchers.
const STEPS_AHEAD: usize = 8;

/// The same where B comes from further away, strip by strip.
const STRIPS_AHEAD: usize = 2;

/// A rectangle of C with all that is needed to compute it.
#[derive(Clone, Copy)]
pub(super) struct Region<'a, E: Element> {
    pub(super) problem: Problem<'a, E>,
    /// Row and column of C where the rectangle starts.
    pub(super) origin: [usize; 2],
    /// Rectangles are cut at multiples of these numbers of rows and columns, whole tiles at least.
    pub(super) grid: [usize; 2],
    pub(super) packing: Packing,
    /// Whether C is written past the caches.
    pub(super) streams: bool,
}

// SAFETY: the addresses come from slices borrowed for 'a, A and B shared and C exclusively, and two
// regions made by `split` write disjoint rectangles of C.
unsafe impl<E: Element> Send for Region<'_, E> {}

impl<E: Element> Split for Region<'_, E> {
    fn units(&self) -> usize {
        self.problem.tiles(self.grid)
    }

    /// Cuts rows or columns in the proportion of `mid`.
    fn split(self, mid: usize) -> (Self, Self) {
        let [rows, cols, _] = self.problem.shape;
        let tiles = [rows.div_ceil(self.grid[0]), cols.div_ceil(self.grid[1])];
        let units = tiles[0] * tiles[1];
        let share = |side: usize| {
            ((tiles[side] * mid + units / 2) / units * self.grid[side])
                .min(self.problem.shape[side])
        };
        if !self.cuts_rows(tiles) {
            return self.at_column(share(1));
        }
        match self.packing.a {
            // Packed panels have the heights that they have in the whole.
            Source::Prepacked(_) => self.at_row(share(0).min(whole_panels(rows, self.grid[0]))),
            _ => self.at_row(share(0)),
        }
    }
}

impl<E: Element> Region<'_, E> {
    /// The rows before `cut` and the rest.
    fn at_row(self, cut: usize) -> (Self, Self) {
        let [rows, cols, k] = self.problem.shape;
        self.parts([cut, 0], [[cut, cols, k], [rows - cut, cols, k]])
    }

    /// The columns before `cut` and the rest.
    pub(super) fn at_column(self, cut: usize) -> (Self, Self) {
        let [rows, cols, k] = self.problem.shape;
        self.parts([0, cut], [[rows, cut, k], [rows, cols - cut, k]])
    }

    /// What is left after the columns before the first whole cache line of C, which are computed here:
    /// stores past the caches write whole lines.
    pub(super) fn aligned_for_streaming<S: Simd<E::Sum>>(self, simd: S) -> Self {
        let lead = self.problem.c.start.align_offset(LINE);
        if !self.streams || lead == 0 {
            return self;
        }
        if lead >= self.problem.shape[1] {
            return Self { streams: false, ..self };
        }
        let (first, rest) = self.at_column(lead);
        simd.call(Self { streams: false, ..first });
        rest
    }

    /// The part of one shape at the origin and the part of another one `at` a row and column.
    fn parts(self, at: [usize; 2], shapes: [[usize; 3]; 2]) -> (Self, Self) {
        let Problem { a, b, c, .. } = self.problem;
        // Prepacked panels have strides of 0, and are found from the origin of the region.
        let rest = Problem {
            a: Operand { start: a.at(at[0], 0), ..a },
            b: Operand { start: b.at(0, at[1]), ..b },
            c: Operand { start: c.at(at[0], at[1]), ..c },
            shape: shapes[1],
            ..self.problem
        };
        let origin = [self.origin[0] + at[0], self.origin[1] + at[1]];
        let first = Problem { shape: shapes[0], ..self.problem };
        (Self { problem: first, ..self }, Self { problem: rest, origin, ..self })
    }

    /// Whether tiles pack what they first read of A and of B, in blocks of so many rows and columns, and the
    /// distance at which they ask for more. It must lie as panels do, a tile wide or high at every step, more
    /// than one tile must want it, and it must be near: what comes from further away comes faster to a loop
    /// that does nothing else. But where B is taken strip by strip, there is time to ask for the next ones.
    pub(super) fn fresh<S: Simd<E::Sum>>(&self, [rows, cols]: [usize; 2]) -> [Option<usize>; 2] {
        let Problem { a, b, shape, .. } = self.problem;
        let (tile_rows, tile_cols) = (TileTable::<S, E::Sum>::ROWS, TileTable::<S, E::Sum>::COLS);
        let near =
            |side: usize| stays_in_second_level([shape[side], shape[2]], size_of::<E>(), caches());
        let vectors = cols.div_ceil(S::LANES);
        let strip = strips(vectors, TileTable::<S, E::Sum>::VECTORS, true).0 > 0;
        let panel = panels(rows, tile_rows).next().is_some_and(|panel| panel.1 == tile_rows);
        let packs = [self.packing.a, self.packing.b].map(|of| of == Source::Pack && E::IN_PLACE);
        let of_a = packs[0] && a.strides[0] == 1 && cols > tile_cols && strip && near(0);
        let of_b = packs[1] && b.strides[1] == 1 && rows > tile_rows && cols >= tile_cols && panel;
        let strip_by_strip = self.packing.blocking.nc <= tile_cols;
        [
            of_a.then(|| STEPS_AHEAD * a.strides[1]),
            match of_b {
                true if strip_by_strip => Some(STRIPS_AHEAD * tile_cols),
                true if near(1) => Some(STEPS_AHEAD * b.strides[0]),
                _ => None,
            },
        ]
    }

    /// Units that make up [`GRAIN`].
    pub(super) fn grain(&self) -> usize {
        let steps = self.problem.shape[2].max(1);
        GRAIN.div_ceil((self.grid[0] * self.grid[1]).saturating_mul(steps))
    }

    /// Whether to cut rows rather than columns: both parts pack their own copy of what they share,
    /// so the cut goes through a side whose operand is packed, if the other one is not.
    fn cuts_rows(&self, tiles: [usize; 2]) -> bool {
        match (self.packing.a, self.packing.b) {
            // The number of rows decides the order of the sums, and a few rows are taken together.
            _ if self.packing.method != Method::Tiles => false,
            _ if tiles[0] < 2 || tiles[1] < 2 => tiles[0] >= tiles[1],
            (Source::InPlace, Source::Pack) if tiles[1] >= 4 => false,
            (Source::Pack, Source::InPlace) if tiles[0] >= 4 => true,
            _ => self.problem.shape[0] >= self.problem.shape[1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::available;
    use crate::gemm::epilogue::{After, Store};
    use crate::gemm::plan::Multiply;
    use crate::gemm::precision::Precision;
    use crate::parallel::Par;
    use crate::simd::{Float, Kernel};

    /// A product with C written past the caches, however small it is.
    struct Streamed<'a, T: Element<Sum = T>>(Multiply<'a, T>);

    impl<T: Float + Element<Sum = T>> Kernel<T> for Streamed<'_, T> {
        type Output = ();

        fn run<S: Simd<T>>(self, simd: S) {
            let region = Region { streams: true, ..self.0.on(simd) };
            let region = region.aligned_for_streaming(simd);
            // In two pieces, as threads would take them.
            match region.units() {
                0 | 1 => simd.call(region),
                units => {
                    let (first, rest) = region.split(units / 2);
                    simd.call(first);
                    simd.call(rest);
                }
            }
        }
    }

    /// Products of `shape` into a C that begins `shift` elements behind a cache line.
    fn streams<T: Float + Element<Sum = T>>([m, n, k]: [usize; 3], shift: usize) {
        let stride = n.next_multiple_of(LINE / size_of::<T>());
        let fill = |len: usize| (0..len).map(|i| T::from_f64((i * 37 % 101) as f64 - 50.0));
        let (a, b): (Vec<T>, Vec<T>) = (fill(m * k).collect(), fill(k * n).collect());
        let after = After::NOTHING;
        let (alpha, beta) = (T::from_f64(1.5), T::ZERO);
        for &isa in available().expect("a known cap") {
            let mut plain = vec![T::NAN; shift + m * stride + LINE];
            let first = plain.as_ptr().align_offset(LINE) + shift;
            let mut streamed = plain.clone();
            let again = streamed.as_ptr().align_offset(LINE) + shift;
            let store = Store { alpha, beta, after: &after, partials: None, turned: false };
            let product = |c: *mut T| Multiply {
                problem: Problem {
                    a: Operand { start: a.as_ptr(), strides: [k, 1] },
                    b: Operand { start: b.as_ptr(), strides: [n, 1] },
                    c: Operand { start: c.cast_const(), strides: [stride, 1] },
                    shape: [m, n, k],
                    store,
                },
                forced: None,
                prepacked: [None; 2],
                precision: Precision::F32,
                invariant: false,
                par: Par::Serial,
            };
            T::dispatch(isa, &product(plain[first..].as_mut_ptr()));
            T::dispatch(isa, Streamed(product(streamed[again..].as_mut_ptr())));
            for i in 0..m {
                let (plain, streamed) =
                    (&plain[first + i * stride..], &streamed[again + i * stride..]);
                assert_eq!(plain[..n], streamed[..n], "row {i} of {m}x{n}x{k} from {shift}, {isa}");
                let beyond = &streamed[n..stride];
                assert!(beyond.iter().all(|x| x.is_nan()), "beside row {i} of {m}x{n}x{k}, {isa}");
            }
        }
    }

    #[test]
    fn streamed_products_are_those_stored() {
        for shape in [[9, 48, 4], [20, 100, 33], [1, 60, 5], [40, 7, 20], [19, 16, 0]] {
            for shift in [0, 1, 5] {
                streams::<f32>(shape, shift);
                streams::<f64>(shape, shift);
            }
        }
    }
}
