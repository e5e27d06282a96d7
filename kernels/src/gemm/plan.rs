//! What is computed and how: the operands, and the choice of packing, blocks and tasks.

use super::blocking::{Blocking, K_BYTES, stays_in_first_level, stays_in_second_level};
use super::driver::Block;
use super::element::Element;
use super::epilogue::Store;
use super::precision::Precision;
use super::region::Region;
use super::tile_table::TileTable;
use crate::dispatch::caches;
use crate::parallel::Par;
use crate::simd::{Kernel, Simd};
use crate::view::MatRef;

/// Bytes of a B that no second-level cache holds.
const LARGE_B_BYTES: usize = 2 << 20;

/// Multiply-adds that one thread should have: about 10 microseconds of work, which gains where the other
/// threads are awake; one that sleeps and comes too late is not waited for.
pub(super) const GRAIN: usize = 1 << 20;

/// Bytes of an unpacked B that stay in the first-level cache beside the rows of A.
pub(super) const SMALL_B_BYTES: usize = 96 << 10;

/// Bytes between rows of a B that is as good in place as packed: a block of it stays in the second-level
/// cache as it lies, and every page of it holds several rows.
const NEAR_ROWS_BYTES: usize = 512;

/// An operand: element `(i, j)` lies at `start + i * strides[0] + j * strides[1]`.
#[derive(Clone, Copy)]
pub(super) struct Operand<T> {
    pub(super) start: *const T,
    pub(super) strides: [usize; 2],
}

impl<T> Operand<T> {
    #[inline]
    pub(super) fn of(view: &MatRef<'_, T>) -> Self {
        Self { start: view.data().as_ptr(), strides: [view.row_stride(), view.col_stride()] }
    }

    #[inline(always)]
    pub(super) fn at(&self, i: usize, j: usize) -> *const T {
        self.start.wrapping_add(i * self.strides[0] + j * self.strides[1])
    }

    /// The transposed operand.
    pub(super) fn t(self) -> Self {
        Self { start: self.start, strides: [self.strides[1], self.strides[0]] }
    }
}

impl<E: Element> Operand<E> {
    /// The same operand for the tiles, which read sums: only of elements that are their own sums.
    #[inline(always)]
    pub(super) fn in_place(self) -> Operand<E::Sum> {
        assert!(E::IN_PLACE, "only what is made of sums is read in place");
        Operand { start: self.start.cast(), strides: self.strides }
    }

    /// The packed panel that begins so many sums further on.
    #[inline(always)]
    pub(super) fn panel(self, distance: usize) -> Operand<E::Sum> {
        Operand { start: self.start.cast::<E::Sum>().wrapping_add(distance), strides: [0, 0] }
    }
}

/// A product: `C <- f(scale * (alpha * A * B + beta * C) + bias + residual)`.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a, E: Element> {
    pub(super) a: Operand<E>,
    pub(super) b: Operand<E>,
    /// C; written through this address.
    pub(super) c: Operand<E::Sum>,
    /// Rows, columns, steps of k.
    pub(super) shape: [usize; 3],
    pub(super) store: Store<'a, E::Sum>,
}

/// Where the tiles read an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Where it lies.
    InPlace,
    /// From panels, packed block by block.
    Pack,
    /// From panels packed long before, with this many rows (of A) or columns (of B) in all, padding
    /// included.
    Prepacked(usize),
}

impl Source {
    fn pack_if(condition: bool) -> Self {
        if condition { Self::Pack } else { Self::InPlace }
    }
}

/// What computes the elements of C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Register tiles; a single row of them where that is all there is.
    Tiles,
    /// Dot products of contiguous runs.
    Dots,
    /// A few rows of halves, which are widened where they lie.
    Rows,
}

/// Where the operands are read, and in blocks of which sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) method: Method,
    pub(super) blocking: Blocking,
    pub(super) a: Source,
    pub(super) b: Source,
}

impl Packing {
    /// Nothing is packed, and nothing cut into blocks.
    const DOTS: Self = Self {
        method: Method::Dots,
        blocking: Blocking { kc: usize::MAX, mc: usize::MAX, nc: usize::MAX },
        a: Source::InPlace,
        b: Source::InPlace,
    };
}

