//! What a product costs one way or the other, to choose between them: counts of vector operations, of
//! which a core does two per cycle. Only their ratios matter, and only where one way is much cheaper.

use super::blocking::{K_BYTES, stays_in_second_level};
use super::dots::MOST_ROWS;
use super::element::Element;
use super::plan::Problem;
use crate::dispatch::{caches, outgrows_cache};
use crate::simd::{Float, LINE};

/// Operations per vector of an operand that is packed by copying it.
const COPY: f64 = 3.0;

/// Per vector of an operand that is packed by turning squares.
const TURN: f64 = 14.0;

/// Per vector of C stored along its columns.
const STORE: f64 = 2.0;

/// Per vector of C turned and stored along its rows, a short piece of each, or fetched so.
const SCATTER: f64 = 40.0;

/// The same where all rows of a strip are stored one after the other: the pieces meet in the first level.
const SCATTER_STRIP: f64 = 20.0;

/// Bytes of a column of a strip that stays in the first level.
const STRIP_BYTES: usize = 1024;

/// Panels of A that are few.
const FEW_PANELS: usize = 4;

/// A multiply-add of dot products with more rows than are taken at once: the rows come from the second
/// level again for every few columns.
const FAR_ROWS: f64 = 1.6;

/// Per dot product, besides its multiply-adds: adding the lanes, and storing one element.
const ADD_LANES: f64 = 6.0;

/// Steps of k beyond which writing C takes no noticeable part of the time.
const MOST_STREAMED_STEPS: usize = 256;

impl<E: Element> Problem<'_, E> {
    /// What the sums cost of tiles that run along the columns of C, with bringing the operands into the
    /// order that they read. C may lie anyhow: no result may depend on that.
    #[inline]
    pub(super) fn cost_of_tiles(&self, lanes: usize, tile: [usize; 2]) -> f64 {
        let [m, n, k] = self.shape;
        let [pack_a, pack_b] = self.packs(tile);
        let (rows, steps) = (m as f64, k as f64);
        let [vectors_of_rows, vectors] = [m, n].map(|side| side.div_ceil(lanes) as f64);
        let order_a = match self.a.strides[0] {
            _ if !pack_a => 0.0,
            1 => COPY,
            _ => TURN,
        };
        let order_b = match self.b.strides[1] {
            // A single row turns what it reads.
            stride if stride != 1 && n > 1 => TURN,
            _ if pack_b && !self.in_strips(tile) => COPY,
            _ => 0.0,
        };
        steps * (rows * vectors + vectors_of_rows * order_a + vectors * order_b)
    }

    /// Whether a B that is packed is taken strip by strip, each of which a few rows meet at once: it is far,
    /// and packed on the way it is fetched during multiply-adds. Strips of one line, on as many pages as
    /// there are steps, and those that leave the first level are slower than a pass over all of it.
    pub(super) fn in_strips(&self, tile: [usize; 2]) -> bool {
        let ([m, n, k], size) = (self.shape, size_of::<E::Sum>());
        E::IN_PLACE
            && self.b.strides[1] == 1
            && m > tile[0]
            && m <= FEW_PANELS * tile[0]
            && k <= STRIP_BYTES / size
            && tile[1] * size > LINE
            && !stays_in_second_level([n, k], size, caches())
    }

    /// Whether C is better written past the caches: it is not read, leaves them before anyone reads it,
    /// and so few steps precede each store that reading its line first would take as long.
    pub(super) fn streams(&self) -> bool {
        let [m, n, k] = self.shape;
        let size = size_of::<E::Sum>();
        let bytes = m.saturating_mul(n).saturating_mul(size);
        let rows_alike = self.c.strides[0].wrapping_mul(size).is_multiple_of(LINE);
        k <= MOST_STREAMED_STEPS
            && self.c.strides[1] == 1
            && rows_alike
            && self.store.is_plain()
            && self.store.beta == E::Sum::ZERO
            && outgrows_cache(bytes / 16)
    }

    /// What storing the tiles costs.
    #[inline]
    pub(super) fn cost_of_stores(&self, lanes: usize, tile: [usize; 2]) -> f64 {
        let [m, n, k] = self.shape;
        // C is stored once per block of k, and fetched before all but the first.
        let blocks = k.div_ceil(K_BYTES / size_of::<E::Sum>()).max(1);
        let accesses = 2 * blocks - usize::from(self.store.beta == E::Sum::ZERO);
        let access = match self.c.strides[1] {
            1 => STORE,
            _ if self.in_strips(tile) => SCATTER_STRIP,
            _ => SCATTER,
        };
        accesses as f64 * access * m as f64 * n.div_ceil(lanes) as f64
    }

    /// What dot products cost, if they can be taken: both operands must be contiguous along k.
    #[inline]
    pub(super) fn cost_of_dots(&self, lanes: usize) -> Option<f64> {
        let [m, n, k] = self.shape;
        let contiguous = self.a.strides[1] == 1 && self.b.strides[0] == 1;
        // So many rows are computed: they are taken in powers of two.
        let rows = m.next_multiple_of(m.clamp(1, MOST_ROWS).next_power_of_two());
        let step = if m > MOST_ROWS { FAR_ROWS } else { 1.0 };
        (contiguous && E::IN_PLACE)
            .then(|| rows as f64 * n as f64 * (step * k.div_ceil(lanes) as f64 + ADD_LANES))
    }
}
