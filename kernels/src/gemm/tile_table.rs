//! The tiles that exist, by instruction set and size.

use std::marker::PhantomData;

use super::microkernel::{enter, enter_packing};
use crate::simd::{Float, Simd, Streaming};

/// Where a tile reads and writes. Strides are in elements.
pub(super) struct TileArgs<'a, T> {
    /// First element of the tile's rows of A.
    pub(super) a: *const T,
    /// Distance between rows of A, and between steps of k.
    pub(super) a_strides: [usize; 2],
    /// First element of the tile's columns of B; the columns are contiguous.
    pub(super) b: *const T,
    /// Distance between steps of k in B.
    pub(super) b_stride: usize,
    /// Number of steps.
    pub(super) k: usize,
    /// First element of the tile of C; the columns are contiguous.
    pub(super) c: *mut T,
    /// Distance between rows of C.
    pub(super) c_stride: usize,
    /// Columns in the last vector, 1 to `LANES`.
    pub(super) last: usize,
    /// Factors of the product and of the old C; C is not read where the second is zero.
    pub(super) scale: [T; 2],
    /// Where a tile that packs puts its rows of A and its columns of B.
    pub(super) panels: [*mut T; 2],
    /// Distances in A and B from what such a tile reads to what it asks for then.
    pub(super) ahead: [usize; 2],
    /// Leave to write whole vectors past the caches; the rows of C are aligned to them then.
    pub(super) leave: Option<&'a Streaming>,
}

