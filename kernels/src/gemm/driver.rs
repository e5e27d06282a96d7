//! The loops around the register tile, for one rectangle of C on one thread.
//!
//! ```text
//!   rows: for each block of mc rows of A
//!     depth: for each block of kc steps of k          pack A (mc x kc) into panels
//!       cols: for each block of nc columns of B       pack B (kc x nc) into panels: second level
//!         panel: for each panel of A (ROWS x kc)      stays in the first level
//!           tile: for each panel of B (kc x COLS)     passes by
//! ```

use super::blocking::{Blocking, even_pieces};
use super::dots::Dots;
use super::element::Element;
use super::epilogue::{Finish, Store};
use super::few::FewRows;
use super::gemv::RowTimesMatrix;
use super::pack::{pack_columns, pack_rows};
use super::plan::{Method, Operand, Problem, Source};
use super::region::Region;
use super::scatter::{Gather, Scatter};
use super::tile_table::{TileArgs, TileFn, TileTable};
use crate::buffer::with_scratch;
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
            let fresh = self.fresh::<S>([rows, cols.min(most * panel_cols)]);
            let packs = fresh.map(|ahead| ahead.is_some());
            // Loop 4: blocks of k. C collects them, in ascending order; an empty k has one empty
            // block, which scales C.
            for (step, steps) in even_pieces(k, kc).chain((k == 0).then_some((0, 0))) {
                let lying = Operand { start: a.at(row, step), ..a };
                let a = match self.packing.a {
                    Source::InPlace => lying.in_place(),
                    Source::Pack => pack_rows(simd, lying, [rows, steps], scratch[0], packs[0]),
                    Source::Prepacked(all) => a.panel(step * all + (self.origin[0] + row) * steps),
                };
                // The first block of columns packs A for the others.
                let mut fresh_a = fresh[0].map(|ahead| Fresh { lying: lying.in_place(), ahead });
                // Loop 3: blocks of columns of B and C.
                for (panel, count) in even_pieces(cols.div_ceil(panel_cols), most) {
                    let col = panel * panel_cols;
                    let cols = (count * panel_cols).min(cols - col);
                    let lying = Operand { start: b.at(step, col), ..b };
                    let fresh_b = fresh[1].map(|ahead| Fresh { lying: lying.in_place(), ahead });
                    let b = match self.packing.b {
                        Source::InPlace => lying.in_place(),
                        Source::Pack => {
                            let flags = [evenly, packs[1]];
                            pack_columns(simd, lying, [steps, cols], scratch[1], flags)
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
                        fresh: [fresh_a.take(), fresh_b],
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

/// An operand that is packed on the way.
#[derive(Clone, Copy)]
pub(super) struct Fresh<T> {
    /// Where it lies.
    lying: Operand<T>,
    /// Distance from what is read of it to what is asked for then.
    ahead: usize,
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
    /// A or B where it lies, if the largest of the tiles that read it first are to pack it: those of the
    /// first strip of columns, which is whole then, and of the first panel of rows.
    pub(super) fresh: [Option<Fresh<T>>; 2],
    /// How columns are cut into [`strips`](super::blocking::strips).
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
    /// As [`tile_at`](Self::tile_at), in a block of which operands may be fresh.
    #[inline(always)]
    pub(super) fn any_tile_at<S: Simd<T>>(&self, simd: S, at: [usize; 2], size: [usize; 2]) {
        let packs = [self.fresh[0].is_some() && at[1] == 0, self.fresh[1].is_some() && at[0] == 0];
        let largest = size == [TileTable::<S, T>::ROWS, TileTable::<S, T>::VECTORS]
            && at[1] + TileTable::<S, T>::COLS <= self.shape[1];
        if packs != [false; 2] && largest {
            self.packing_tile_at(simd, at, packs);
        } else {
            self.tile_at(simd, at, size);
        }
    }

    /// The largest tile, at a row and a column of the block, as the first to read what it `packs`.
    #[inline(never)]
    fn packing_tile_at<S: Simd<T>>(&self, simd: S, at: [usize; 2], packs: [bool; 2]) {
        let size = [TileTable::<S, T>::ROWS, TileTable::<S, T>::VECTORS];
        let mut args = self.args::<S>(at, size);
        args.panels = [args.a, args.b].map(<*const T>::cast_mut);
        if let Some(Fresh { lying, ahead }) = self.fresh[0].filter(|_| packs[0]) {
            (args.a, args.a_strides, args.ahead[0]) = (lying.at(at[0], 0), lying.strides, ahead);
        }
        if let Some(Fresh { lying, ahead }) = self.fresh[1].filter(|_| packs[1]) {
            (args.b, args.b_stride, args.ahead[1]) = (lying.at(0, at[1]), lying.strides[0], ahead);
        }
        let tile = TileTable::<S, T>::packing(packs, args.a_strides[0] == 1);
        self.tile(simd, args, tile, size, at);
    }

    /// The tile of `height x wide` vectors at a row and a column of the block.
    #[inline(always)]
    pub(super) fn tile_at<S: Simd<T>>(&self, simd: S, at: [usize; 2], size: [usize; 2]) {
        let args = self.args::<S>(at, size);
        let (whole, beside) = (args.last == S::LANES, args.a_strides[0] == 1);
        let tile = TileTable::<S, T>::get(size[0], size[1], whole, beside);
        self.tile(simd, args, tile, size, at);
    }

    /// Where that tile reads and writes.
    #[inline(always)]
    fn args<S: Simd<T>>(
        &self,
        [row, col]: [usize; 2],
        [height, wide]: [usize; 2],
    ) -> TileArgs<'_, T> {
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
        TileArgs {
            a,
            a_strides,
            b,
            b_stride,
            k,
            c: self.c.at(row, col).cast_mut(),
            c_stride: self.c.strides[0],
            last: width.min(cols - col) - (width - S::LANES),
            scale: self.scale,
            panels: [std::ptr::null_mut(); 2],
            ahead: [0; 2],
            leave: self.leave,
        }
    }

    /// One tile of `height x vectors` at row and column `at` of the block, and what follows it.
    #[inline(always)]
    fn tile<S: Simd<T>>(
        &self,
        simd: S,
        args: TileArgs<'_, T>,
        tile: TileFn<S, T>,
        [height, vectors]: [usize; 2],
        at: [usize; 2],
    ) {
        let width = (vectors - 1) * S::LANES + args.last;
        if let Some(store) = self.finish {
            let place = [self.origin[0] + at[0], self.origin[1] + at[1]];
            store.prefetch(simd, place, [height, width]);
        }
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
    pub(super) fn is_row(&self) -> bool {
        self.shape[0] == 1
            && self.packed == [false; 2]
            && self.b.strides.contains(&1)
            && self.c.strides[1] == 1
    }

    /// A single row.
    pub(super) fn row<S: Simd<T>>(&self, simd: S) {
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
