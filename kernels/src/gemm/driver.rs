//! The loops around the register tile, for one rectangle of C on one thread.
//!
//! ```text
//!   rows: for each block of mc rows of A
//!     depth: for each block of kc steps of k          pack A (mc x kc) into panels
//!       cols: for each block of nc columns of B       pack B (kc x nc) into panels: second level
//!         panel: for each panel of A (ROWS x kc)      stays in the first level
//!           tile: for each panel of B (kc x COLS)     passes by
//! ```

use super::blocking::{Blocking, even_pieces, panels, strips};
use super::dots::Dots;
use super::element::Element;
use super::epilogue::{Finish, Store};
use super::few::FewRows;
use super::gemv::RowTimesMatrix;
use super::microkernel::TileArgs;
use super::pack::{pack_columns, pack_rows};
use super::plan::{Method, Operand, Problem, Source};
use super::region::Region;
use super::scatter::{Gather, Scatter};
use super::tile_table::{TileFn, TileTable};
use crate::buffer::with_scratch;
use crate::dispatch::caches;
use crate::parallel::ColumnsMut;
use crate::simd::{Float, Kernel, Simd, Streaming};

impl<E: Element> Kernel<E::Sum> for Region<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        if self.packing.method == Method::Dots {
            return simd.call(Dots { region: &self });
        }
        if E::FEW && self.packing.method == Method::Rows {
            return simd.call(FewRows { region: &self });
        }
        let [rows, cols, k] = self.problem.shape;
        let Blocking { kc, mc, nc } = self.packing.blocking;
        let a_len = if self.packing.a == Source::Pack { mc.min(rows) * kc.min(k) } else { 0 };
        // The B panels follow at a whole cache line.
        let a_len = a_len.next_multiple_of(64 / size_of::<E::Sum>());
        let panel_cols = TileTable::<S, E::Sum>::COLS;
        let most = (nc / panel_cols).clamp(1, cols.div_ceil(panel_cols).max(1));
        let packed_cols = most * panel_cols;
        let b_len = if self.packing.b == Source::Pack { packed_cols * kc.min(k) } else { 0 };
        if a_len + b_len == 0 {
            return self.blocks(simd, [std::ptr::null_mut(); 2], most);
        }
        with_scratch(a_len + b_len, |scratch: *mut E::Sum| {
            self.blocks(simd, [scratch, scratch.wrapping_add(a_len)], most);
        });
    }
}

impl<E: Element> Region<'_, E> {
    /// The three outer loops. `scratch`: where A and B are packed; `most`: panels of B at once.
    fn blocks<S: Simd<E::Sum>>(&self, simd: S, scratch: [*mut E::Sum; 2], most: usize) {
        let Problem { a, b, c, shape: [rows, cols, k], ref store } = self.problem;
        let panel_cols = TileTable::<S, E::Sum>::COLS;
        let Blocking { kc, mc, .. } = self.packing.blocking;
        let leave = self.streams.then(Streaming::new);
        let evenly = !matches!(self.packing.b, Source::Prepacked(_));
        // Tiles are whole vectors wide, and so are the pieces that threads get.
        let vector = S::LANES * size_of::<E::Sum>();
        debug_assert!(!self.streams || c.start.addr().is_multiple_of(vector));
        // Loop 5: blocks of rows of A and C.
        for (row, rows) in even_pieces(rows, mc) {
            // Loop 4: blocks of k. C collects them, in ascending order; an empty k has one empty
            // block, which scales C.
            for (step, steps) in even_pieces(k, kc).chain((k == 0).then_some((0, 0))) {
                let a = Operand { start: a.at(row, step), ..a };
                let a = match self.packing.a {
                    Source::InPlace => a.in_place(),
                    Source::Pack => pack_rows(simd, a, [rows, steps], scratch[0]),
                    Source::Prepacked(all) => a.panel(step * all + (self.origin[0] + row) * steps),
                };
                // Loop 3: blocks of columns of B and C.
                for (panel, count) in even_pieces(cols.div_ceil(panel_cols), most) {
                    let col = panel * panel_cols;
                    let cols = (count * panel_cols).min(cols - col);
                    let b = match self.packing.b {
                        Source::InPlace => Operand { start: b.at(step, col), ..b }.in_place(),
                        Source::Pack => {
                            let b = Operand { start: b.at(step, col), ..b };
                            pack_columns(simd, b, [steps, cols], scratch[1], evenly)
                        }
                        Source::Prepacked(all) => {
                            b.panel(step * all + (self.origin[1] + col) * steps)
                        }
                    };
                    let block = Block {
                        a,
                        b,
                        c: Operand { start: c.at(row, col), ..c },
                        shape: [rows, cols, steps],
                        packed: [self.packing.a, self.packing.b]
                            .map(|from| from != Source::InPlace),
                        evenly,
                        origin: [self.origin[0] + row, self.origin[1] + col],
                        scale: store.scale(step == 0),
                        finish: (step + steps == k && !store.is_plain()).then_some(store),
                        leave: leave.as_ref(),
                    };
                    block.tiles(simd);
                }
            }
        }
    }
}