/// A compiled tile.
///
/// # Safety
/// The addresses in the arguments must be readable (A, B) and writable (C) over the whole tile, and where it
/// packs, its panels writable.
pub(super) type TileFn<S, T> = unsafe fn(S, &TileArgs<'_, T>);

/// Rows of A that stay in one set of a first-level cache of twelve ways beside a line of B. Rows that lie
/// a multiple of 4 KiB apart have their elements of a step in one set.
const MOST_IN_ONE_SET: usize = 11;

/// The sizes of tile that exist for one instruction set, by its number of registers: accumulators,
/// one row of B and one broadcast of A must fit.
pub(super) struct TileTable<S, T>(PhantomData<(S, T)>);

impl<S: Simd<T>, T: Float> TileTable<S, T> {
    /// Rows of the largest tile.
    pub(super) const ROWS: usize = match S::REGISTERS {
        32.. => 9,
        16.. => 6,
        _ => 4,
    };
    /// Vectors per row of the largest tile.
    pub(super) const VECTORS: usize = match S::REGISTERS {
        32.. => 3,
        16.. => 2,
        _ => 1,
    };
    /// Columns of the largest tile.
    pub(super) const COLS: usize = Self::VECTORS * S::LANES;

    /// Rows of the tallest tile of so many vectors: where fewer accumulators are taken by a row, more
    /// rows keep the multiply-add units busy. Panels of a `packed` A have one height for all.
    pub(super) fn most_rows(vectors: usize, packed: bool) -> usize {
        match (S::REGISTERS, vectors) {
            (32.., 1) if !packed => 16,
            (32.., 2) if !packed => 14,
            (16..32, 1) if !packed => 12,
            _ => Self::ROWS,
        }
    }

    /// Rows of the tallest tile that reads rows of A where they lie, `stride` elements apart.
    pub(super) fn rows_in_place(vectors: usize, stride: usize) -> usize {
        let most = Self::most_rows(vectors, false);
        let in_one_set = stride.wrapping_mul(size_of::<T>()).is_multiple_of(4096);
        if in_one_set { most.min(MOST_IN_ONE_SET) } else { most }
    }

    /// The tile of `rows x vectors`. `whole`: all its columns exist; `beside`: the rows of A lie so.
    pub(super) fn get(rows: usize, vectors: usize, whole: bool, beside: bool) -> TileFn<S, T> {
        if whole && rows == Self::ROWS && vectors == Self::VECTORS {
            return Self::largest(beside);
        }
        match vectors {
            1 => Self::edge::<1>(rows, beside),
            2 if const { Self::VECTORS >= 2 } => Self::edge::<2>(rows, beside),
            3 if const { Self::VECTORS >= 3 } => Self::edge::<3>(rows, beside),
            _ => unreachable!("a tile has at most VECTORS vectors"),
        }
    }

    fn largest(beside: bool) -> TileFn<S, T> {
        if const { Self::VECTORS == 3 } {
            if beside { enter::<S, T, 9, 3, true, true> } else { enter::<S, T, 9, 3, true, false> }
        } else if const { Self::VECTORS == 2 } {
            if beside { enter::<S, T, 6, 2, true, true> } else { enter::<S, T, 6, 2, true, false> }
        } else if beside {
            enter::<S, T, 4, 1, true, true>
        } else {
            enter::<S, T, 4, 1, true, false>
        }
    }

    /// The largest tile as one that packs the rows of A, which must lie beside each other then, the columns
    /// of B, or both.
    pub(super) fn packing(packs: [bool; 2], beside: bool) -> TileFn<S, T> {
        if const { Self::VECTORS == 3 } {
            Self::packing_of::<9, 3>(packs, beside)
        } else if const { Self::VECTORS == 2 } {
            Self::packing_of::<6, 2>(packs, beside)
        } else {
            Self::packing_of::<4, 1>(packs, beside)
        }
    }

    fn packing_of<const ROWS: usize, const VECTORS: usize>(
        packs: [bool; 2],
        beside: bool,
    ) -> TileFn<S, T> {
        match (packs, beside) {
            ([true, true], true) => enter_packing::<S, T, ROWS, VECTORS, true, true, true>,
            ([true, false], true) => enter_packing::<S, T, ROWS, VECTORS, true, true, false>,
            ([false, true], true) => enter_packing::<S, T, ROWS, VECTORS, true, false, true>,
            ([false, true], false) => enter_packing::<S, T, ROWS, VECTORS, false, false, true>,
            _ => unreachable!(
                "what is packed is an operand, and rows of A only where they lie beside"
            ),
        }
    }

    fn edge<const VECTORS: usize>(rows: usize, beside: bool) -> TileFn<S, T> {
        if beside {
            Self::edge_rows::<VECTORS, true>(rows)
        } else {
            Self::edge_rows::<VECTORS, false>(rows)
        }
    }

    /// Whether tiles of so many vectors go beyond [`ROWS`](Self::ROWS).
    const fn tall_exists(vectors: usize) -> bool {
        vectors < Self::VECTORS
    }

    fn tall<const VECTORS: usize, const BESIDE: bool>(rows: usize) -> TileFn<S, T> {
        match rows {
            10 => enter::<S, T, 10, VECTORS, false, BESIDE>,
            11 => enter::<S, T, 11, VECTORS, false, BESIDE>,
            12 => enter::<S, T, 12, VECTORS, false, BESIDE>,
            13 if const { S::REGISTERS >= 32 } => enter::<S, T, 13, VECTORS, false, BESIDE>,
            14 if const { S::REGISTERS >= 32 } => enter::<S, T, 14, VECTORS, false, BESIDE>,
            15 if const { S::REGISTERS >= 32 && VECTORS == 1 } => {
                enter::<S, T, 15, VECTORS, false, BESIDE>
            }
            16 if const { S::REGISTERS >= 32 && VECTORS == 1 } => {
                enter::<S, T, 16, VECTORS, false, BESIDE>
            }
            _ => unreachable!("a tile has 1 to most_rows rows"),
        }
    }

    fn edge_rows<const VECTORS: usize, const BESIDE: bool>(rows: usize) -> TileFn<S, T> {
        match rows {
            1 => enter::<S, T, 1, VECTORS, false, BESIDE>,
            2 => enter::<S, T, 2, VECTORS, false, BESIDE>,
            3 => enter::<S, T, 3, VECTORS, false, BESIDE>,
            4 => enter::<S, T, 4, VECTORS, false, BESIDE>,
            5 if const { Self::ROWS >= 5 } => enter::<S, T, 5, VECTORS, false, BESIDE>,
            6 if const { Self::ROWS >= 6 } => enter::<S, T, 6, VECTORS, false, BESIDE>,
            7 if const { Self::ROWS >= 7 || Self::tall_exists(VECTORS) } => {
                enter::<S, T, 7, VECTORS, false, BESIDE>
            }
            8 if const { Self::ROWS >= 8 || Self::tall_exists(VECTORS) } => {
                enter::<S, T, 8, VECTORS, false, BESIDE>
            }
            9 if const { Self::ROWS >= 9 || Self::tall_exists(VECTORS) } => {
                enter::<S, T, 9, VECTORS, false, BESIDE>
            }
            10.. if const { Self::tall_exists(VECTORS) } => Self::tall::<VECTORS, BESIDE>(rows),
            _ => unreachable!("a tile has 1 to most_rows rows"),
        }
    }
}
