//! Products of bf16 matrices in AMX tiles.
//!
//! ```text
//!   rows: for each block of mc rows of A and C
//!     cols: for each block of nc columns of B and C      sums (mc x nc) stay in the second level
//!       depth: for each block of kc steps of k           pack A (mc x kc) and B (kc x nc)
//!         panel: for each panel of B (kc x 32)           stays in the first level
//!           tile: for each panel of A (32 x kc)          passes by
//! ```
//!
//! A sum goes on in the tile from block to block of k: what was stored is loaded as it was, so the
//! bits of a result depend on k alone, whatever the block sizes. Bias, activation, the factors and C
//! itself come when a sum is done.

mod finish;
mod loops;
mod pack;
mod tile;

use half::bf16;
use loops::Loops;
use pack::PackPanels;
use tile::{ABREAST, LANES, PAIRS, SIDE, SQUARE, STEPS, Tiles};

use super::blocking::Blocking;
use super::packed::{PackWhole, Side};
use super::plan::{Method, Multiply, Packing, Problem, Source};
use super::region::Region;
use super::report::Steps;
use crate::buffer::with_scratch;
use crate::dispatch::{Amx, caches};
use crate::parallel::Split;
use crate::simd::{Kernel, Simd};

/// Rows and columns of the sums that the tiles hold.
const TILE: [usize; 2] = [LANES; 2];

/// Multiply-adds that one thread should have: about 20 microseconds of work.
const GRAIN: usize = 1 << 24;

/// Bytes of an operand that is packed as a whole because several blocks use it. A larger one is
/// packed again for each.
const KEPT_BYTES: usize = 64 << 20;

/// How `work` would be done.
pub(super) fn steps(work: &Multiply<'_, bf16>) -> Steps {
    let work = &turned(*work);
    let region = region(work);
    let tasks = work.par.tasks(region.units(), grain(&region));
    Steps { tile: TILE, packing: region.packing, tasks }
}

/// Does `work`.
pub(super) fn multiply(amx: Amx, work: Multiply<'_, bf16>) {
    let work = turned(work);
    let region = region(&work);
    work.par.divide(region, grain(&region), &|piece: Region<'_, bf16>| {
        Simd::<f32>::call(amx.vectors(), Rectangle { amx, region: &piece });
    });
}

/// Padded steps and lanes of so many steps of rows of A or columns of B, packed, and the elements
/// they take the room of.
pub(super) fn packed_layout([k, lanes]: [usize; 2]) -> Option<([usize; 2], usize)> {
    let layout = [k.checked_next_multiple_of(STEPS)?, lanes.checked_next_multiple_of(SIDE)?];
    Some((layout, layout[0].checked_mul(layout[1])?))
}

/// Packs a whole operand.
pub(super) fn pack(amx: Amx, work: PackWhole<bf16>) {
    let PackWhole { side, from, shape: [k, lanes], layout: [steps, _], to } = work;
    let (from, to, stride) = (from.t(), to.cast(), steps / 2 * LANES);
    let (shape, first) = ([lanes, k], 0);
    match side {
        Side::A => {
            let panels = PackPanels::<true> { from, shape, to, stride, first };
            Simd::<f32>::call(amx.vectors(), panels);
        }
        Side::B => {
            let panels = PackPanels::<false> { from, shape, to, stride, first };
            Simd::<f32>::call(amx.vectors(), panels);
        }
    }
}

/// The transposed product where a single row meets a B whose columns are contiguous: as the left
/// operand it is packed by copying, as the right one by turning every tile. The sums are the same. With
/// more rows, storing the transposed C would cost what is won.
fn turned(work: Multiply<'_, bf16>) -> Multiply<'_, bf16> {
    let Problem { b, shape: [rows, cols, _], .. } = work.problem;
    if work.prepacked != [None; 2] || rows != 1 || cols <= LANES || b.strides[0] != 1 {
        return work;
    }
    let mut problem = work.problem.t();
    // The stride of a single column means nothing.
    problem.c.strides[1] = 1;
    Multiply { problem, ..work }
}

/// All of C.
fn region<'a>(work: &Multiply<'a, bf16>) -> Region<'a, bf16> {
    let (problem, packing) = (work.problem, packing(work));
    let grid = problem.store.grid(TILE, work.prepacked[0].is_some());
    Region { problem, origin: [0; 2], grid, packing, streams: false }
}