impl<E: Element> Problem<'_, E> {
    /// The same product with tiles that run along contiguous columns of C, if there are any: where
    /// its rows are the contiguous direction, or it is a single column, the transposed product.
    #[inline]
    pub(super) fn along_columns(self) -> Self {
        let [m, n, _] = self.shape;
        let strides = self.c.strides;
        let turn = strides[0] == 1 && (if n == 1 { m > 1 } else { strides[1] != 1 });
        let mut along = if turn { self.t() } else { self };
        // The stride of a single column means nothing.
        if along.shape[1] == 1 {
            along.c.strides[1] = 1;
        }
        along
    }

    /// The transposed product.
    #[inline]
    pub(super) fn t(self) -> Self {
        let [m, n, k] = self.shape;
        Self {
            a: self.b.t(),
            b: self.a.t(),
            c: self.c.t(),
            shape: [n, m, k],
            store: self.store.t(),
        }
    }

    /// Number of tiles that C is made of.
    pub(super) fn tiles(&self, tile: [usize; 2]) -> usize {
        self.shape[0].div_ceil(tile[0]) * self.shape[1].div_ceil(tile[1])
    }

    /// Multiply-adds.
    #[inline]
    fn work(&self) -> usize {
        self.shape.iter().fold(1, |product, &side| product.saturating_mul(side))
    }

    /// Whether to pack A and B. Packing costs about as much per element as 30 multiply-adds, which
    /// the rows of A (for B) or the columns of B (for A) must earn back.
    #[inline]
    pub(super) fn packs(&self, tile: [usize; 2]) -> [bool; 2] {
        let [m, n, k] = self.shape;
        if !E::IN_PLACE {
            // Packing widens them.
            return [true; 2];
        }
        let size = size_of::<E>();
        if m == 1 && self.b.strides.contains(&1) && self.c.strides[1] == 1 {
            // A single row reads B once, in whichever direction it is contiguous.
            return [false; 2];
        }
        // The vectors of an unpacked B are loaded along its rows.
        let b_contiguous = self.b.strides[1] == 1 || n == 1;
        let b_fits = n.saturating_mul(k).saturating_mul(size) <= SMALL_B_BYTES
            || self.b.strides[0].saturating_mul(size) <= NEAR_ROWS_BYTES;
        // A large B is read once per panel of A: packed, its later readings come from the second
        // level, in order; unpacked, each is a walk over as many pages as it has rows.
        let b_is_large = n.saturating_mul(k).saturating_mul(size) > LARGE_B_BYTES;
        let enough_rows = m > if b_is_large { tile[0] } else { 4 * tile[0] };
        let pack_b = !b_contiguous || (enough_rows && !b_fits);
        // A row-major A is read in order along k, a few rows at a time. Any other costs a cache line
        // per step, which serves the tiles beside only while it stays in the first level.
        let stride = self.a.strides[1];
        let a_in_order = stride == 1 || stays_in_first_level(k, stride.saturating_mul(size));
        [n > 4 && m > tile[0] && !a_in_order, pack_b]
    }

    /// The blocks and what is packed; everything is where block sizes are forced. `in_place`: rows of the
    /// tiles that read A where it lies.
    pub(super) fn packing(
        &self,
        tile: [usize; 2],
        in_place: usize,
        forced: Option<Blocking>,
    ) -> Packing {
        let [m, n, k] = self.shape;
        let [a, b] = if forced.is_some() { [true; 2] } else { self.packs(tile) };
        let wanted =
            forced.unwrap_or_else(|| Blocking::new(size_of::<E::Sum>(), tile[1], k, caches()));
        let mut blocking = wanted.fitted(k);
        if a && !b {
            // Nothing is packed again for the next rows: few enough that they stay near.
            blocking.mc = Blocking::near_rows(size_of::<E::Sum>(), blocking.kc, caches());
        }
        if b && forced.is_none() && self.in_strips(tile) {
            blocking.nc = tile[1];
        }
        // What is read in place comes fastest in long runs: prefetchers begin anew where one ends.
        if m == 1 && !b {
            // Nothing of B is read twice: whole rows of it.
            blocking.nc = Blocking::MOST;
        } else if !a
            && !b
            && blocking.kc < k
            && stays_in_second_level([n, k], size_of::<E>(), caches())
        {
            // All blocks of k of the rows of a tile, before those of the next rows.
            blocking.mc = in_place;
        }
        Packing { method: Method::Tiles, blocking, a: Source::pack_if(a), b: Source::pack_if(b) }
    }

    /// The same where A, B or both were packed before.
    pub(super) fn packing_of_prepacked(&self, tile: [usize; 2], packed: Prepacked) -> Packing {
        let [pack_a, mut pack_b] = self.packs(tile);
        // Both have the same blocks of k.
        let kc = packed.into_iter().flatten().map(|[kc, _]| kc).next().unwrap_or(self.shape[2]);
        let mut blocking =
            Blocking { kc, ..Blocking::new(size_of::<E::Sum>(), tile[1], kc, caches()) };
        let source = |packed: Option<[usize; 2]>, pack| {
            packed.map_or(Source::pack_if(pack), |[_, all]| Source::Prepacked(all))
        };
        if packed[0].is_some() {
            // Nothing of A has to fit.
            blocking.mc = usize::MAX;
            // Tiles only, which read B along its rows: there is no row of A that lies in one piece.
            pack_b |= self.b.strides[1] != 1 && self.shape[1] > 1;
        }
        let b = source(packed[1], pack_b);
        Packing { method: Method::Tiles, blocking, a: source(packed[0], pack_a), b }
    }

    /// How to compute this, and whether to compute the transposed product instead.
    #[inline(always)]
    fn best(&self, lanes: usize, tile: [usize; 2], invariant: bool) -> (Method, bool) {
        if self.b.strides[0] != 1 && self.a.strides[0] != 1 {
            // Both lie as the tiles read them.
            return (Method::Tiles, false);
        }
        self.cheapest(lanes, tile, invariant)
    }

    #[inline(never)]
    fn cheapest(&self, lanes: usize, tile: [usize; 2], invariant: bool) -> (Method, bool) {
        let [m, n, _] = self.shape;
        let turned = self.t();
        let sums = [self, &turned].map(|problem| problem.cost_of_tiles(lanes, tile));
        // The fewer rows, the more products does each load of a column serve.
        let narrow = if m <= n { self } else { &turned };
        match narrow.cost_of_dots(lanes) {
            Some(cost) if !invariant && sums.iter().all(|&sums| cost < sums) => {
                (Method::Dots, m > n)
            }
            _ => {
                let stores = [self, &turned].map(|problem| problem.cost_of_stores(lanes, tile));
                (Method::Tiles, sums[1] + stores[1] < sums[0] + stores[0])
            }
        }
    }

    /// Whether this is one block's work for one thread.
    #[inline]
    fn is_small(&self, par: Par) -> bool {
        let work = self.work();
        let serial = match par {
            Par::Serial => true,
            Par::Threads(count) => count <= 1,
            Par::Auto => work < 2 * GRAIN,
        };
        serial && work <= GRAIN && self.shape[2].saturating_mul(size_of::<E::Sum>()) <= K_BYTES
    }
}

