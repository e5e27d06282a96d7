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
//! itself come when a sum is done. Numbers that are sums of parts have other inner loops ([`parts`]).

mod finish;
mod guard;
mod loops;
mod operand;
mod pack;
mod parts;
mod room;
mod split;
mod tile;
mod tile_split;

use guard::GUARD;
use loops::Loops;
use operand::{LONG_STEPS, MOST_STEPS, Scheme, Tiled};
use pack::PackPanels;
use room::{Room, panel_of};
use split::pack_split;
use tile::{LANES, SIDE, STEPS, Tiles};

use super::blocking::{Blocking, even_pieces};
use super::packed::{PackWhole, Side};
use super::plan::{Method, Multiply, Operand, Packing, Problem, Source};
use super::precision::Precision;
use super::region::Region;
use super::report::Steps;
use crate::buffer::with_scratch;
use crate::dispatch::{Amx, caches};
use crate::parallel::Split;
use crate::simd::{Kernel, LINE, Simd};

/// Rows and columns of the sums that the tiles hold.
const TILE: [usize; 2] = [LANES; 2];

/// Multiply-adds that one thread should have: about 20 microseconds of work.
const GRAIN: usize = 1 << 24;

/// How `work` would be done.
pub(super) fn steps<E: Tiled>(work: &Multiply<'_, E>) -> Steps {
    let work = &turned(*work);
    let region = region(work);
    let tasks = work.par.tasks(region.units(), grain(&region));
    Steps { tile: TILE, packing: region.packing, tasks }
}

/// Does `work`.
pub(super) fn multiply<E: Tiled>(amx: Amx, work: Multiply<'_, E>) {
    let work = turned(work);
    let (mut region, scheme) = (region(&work), E::scheme(work.precision));
    let run = |region: Region<'_, E>| {
        work.par.divide(region, grain(&region), &|piece: Region<'_, E>| {
            Simd::<f32>::call(amx.vectors(), Rectangle { amx, scheme, region: &piece });
        });
    };
    // Stores past the caches write whole lines: what comes before the first one is computed apart.
    let lead = if region.streams { region.problem.c.start.align_offset(LINE) } else { 0 };
    if lead > 0 {
        let (first, rest) = region.at_column(lead.min(region.problem.shape[1]));
        run(Region { streams: false, ..first });
        region = rest;
    }
    run(region);
}

/// Padded steps and lanes of so many steps of rows of A or columns of B, packed, and the elements
/// they take the room of.
pub(super) fn packed_layout<E: Tiled>(
    precision: Precision,
    [k, lanes]: [usize; 2],
) -> Option<([usize; 2], usize)> {
    let layout = [k.checked_next_multiple_of(STEPS)?, lanes.checked_next_multiple_of(SIDE)?];
    let scheme = E::scheme(precision);
    if scheme == Scheme::One {
        let halves = layout[0].checked_mul(layout[1])?;
        return Some((layout, halves.div_ceil(size_of::<E>() / 2)));
    }
    let panels = lanes.div_ceil(LANES);
    // Guards are no more than tiles.
    layout[0].checked_mul(panels)?.checked_mul(4 * LANES * size_of::<f32>())?;
    let pairs = panels * panel_of(scheme, layout[0] / STEPS, depth(layout[0] / STEPS));
    Some((layout, pairs.checked_mul(size_of::<u32>())?.div_ceil(size_of::<E>())))
}

/// Steps of 32 in a block of k where parts are summed: those of `all`, cut evenly.
fn depth(all: usize) -> usize {
    let most = if all > LONG_STEPS { 2 * MOST_STEPS } else { MOST_STEPS };
    all.div_ceil(all.div_ceil(most).max(1))
}

/// Packs a whole operand.
pub(super) fn pack<E: Tiled>(amx: Amx, precision: Precision, work: PackWhole<E>) {
    let PackWhole { side, from, shape: [k, lanes], layout: [steps, _], to } = work;
    let (from, to, scheme) = (from.t(), to.cast(), E::scheme(precision));
    let (all, most) = (steps / STEPS, depth(steps / STEPS));
    let stride = panel_of(scheme, all, most);
    let empty = (all == 0).then_some((0, 0));
    let whole = if scheme == Scheme::One { all.max(1) } else { most.max(1) };
    for (block, (first, count)) in even_pieces(all, whole).chain(empty).enumerate() {
        let from = Operand { start: from.at(0, first * STEPS), ..from };
        let shape = [lanes, (count * STEPS).min(k - first * STEPS)];
        let guard = all * scheme.pairs() + block * GUARD;
        match side {
            Side::A => {
                let panels = PackPanels { from, shape, to, stride, first };
                pack_split::<E, true>(amx, scheme, panels, guard);
            }
            Side::B => {
                let panels = PackPanels { from, shape, to, stride, first };
                pack_split::<E, false>(amx, scheme, panels, guard);
            }
        }
    }
}