/// Units of a region that make up [`GRAIN`].
fn grain(region: &Region<'_, bf16>) -> usize {
    let unit = region.grid[0] * region.grid[1];
    GRAIN.div_ceil(unit.saturating_mul(region.problem.shape[2].max(1)))
}

fn packing(work: &Multiply<'_, bf16>) -> Packing {
    let [rows, cols, _] = work.problem.shape;
    let wanted = match (work.forced, work.prepacked[1]) {
        (Some(forced), _) => forced,
        // B is used once: its rows are read as far as the sums reach.
        (None, None) if rows <= LANES => Blocking::of_tiles(caches()).wide(cols),
        _ => Blocking::of_tiles(caches()),
    };
    let Blocking { kc, mc, nc } = wanted.fitted(work.problem.shape[2]);
    let blocking = Blocking {
        kc: kc.next_multiple_of(STEPS),
        mc: mc.next_multiple_of(LANES),
        nc: nc.next_multiple_of(LANES),
    };
    let [a, b] = work
        .prepacked
        .map(|packed| packed.map_or(Source::Pack, |[steps, _]| Source::Prepacked(steps)));
    Packing { method: Method::Tiles, blocking, a, b }
}

/// A rectangle of C on one thread.
struct Rectangle<'a> {
    amx: Amx,
    region: &'a Region<'a, bf16>,
}

impl Kernel<f32> for Rectangle<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let room = Room::new(self.region);
        // A pair of halves takes the room of a sum.
        with_scratch(room.total(), |scratch: *mut f32| {
            let tiles = Tiles::configure(self.amx);
            let packed = [scratch, scratch.wrapping_add(room.a)].map(<*mut f32>::cast);
            let sums = scratch.wrapping_add(room.a + room.b);
            Loops { simd, tiles, region: self.region, room, packed, sums }.blocks();
        });
    }
}

/// Sizes of a region in tiles, panels and steps of 32, and what its scratch memory holds.
struct Room {
    /// Panels of A, panels of B, steps: of the region, and of a block.
    region: [usize; 3],
    block: [usize; 3],
    /// Whether all steps of the rows of a block, and all of B, are kept packed.
    whole: [bool; 2],
    /// Pairs of A and B, and sums.
    a: usize,
    b: usize,
    sums: usize,
}

impl Room {
    fn new(region: &Region<'_, bf16>) -> Self {
        let [rows, cols, k] = region.problem.shape;
        let Blocking { kc, mc, nc } = region.packing.blocking;
        let all = [rows.div_ceil(LANES), cols.div_ceil(LANES), k.div_ceil(STEPS)];
        let most = [mc / LANES, nc / LANES, kc / STEPS];
        // A cut may leave a region without rows.
        let block: [usize; 3] = std::array::from_fn(|i| most[i].min(all[i]).max(1));
        // Strides of zero describe matrices larger than any memory.
        let pairs = |panels: usize, steps: usize| {
            panels.saturating_mul(steps).saturating_mul(ABREAST * PAIRS)
        };
        let fits = |pairs: usize| pairs <= KEPT_BYTES / size_of::<u32>();
        let (a, b) = (pairs(block[0], all[2]), pairs(all[1], all[2]));
        let whole = [block[1] < all[1] && fits(a), block[0] < all[0] && fits(b)];
        let room = |i: usize, source, all| match (source, whole[i]) {
            (Source::Prepacked(_), _) => 0,
            (_, true) => all,
            _ => pairs(block[i], block[2]),
        };
        Self {
            a: room(0, region.packing.a, a),
            b: room(1, region.packing.b, b),
            sums: if block[2] < all[2] { block[0] * block[1] * SQUARE } else { SQUARE },
            region: all,
            block,
            whole,
        }
    }

    fn total(&self) -> usize {
        self.a + self.b + self.sums
    }
}
