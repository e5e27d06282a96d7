//! The register tile: `ROWS x VECTORS` accumulators in registers, one multiply-add each per step
//! of k.
//!
//! ```text
//!                  b: one row of VECTORS vectors per step
//!                  [ v0 | v1 | v2 ]
//!      a: ROWS   a0 [ c00  c01  c02 ]
//!      values    a1 [ c10  c11  c12 ]     every c is one register
//!      per step  ..  ..
//! ```
//!
//! One body serves every instruction set, packed and unpacked operands, and the edges: a narrower
//! tile at the bottom, fewer vectors and a masked last one at the right. The chain of operations
//! behind an element of C is the same in all of them, so its bits do not depend on its position.

use std::hint::black_box;
use std::marker::PhantomData;

use crate::simd::{Float, Kernel, Simd, Streaming};

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
    /// Leave to write whole vectors past the caches; the rows of C are aligned to them then.
    pub(super) leave: Option<&'a Streaming>,
}

/// A tile of fixed size. `FULL`: the last vector is whole. `BESIDE`: the rows of A lie beside each other
/// at every step, as in packed panels and in a transposed A.
struct Tile<'a, T, const ROWS: usize, const VECTORS: usize, const FULL: bool, const BESIDE: bool> {
    args: &'a TileArgs<'a, T>,
}

/// A compiled tile.
///
/// # Safety
/// The addresses in the arguments must be readable (A, B) and writable (C) over the whole tile.
pub(super) type TileFn<S, T> = unsafe fn(S, &TileArgs<'_, T>);

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
            (32.., 1) if !packed => 12,
            (32.., 2) if !packed => 14,
            (16..32, 1) if !packed => 12,
            _ => Self::ROWS,
        }
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

/// Steps of k that a tile takes at once.
const TOGETHER: usize = 4;

/// Enters a tile on the instruction set of `simd`.
///
/// # Safety
/// As for [`TileFn`].
unsafe fn enter<
    S: Simd<T>,
    T: Float,
    const ROWS: usize,
    const VECTORS: usize,
    const FULL: bool,
    const BESIDE: bool,
>(
    simd: S,
    args: &TileArgs<'_, T>,
) {
    simd.call(Tile::<T, ROWS, VECTORS, FULL, BESIDE> { args });
}

impl<T: Float, const ROWS: usize, const VECTORS: usize, const FULL: bool, const BESIDE: bool>
    Kernel<T> for Tile<'_, T, ROWS, VECTORS, FULL, BESIDE>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let args = self.args;
        let [row_stride, step] = args.a_strides;
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        let mut sums = [[simd.zero(); VECTORS]; ROWS];
        // One address per row and one offset for all of them: one addition per step. Integer
        // operations take turns on the ports of the multiply-adds; left alone, the compiler derives
        // the addresses from each other in eight additions per step, which costs 10 % here.
        let first = if BESIDE { black_box(args.a) } else { args.a };
        let rows: [*const T; ROWS] = std::array::from_fn(|i| {
            if BESIDE {
                first.wrapping_add(i)
            } else {
                black_box(first.wrapping_add(i * row_stride))
            }
        });
        let (mut offset, mut b, mut left) = (0, args.b, args.k);
        if const { Self::takes_steps_together::<S>() } && step == 1 {
            while left >= TOGETHER {
                // SAFETY: the caller vouches for the tile's rows and columns at every step of k.
                unsafe {
                    let columns: [_; TOGETHER] = std::array::from_fn(|s| {
                        Self::columns(simd, b.wrapping_add(s * args.b_stride), tail)
                    });
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let values = row.wrapping_add(offset);
                        for (s, columns) in columns.iter().enumerate() {
                            Self::multiply(simd, *values.wrapping_add(s), columns, sums);
                        }
                    }
                }
                offset += TOGETHER;
                b = b.wrapping_add(TOGETHER * args.b_stride);
                left -= TOGETHER;
            }
        }
        for _ in 0..left {
            // SAFETY: the caller vouches for the tile's rows and columns at every step of k.
            unsafe {
                let columns = Self::columns(simd, b, tail);
                for (row, sums) in rows.iter().zip(&mut sums) {
                    Self::multiply(simd, *row.wrapping_add(offset), &columns, sums);
                }
            }
            // The last step leaves these beyond the operands, where they are not used.
            offset += step;
            b = b.wrapping_add(args.b_stride);
        }
        // SAFETY: the caller vouches for the tile of C; `tail` covers its last columns.
        unsafe {
            if args.scale[1] == T::ZERO {
                if FULL && let Some(leave) = args.leave {
                    return Self::stream(simd, args, &sums, leave);
                }
                Self::store::<S, false>(simd, args, &sums, tail);
            } else {
                Self::store::<S, true>(simd, args, &sums, tail);
            }
        }
    }
}

