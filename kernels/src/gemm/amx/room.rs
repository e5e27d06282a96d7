//! The memory that a region of C takes while it is computed.

use super::super::blocking::Blocking;
use super::super::plan::Source;
use super::super::region::Region;
use super::guard::GUARD;
use super::operand::{Scheme, Tiled};
use super::parts::SPARE;
use super::tile::{LANES, SQUARE, STEPS};

/// Bytes of an operand that is packed as a whole because several blocks use it. A larger one is
/// packed again for each.
const KEPT_BYTES: usize = 64 << 20;

/// Sizes of a region in tiles, panels and steps of 32, and what its scratch memory holds.
pub(super) struct Room {
    /// Panels of A, panels of B, steps: of the region, and of a block.
    pub(super) region: [usize; 3],
    pub(super) block: [usize; 3],
    /// Whether all steps of the rows of a block, and all of B, are kept packed. Of A in parts a single panel is,
    /// otherwise.
    pub(super) whole: [bool; 2],
    /// Pairs of A and B, and sums.
    pub(super) a: usize,
    pub(super) b: usize,
    sums: usize,
    scheme: Scheme,
}

impl Room {
    pub(super) fn new<E: Tiled>(region: &Region<'_, E>, scheme: Scheme) -> Self {
        let [rows, cols, k] = region.problem.shape;
        let Blocking { kc, mc, nc } = region.packing.blocking;
        let all = [rows.div_ceil(LANES), cols.div_ceil(LANES), k.div_ceil(STEPS)];
        let most = [mc / LANES, nc / LANES, kc / STEPS];
        // A cut may leave a region without rows.
        let block: [usize; 3] = std::array::from_fn(|i| most[i].min(all[i]).max(1));
        // Strides of zero describe matrices larger than any memory.
        let pairs =
            |panels: usize, steps: usize| panels.saturating_mul(panel_of(scheme, steps, most[2]));
        let fits = |pairs: usize| pairs <= KEPT_BYTES / size_of::<u32>();
        let (a, b) = (pairs(block[0], all[2]), pairs(all[1], all[2]));
        let whole = [block[1] < all[1] && fits(a), block[0] < all[0] && fits(b)];
        let parts = scheme != Scheme::One;
        let room = |i: usize, source, all| match (source, whole[i]) {
            (Source::Prepacked(_), _) => 0,
            (_, true) => all,
            _ if parts && i == 0 => pairs(1, block[2]),
            _ => pairs(block[i], block[2]),
        };
        let squares = if block[2] < all[2] { block[0] * block[1] } else { 0 };
        // Sums of tiles that are not of parts go on where they are, or need one square.
        let squares = if parts { SPARE + squares } else { squares.max(1) };
        Self {
            a: room(0, region.packing.a, a),
            b: room(1, region.packing.b, b),
            sums: squares * SQUARE,
            region: all,
            block,
            whole,
            scheme,
        }
    }

    /// Pairs of a panel of so many steps, with the guards of its blocks.
    pub(super) fn panel(&self, steps: usize) -> usize {
        panel_of(self.scheme, steps, self.block[2])
    }

    pub(super) fn total(&self) -> usize {
        self.a + self.b + self.sums
    }
}

/// Pairs of a panel of so many steps in blocks of at most `most`.
pub(super) fn panel_of(scheme: Scheme, steps: usize, most: usize) -> usize {
    let guards = if scheme == Scheme::One { 0 } else { steps.div_ceil(most.max(1)).max(1) * GUARD };
    steps.saturating_mul(scheme.pairs()).saturating_add(guards)
}