/// Of A and of B, if they were packed before: the steps per block of k, and all rows or columns with
/// padding.
pub(super) type Prepacked = [Option<[usize; 2]>; 2];

/// A product to be computed: plans and runs it on one instruction set.
#[derive(Clone, Copy)]
pub struct Multiply<'a, E: Element> {
    pub(super) problem: Problem<'a, E>,
    pub(super) forced: Option<Blocking>,
    pub(super) prepacked: Prepacked,
    pub(super) precision: Precision,
    /// Whether rows must have the same bits however many there are.
    pub(super) invariant: bool,
    pub(super) par: Par,
}

impl<'a, E: Element> Multiply<'a, E> {
    /// Whether both operands are as they lie and nothing is forced.
    #[inline]
    fn is_free(&self) -> bool {
        self.forced.is_none() && self.prepacked[0].is_none() && self.prepacked[1].is_none()
    }

    /// The whole product and how it will be computed on an instruction set.
    pub(super) fn on<S: Simd<E::Sum>>(&self, _simd: S) -> Region<'a, E> {
        let tile = [TileTable::<S, E::Sum>::ROWS, TileTable::<S, E::Sum>::COLS];
        let (method, turned) = self.method(S::LANES, tile);
        let problem = if turned { self.problem.t() } else { self.problem };
        let vectors = problem.shape[1].div_ceil(S::LANES).min(TileTable::<S, E::Sum>::VECTORS);
        let in_place = TileTable::<S, E::Sum>::rows_in_place(vectors, problem.a.strides[0]);
        let packing = match (method, self.prepacked) {
            (Method::Dots, _) => Packing::DOTS,
            (Method::Rows, _) => {
                let Packing { blocking, .. } = problem.packing(tile, in_place, None);
                Packing { method, blocking, ..Packing::DOTS }
            }
            (_, [None, None]) => problem.packing(tile, in_place, self.forced),
            (_, packed) => problem.packing_of_prepacked(tile, packed),
        };
        self.region(problem, packing, tile)
    }

    /// The method, and whether to compute the transposed product.
    #[inline]
    fn method(&self, lanes: usize, tile: [usize; 2]) -> (Method, bool) {
        match self.is_free() {
            true => (self.problem.way_of_few(self.invariant))
                .unwrap_or_else(|| self.problem.best(lanes, tile, self.invariant)),
            false => (Method::Tiles, false),
        }
    }

    /// Whether one thread computes this from the operands as they lie or were packed before, in one block
    /// of tiles.
    #[inline]
    fn is_direct(&self, lanes: usize, tile: [usize; 2]) -> bool {
        if self.forced.is_some() || !self.problem.is_small(self.par) {
            return false;
        }
        let packs = self.problem.packs(tile);
        match self.prepacked {
            [None, None] => {
                packs == [false; 2]
                    && self.problem.best(lanes, tile, self.invariant) == (Method::Tiles, false)
            }
            // Panels of A meet tiles only, which read B along its rows.
            [Some(_), None] => !packs[1] && self.problem.b.strides[1] == 1,
            [None, Some(_)] => !packs[0],
            [Some(_), Some(_)] => true,
        }
    }

    /// The whole product with all that was chosen.
    fn region(&self, problem: Problem<'a, E>, packing: Packing, tile: [usize; 2]) -> Region<'a, E> {
        let streams =
            packing.method == Method::Tiles && self.prepacked == [None; 2] && problem.streams();
        let grid = problem.store.grid(tile, self.prepacked[0].is_some());
        Region { problem, origin: [0; 2], grid, packing, streams }
    }
}

/// By reference: a copy for each function on the way to the tiles would cost a small product a third of
/// its time.
impl<E: Element> Kernel<E::Sum> for &Multiply<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let tile = [TileTable::<S, E::Sum>::ROWS, TileTable::<S, E::Sum>::COLS];
        if self.is_direct(S::LANES, tile) {
            let Problem { a, b, c, shape, ref store } = self.problem;
            let packed = self.prepacked.map(|layout| layout.is_some());
            let read = |operand: Operand<E>, packed| match packed {
                true => operand.panel(0),
                false => operand.in_place(),
            };
            let (a, b) = (read(a, packed[0]), read(b, packed[1]));
            let finish = (!store.is_plain()).then_some(store);
            let (scale, origin) = (store.scale(true), [0; 2]);
            let (fresh, evenly, leave) = ([None; 2], !packed[1], None);
            return Block { a, b, c, shape, packed, fresh, evenly, origin, scale, finish, leave }
                .tiles(simd);
        }
        let region = self.on(simd).aligned_for_streaming(simd);
        self.par.divide(region, region.grain(), &|piece: Region<'_, E>| simd.call(piece));
    }
}