impl<T: Float, const ROWS: usize, const VECTORS: usize, const FULL: bool, const BESIDE: bool>
    Tile<'_, T, ROWS, VECTORS, FULL, BESIDE>
{
    /// Whether several steps of k are taken at once where A is read along its rows: there are more
    /// addresses than registers for them, so each is fetched once for all these steps. Wide tiles, and
    /// paths with few registers, have none left for their columns; rows beside each other need one address only.
    const fn takes_steps_together<S: Simd<T>>() -> bool {
        !BESIDE && VECTORS == 1 && S::REGISTERS >= 32
    }

    /// A row of B.
    ///
    /// # Safety
    /// The tile's columns must be readable there, in the last vector as far as `tail`.
    #[inline(always)]
    unsafe fn columns<S: Simd<T>>(simd: S, b: *const T, tail: S::Tail) -> [S::V; VECTORS] {
        let mut columns = [simd.zero(); VECTORS];
        for (j, column) in columns.iter_mut().enumerate() {
            let from = b.wrapping_add(j * S::LANES);
            // SAFETY: as promised by the caller.
            *column = unsafe {
                if FULL || j + 1 < VECTORS {
                    simd.load_ptr(from)
                } else {
                    simd.load_tail(from, tail)
                }
            };
        }
        columns
    }

    /// Adds `value` times a row of B to a row of sums.
    #[inline(always)]
    fn multiply<S: Simd<T>>(
        simd: S,
        value: T,
        columns: &[S::V; VECTORS],
        sums: &mut [S::V; VECTORS],
    ) {
        let value = simd.splat(value);
        for (sum, &column) in sums.iter_mut().zip(columns) {
            *sum = simd.mul_add(value, column, *sum);
        }
    }

    /// Writes `scale[0] * sums`, and adds `scale[1]` times the old C where `ADD`.
    ///
    /// # Safety
    /// The tile of C in `args` must be readable and writable, in the last vector as far as `tail`.
    #[inline(always)]
    unsafe fn store<S: Simd<T>, const ADD: bool>(
        simd: S,
        args: &TileArgs<'_, T>,
        sums: &[[S::V; VECTORS]; ROWS],
        tail: S::Tail,
    ) {
        let [alpha, beta] = args.scale.map(|x| simd.splat(x));
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let whole = FULL || j + 1 < VECTORS;
                let place = args.c.wrapping_add(i * args.c_stride + j * S::LANES);
                let mut value = simd.mul(alpha, sum);
                // SAFETY: the caller vouches for the tile of C.
                unsafe {
                    if ADD {
                        let old =
                            if whole { simd.load_ptr(place) } else { simd.load_tail(place, tail) };
                        value = simd.mul_add(beta, old, value);
                    }
                    if whole {
                        simd.store_ptr(value, place);
                    } else {
                        simd.store_tail(value, place, tail);
                    }
                }
            }
        }
    }

    /// Writes `scale[0] * sums` past the caches.
    ///
    /// # Safety
    /// The tile of C in `args` must be writable, and every row of it aligned to a vector.
    #[inline(always)]
    unsafe fn stream<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        sums: &[[S::V; VECTORS]; ROWS],
        leave: &Streaming,
    ) {
        let alpha = simd.splat(args.scale[0]);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let place = args.c.wrapping_add(i * args.c_stride + j * S::LANES);
                // SAFETY: the caller vouches for the tile of C.
                unsafe { simd.stream_ptr(simd.mul(alpha, sum), place, leave) };
            }
        }
    }
}
