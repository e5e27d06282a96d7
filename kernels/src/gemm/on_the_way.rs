//! Packing on the way: a tile that is the first to read rows of A or columns of B copies them into the
//! panels that the tiles after it read. Its multiply-adds leave time for the stores, and a pass over the
//! operand is saved.

use super::tile_table::TileArgs;
use crate::simd::{Float, Simd};

/// The panels of a tile of `ROWS x VECTORS`, at the step that it has come to.
pub(super) struct OnTheWay<
    T,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKS_A: bool,
    const PACKS_B: bool,
> {
    panels: [*mut T; 2],
    /// Distances of what is fetched now from what is read now.
    ahead: [usize; 2],
}

impl<T: Float, const ROWS: usize, const VECTORS: usize, const PACKS_A: bool, const PACKS_B: bool>
    OnTheWay<T, ROWS, VECTORS, PACKS_A, PACKS_B>
{
    #[inline(always)]
    pub(super) fn new(args: &TileArgs<'_, T>) -> Self {
        Self { panels: args.panels, ahead: args.ahead }
    }

    /// Copies a step of A, whose rows lie beside each other from `rows` on.
    ///
    /// # Safety
    /// `ROWS` values must be readable there, and the panel of A writable as far.
    #[inline(always)]
    pub(super) unsafe fn keep_rows<S: Simd<T>>(&mut self, simd: S, rows: *const T) {
        if !PACKS_A {
            return;
        }
        // They may lie on two lines.
        simd.prefetch(rows.wrapping_add(self.ahead[0]));
        simd.prefetch(rows.wrapping_add(self.ahead[0] + ROWS - 1));
        let panel = self.panels[0];
        for row in (0..ROWS).step_by(S::LANES) {
            // SAFETY: as promised by the caller, for `ROWS` values.
            unsafe {
                if row + S::LANES <= ROWS {
                    simd.store_ptr(simd.load_ptr(rows.add(row)), panel.add(row));
                } else {
                    let rest = simd.tail(ROWS - row);
                    simd.store_tail(simd.load_tail(rows.add(row), rest), panel.add(row), rest);
                }
            }
        }
        self.panels[0] = panel.wrapping_add(ROWS);
    }

    /// Copies a step of B, whose `columns` were read `from` there.
    ///
    /// # Safety
    /// The panel of B must be writable for them.
    #[inline(always)]
    pub(super) unsafe fn keep_columns<S: Simd<T>>(
        &mut self,
        simd: S,
        from: *const T,
        columns: &[S::V; VECTORS],
    ) {
        if !PACKS_B {
            return;
        }
        let panel = self.panels[1];
        for (j, &column) in columns.iter().enumerate() {
            simd.prefetch(from.wrapping_add(self.ahead[1] + j * S::LANES));
            // SAFETY: as promised by the caller.
            unsafe { simd.store_ptr(column, panel.add(j * S::LANES)) };
        }
        self.panels[1] = panel.wrapping_add(VECTORS * S::LANES);
    }
}