/// One block of each operand: what the two inner loops need.
pub(super) struct Block<'a, T> {
    /// The packed panels, or the operand itself.
    pub(super) a: Operand<T>,
    pub(super) b: Operand<T>,
    pub(super) c: Operand<T>,
    /// Rows, columns, steps of k.
    pub(super) shape: [usize; 3],
    /// Whether A and B are packed.
    pub(super) packed: [bool; 2],
    /// How columns are cut into [`strips`].
    pub(super) evenly: bool,
    /// Row and column of C where the block starts.
    pub(super) origin: [usize; 2],
    pub(super) scale: [T; 2],
    /// What follows the store, if anything does and this is the last block of k.
    pub(super) finish: Option<&'a Store<'a, T>>,
    /// Leave to write C past the caches.
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float> Block<'_, T> {
    #[inline(always)]
    pub(super) fn tiles<S: Simd<T>>(&self, simd: S) {
        let [rows, cols, _] = self.shape;
        let vectors = cols.div_ceil(S::LANES);
        let one = vectors <= TileTable::<S, T>::VECTORS
            && rows <= TileTable::<S, T>::most_rows(vectors, self.packed[0]);
        if one && !self.is_row() {
            // Loops over one tile would take longer than a tile of a few steps.
            return self.tile_at(simd, [0, 0], [rows, vectors]);
        }
        self.many_tiles(simd);
    }

    fn many_tiles<S: Simd<T>>(&self, simd: S) {
        let [_, cols, _] = self.shape;
        if self.is_row() {
            return self.row(simd);
        }
        let vectors = cols.div_ceil(S::LANES);
        let most = TileTable::<S, T>::VECTORS;
        let (whole, rest) = strips(vectors, most, self.evenly);
        if whole > 0 && whole < vectors && self.a_is_far() {
            return self.tiles_in_one_pass(simd, whole, rest);
        }
        // Narrow tiles may be taller.
        if whole > 0 {
            self.tiles_of(simd, [0, whole], most);
        }
        if whole < vectors {
            self.tiles_of(simd, [whole, vectors], rest);
        }
    }

    /// The tiles of a range of vectors of columns, `wide` vectors each.
    fn tiles_of<S: Simd<T>>(&self, simd: S, [first, end]: [usize; 2], wide: usize) {
        let most = match self.packed[0] {
            true => TileTable::<S, T>::most_rows(wide, true),
            false => TileTable::<S, T>::rows_in_place(wide, self.a.strides[0]),
        };
        // Loop 2: panels of A.
        for (row, height) in panels(self.shape[0], most) {
            // Loop 1: panels of B.
            for vector in (first..end).step_by(wide) {
                self.tile_at(simd, [row, vector * S::LANES], [height, wide]);
            }
        }
    }

    /// Whether A does not stay in the second-level cache beside B: a second pass would fetch it again.
    fn a_is_far(&self) -> bool {
        let [rows, _, k] = self.shape;
        rows.saturating_mul(k).saturating_mul(size_of::<T>()) > caches().l2 / 4
    }

    /// The same for all columns: `whole` vectors of them in the widest tiles, the others in tiles of `rest`.
    fn tiles_in_one_pass<S: Simd<T>>(&self, simd: S, whole: usize, rest: usize) {
        let (most, vectors) = (TileTable::<S, T>::VECTORS, self.shape[1].div_ceil(S::LANES));
        for (row, height) in panels(self.shape[0], TileTable::<S, T>::ROWS) {
            for vector in (0..whole).step_by(most) {
                self.tile_at(simd, [row, vector * S::LANES], [height, most]);
            }
            for vector in (whole..vectors).step_by(rest) {
                self.tile_at(simd, [row, vector * S::LANES], [height, rest]);
            }
        }
    }

    /// The tile of `height x wide` vectors at a row and a column of the block.
    #[inline(always)]
    fn tile_at<S: Simd<T>>(&self, simd: S, [row, col]: [usize; 2], [height, wide]: [usize; 2]) {
        let [_, cols, k] = self.shape;
        let width = wide * S::LANES;
        let (a, a_strides) = if self.packed[0] {
            (self.a.start.wrapping_add(row * k), [1, height])
        } else {
            (self.a.at(row, 0), self.a.strides)
        };
        let (b, b_stride) = if self.packed[1] {
            (self.b.start.wrapping_add(col * k), width)
        } else {
            (self.b.at(0, col), self.b.strides[0])
        };
        let args = TileArgs {
            a,
            a_strides,
            b,
            b_stride,
            k,
            c: self.c.at(row, col).cast_mut(),
            c_stride: self.c.strides[0],
            last: width.min(cols - col) - (width - S::LANES),
            scale: self.scale,
            leave: self.leave,
        };
        self.tile(simd, args, [height, wide], [row, col]);
    }

    /// One tile of `height x vectors` at row and column `at` of the block, and what follows it.
    #[inline(always)]
    fn tile<S: Simd<T>>(
        &self,
        simd: S,
        args: TileArgs<'_, T>,
        [height, vectors]: [usize; 2],
        at: [usize; 2],
    ) {
        let width = (vectors - 1) * S::LANES + args.last;
        let whole = args.last == S::LANES;
        if let Some(store) = self.finish {
            let place = [self.origin[0] + at[0], self.origin[1] + at[1]];
            store.prefetch(simd, place, [height, width]);
        }
        let beside = args.a_strides[0] == 1;
        let tile = TileTable::<S, T>::get(height, vectors, whole, beside);
        if self.c.strides[1] == 1 {
            // SAFETY: all addresses lie within the operands that the region was made from: the region
            // covers whole rows and columns of them, and blocks and tiles cut it without remainder.
            unsafe { tile(simd, &args) };
            self.finish(simd, (args.c, args.c_stride), [height, width], at);
        } else {
            self.scattered_tile(simd, args, [height, width], tile, at);
        }
        self.measure(simd, [height, width], at);
    }

    /// Whether this is a single row times a B that is read where it lies.
    fn is_row(&self) -> bool {
        self.shape[0] == 1
            && self.packed == [false; 2]
            && self.b.strides.contains(&1)
            && self.c.strides[1] == 1
    }

    /// A single row.
    fn row<S: Simd<T>>(&self, simd: S) {
        simd.call(RowTimesMatrix { block: self });
        self.finish(simd, (self.c.start.cast_mut(), 0), [1, self.shape[1]], [0; 2]);
        self.measure(simd, [1, self.shape[1]], [0; 2]);
    }

    /// Statistics that can be taken after a tile at row and column `at` of the block was stored.
    #[inline(always)]
    fn measure<S: Simd<T>>(&self, simd: S, shape: [usize; 2], at: [usize; 2]) {
        let Some(store) = self.finish else { return };
        let c = Operand { start: self.c.at(at[0], at[1]), ..self.c };
        store.measure(simd, c, [self.origin[0] + at[0], self.origin[1] + at[1]], shape);
    }

    /// What follows the sums over a stored tile, at `c` with a row stride.
    #[inline(always)]
    fn finish<S: Simd<T>>(
        &self,
        simd: S,
        c: (*mut T, usize),
        [height, width]: [usize; 2],
        at: [usize; 2],
    ) {
        let Some(store) = self.finish.filter(|store| !store.keeps_values()) else { return };
        // SAFETY: the rows of this tile of C, which no one else touches now.
        let rows = unsafe { ColumnsMut::from_raw(c.0, [height, width], c.1) };
        let at = [self.origin[0] + at[0], self.origin[1] + at[1]];
        Finish { store, rows, at }.apply(simd);
    }

    /// One tile by way of a contiguous copy: the columns of C are not neighbours.
    #[inline(never)]
    fn scattered_tile<S: Simd<T>>(
        &self,
        simd: S,
        mut args: TileArgs<'_, T>,
        [height, width]: [usize; 2],
        tile: TileFn<S, T>,
        at: [usize; 2],
    ) {
        /// The largest tile of all: 14 rows of 2 vectors of 16 lanes.
        const MOST: usize = 14 * 2 * 16;
        let c = Operand { start: args.c.cast_const(), ..self.c };
        let mut copy = [T::ZERO; MOST];
        // Whole vectors, so that squares of them can be turned.
        let stride = width.next_multiple_of(S::LANES);
        let size = [height, width];
        if self.scale[1] != T::ZERO {
            simd.call(Gather { copy: &mut copy[..height * stride], size, c });
        }
        (args.c, args.c_stride, args.leave) = (copy.as_mut_ptr(), stride, None);
        // SAFETY: A and B as in `tile`; the copy has room for the whole tile.
        unsafe { tile(simd, &args) };
        self.finish(simd, (args.c, args.c_stride), [height, width], at);
        simd.call(Scatter { copy: &copy[..height * stride], size, c });
    }
}