/// Steps that earn back what storing a tile of the transposed C costs.
const LONG: usize = 8 * STEPS;

/// The transposed product where a few rows meet a B whose columns are contiguous: as the left
/// operand it is packed by copying, as the right one by turning every tile. The sums are the same. With
/// more rows, or few steps, storing the transposed C would cost what is won.
fn turned<E: Tiled>(work: Multiply<'_, E>) -> Multiply<'_, E> {
    let Problem { b, shape: [rows, cols, k], .. } = work.problem;
    let few = rows == 1 || (rows <= SIDE && k >= LONG);
    if work.prepacked != [None; 2] || !few || cols <= LANES || b.strides[0] != 1 {
        return work;
    }
    let mut problem = work.problem.t();
    if rows == 1 {
        // The stride of a single column means nothing.
        problem.c.strides[1] = 1;
    }
    Multiply { problem, ..work }
}

/// All of C.
fn region<'a, E: Tiled>(work: &Multiply<'a, E>) -> Region<'a, E> {
    let (problem, packing) = (work.problem, packing(work));
    let grid = problem.store.grid(TILE, work.prepacked[0].is_some());
    // Panels of a packed B lie as far from the start of C as they do; sums of parts wait to be added.
    let free = work.prepacked[1].is_none() && E::scheme(work.precision) == Scheme::One;
    let streams = free && problem.streams();
    Region { problem, origin: [0; 2], grid, packing, streams }
}

/// Units of a region that make up [`GRAIN`].
fn grain<E: Tiled>(region: &Region<'_, E>) -> usize {
    let unit = region.grid[0] * region.grid[1];
    GRAIN.div_ceil(unit.saturating_mul(region.problem.shape[2].max(1)))
}

fn packing<E: Tiled>(work: &Multiply<'_, E>) -> Packing {
    let [rows, cols, k] = work.problem.shape;
    let scheme = E::scheme(work.precision);
    let wanted = match (work.forced, work.prepacked[1]) {
        _ if scheme != Scheme::One => blocking_of_parts(work, scheme),
        (Some(forced), _) => forced,
        // B is used once: its rows are read as far as the sums reach.
        (None, None) if rows <= LANES => Blocking::of_tiles(caches()).wide(cols),
        _ => Blocking::of_tiles(caches()),
    };
    let Blocking { kc, mc, nc } = wanted.fitted(k);
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

/// Block sizes where parts are summed. Steps decide which sums are rounded, and where the guards of packed
/// panels lie.
fn blocking_of_parts<E: Tiled>(work: &Multiply<'_, E>, scheme: Scheme) -> Blocking {
    let kc = depth(work.problem.shape[2].div_ceil(STEPS)).max(1) * STEPS;
    match work.forced {
        None => Blocking::of_parts(caches(), kc, scheme.parts()),
        Some(forced) if work.prepacked != [None; 2] => Blocking { kc, ..forced },
        Some(forced) => Blocking { kc: forced.kc.min(MOST_STEPS * STEPS), ..forced },
    }
}

/// A rectangle of C on one thread.
struct Rectangle<'a, E: Tiled> {
    amx: Amx,
    scheme: Scheme,
    region: &'a Region<'a, E>,
}

impl<E: Tiled> Kernel<f32> for Rectangle<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let Self { amx, scheme, region } = self;
        let room = Room::new(region, scheme);
        // A pair of halves takes the room of a sum.
        with_scratch(room.total(), |scratch: *mut f32| {
            let tiles = Tiles::configure(amx);
            let packed = [scratch, scratch.wrapping_add(room.a)].map(<*mut f32>::cast);
            let sums = scratch.wrapping_add(room.a + room.b);
            let loops = Loops { amx, simd, tiles, scheme, region, room, packed, sums };
            if scheme != Scheme::One {
                loops.clear_idle();
            }
            loops.blocks();
        });
    }
}
