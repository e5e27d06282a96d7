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

use crate::simd::{Float, Kernel, Simd, Streaming, opaque};

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

/// How far a tile has come along k.
struct Place<T> {
    /// Distance from the first elements of the rows of A.
    offset: usize,
    /// The row of B.
    b: *const T,
    /// Steps that are left.
    left: usize,
}

/// Steps of k that a tile takes at once.
const TOGETHER: usize = 4;

/// Enters a tile on the instruction set of `simd`.
///
/// # Safety
/// As for [`TileFn`](super::tile_table::TileFn).
pub(super) unsafe fn enter<
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
        let first = if BESIDE { opaque(args.a) } else { args.a };
        let rows: [*const T; ROWS] = std::array::from_fn(|i| {
            if BESIDE { first.wrapping_add(i) } else { opaque(first.wrapping_add(i * row_stride)) }
        });
        let mut at = Place { offset: 0, b: args.b, left: args.k };
        // SAFETY: the caller vouches for the tile's rows and columns at every step of k.
        unsafe {
            if BESIDE {
                Self::in_twos(simd, args, &rows, &mut at, step, &mut sums);
            } else if step == 1 && const { Self::takes_steps_together::<S>() } {
                Self::together(simd, args, &rows, &mut at, &mut sums);
            } else if step == 1 {
                // Known here, so that the second of two steps has the addresses of the first.
                Self::in_twos(simd, args, &rows, &mut at, 1, &mut sums);
            }
            while at.left > 0 {
                Self::step(simd, args, &rows, &mut at, step, &mut sums);
            }
        }
        if args.scale[0] != T::ONE {
            let alpha = simd.splat(args.scale[0]);
            sums = sums.map(|row| row.map(|sum| simd.mul(alpha, sum)));
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

    /// All steps but the last few, [`TOGETHER`] at once: a row of A after the other.
    ///
    /// # Safety
    /// The tile's rows and columns must be readable at every step that is left.
    #[inline(always)]
    unsafe fn together<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        rows: &[*const T; ROWS],
        at: &mut Place<T>,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        while at.left >= TOGETHER {
            // SAFETY: as promised by the caller.
            unsafe {
                let columns: [_; TOGETHER] = std::array::from_fn(|s| {
                    Self::columns(simd, at.b.wrapping_add(s * args.b_stride), tail)
                });
                for (row, sums) in rows.iter().zip(&mut *sums) {
                    let values = row.wrapping_add(at.offset);
                    for (s, columns) in columns.iter().enumerate() {
                        Self::multiply(simd, *values.wrapping_add(s), columns, sums);
                    }
                }
            }
            at.offset += TOGETHER;
            at.b = at.b.wrapping_add(TOGETHER * args.b_stride);
            at.left -= TOGETHER;
        }
    }

    /// All steps, an odd last one left out, with one count and one branch for two of them: these take
    /// turns with multiply-adds too.
    ///
    /// # Safety
    /// As for [`together`](Self::together).
    #[inline(always)]
    unsafe fn in_twos<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        rows: &[*const T; ROWS],
        at: &mut Place<T>,
        step: usize,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        while at.left >= 2 {
            // SAFETY: as promised by the caller.
            unsafe {
                Self::step(simd, args, rows, at, step, sums);
                Self::step(simd, args, rows, at, step, sums);
            }
        }
    }

    /// One step of k, `step` elements from the next.
    ///
    /// # Safety
    /// As for [`together`](Self::together).
    #[inline(always)]
    unsafe fn step<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        rows: &[*const T; ROWS],
        at: &mut Place<T>,
        step: usize,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        // SAFETY: as promised by the caller.
        unsafe {
            let columns = Self::columns(simd, at.b, tail);
            for (row, sums) in rows.iter().zip(sums) {
                Self::multiply(simd, *row.wrapping_add(at.offset), &columns, sums);
            }
        }
        // The last step leaves these beyond the operands, where they are not used.
        at.offset += step;
        at.b = at.b.wrapping_add(args.b_stride);
        at.left -= 1;
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

    /// Writes `sums`, and adds `scale[1]` times the old C where `ADD`.
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
        let beta = simd.splat(args.scale[1]);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let whole = FULL || j + 1 < VECTORS;
                let place = args.c.wrapping_add(i * args.c_stride + j * S::LANES);
                let mut value = sum;
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

    /// Writes `sums` past the caches.
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
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let place = args.c.wrapping_add(i * args.c_stride + j * S::LANES);
                // SAFETY: the caller vouches for the tile of C.
                unsafe { simd.stream_ptr(sum, place, leave) };
            }
        }
    }
}
