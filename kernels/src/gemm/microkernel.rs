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

use super::on_the_way::OnTheWay;
use super::tile_table::TileArgs;
use crate::simd::{Float, Kernel, Simd, Streaming, opaque, opaque_distance};

/// Rows of the tallest tile.
const MOST_ROWS: usize = 16;

/// A tile of fixed size. `FULL`: the last vector is whole. `BESIDE`: the rows of A lie beside each other
/// at every step, as in packed panels and in a transposed A. `PACKS_A`, `PACKS_B`: it packs what it reads.
struct Tile<
    'a,
    T,
    const ROWS: usize,
    const VECTORS: usize,
    const FULL: bool,
    const BESIDE: bool,
    const PACKS_A: bool,
    const PACKS_B: bool,
> {
    args: &'a TileArgs<'a, T>,
}

/// How far a tile has come whose rows do not lie along k.
struct Place<T> {
    /// Distance from the first elements of the rows of A.
    offset: usize,
    /// The row of B.
    b: *const T,
    /// Steps that are left.
    left: usize,
}

/// Rows that share an address.
const GROUP: usize = 4;

/// Where the rows of A lie at a step, if each is contiguous along k. [`GROUP`] rows share an address: the
/// others are one, two and three strides away, which the CPU adds as it loads. So tall tiles have registers
/// for all their rows, and few additions per step.
struct Rows<T> {
    groups: [*const T; MOST_ROWS.div_ceil(GROUP)],
    stride: usize,
    thrice: usize,
}

impl<T: Copy> Rows<T> {
    /// Rows from `first` on, `stride` elements apart.
    #[inline(always)]
    fn new(first: *const T, stride: usize) -> Self {
        let stride = opaque_distance(stride);
        let groups = std::array::from_fn(|group| first.wrapping_add(GROUP * group * stride));
        Self { groups, stride, thrice: opaque_distance(3 * stride) }
    }

    /// The element of row `i` so many steps further on.
    ///
    /// # Safety
    /// It must be readable.
    #[inline(always)]
    unsafe fn at(&self, i: usize, steps: usize) -> T {
        let first = self.groups[i / GROUP].wrapping_add(steps);
        let place = match i % GROUP {
            0 => first,
            1 => first.wrapping_add(self.stride),
            2 => first.wrapping_add(2 * self.stride),
            _ => first.wrapping_add(self.thrice),
        };
        // SAFETY: as promised by the caller.
        unsafe { *place }
    }

    /// Goes so many steps on.
    #[inline(always)]
    fn advance(&mut self, steps: usize) {
        for group in &mut self.groups {
            *group = opaque(group.wrapping_add(steps));
        }
    }
}

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
    simd.call(Tile::<T, ROWS, VECTORS, FULL, BESIDE, false, false> { args });
}

/// Enters a whole tile that packs.
///
/// # Safety
/// As for [`TileFn`](super::tile_table::TileFn).
pub(super) unsafe fn enter_packing<
    S: Simd<T>,
    T: Float,
    const ROWS: usize,
    const VECTORS: usize,
    const BESIDE: bool,
    const PACKS_A: bool,
    const PACKS_B: bool,
>(
    simd: S,
    args: &TileArgs<'_, T>,
) {
    simd.call(Tile::<T, ROWS, VECTORS, true, BESIDE, PACKS_A, PACKS_B> { args });
}

impl<
    T: Float,
    const ROWS: usize,
    const VECTORS: usize,
    const FULL: bool,
    const BESIDE: bool,
    const PACKS_A: bool,
    const PACKS_B: bool,
> Kernel<T> for Tile<'_, T, ROWS, VECTORS, FULL, BESIDE, PACKS_A, PACKS_B>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let args = self.args;
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        let mut sums = [[simd.zero(); VECTORS]; ROWS];
        // SAFETY: the caller vouches for the tile's rows and columns at every step of k.
        unsafe {
            if !BESIDE && args.a_strides[1] == 1 {
                Self::along(simd, args, &mut sums);
            } else {
                Self::across(simd, args, &mut sums);
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

impl<
    T: Float,
    const ROWS: usize,
    const VECTORS: usize,
    const FULL: bool,
    const BESIDE: bool,
    const PACKS_A: bool,
    const PACKS_B: bool,
> Tile<'_, T, ROWS, VECTORS, FULL, BESIDE, PACKS_A, PACKS_B>
{
    /// All steps where rows of A are contiguous along k.
    ///
    /// # Safety
    /// The tile's rows and columns must be readable at every step.
    #[inline(always)]
    unsafe fn along<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let mut rows = Rows::new(args.a, args.a_strides[0]);
        let (mut b, mut left, mut way) = (args.b, args.k, OnTheWay::new(args));
        // One count, one branch and one addition per address for four steps: these take turns with the
        // multiply-adds.
        while left >= 4 {
            // SAFETY: as promised by the caller.
            unsafe {
                Self::step_along::<S, 0>(simd, args, &rows, (&mut b, &mut way), sums);
                Self::step_along::<S, 1>(simd, args, &rows, (&mut b, &mut way), sums);
                Self::step_along::<S, 2>(simd, args, &rows, (&mut b, &mut way), sums);
                Self::step_along::<S, 3>(simd, args, &rows, (&mut b, &mut way), sums);
            }
            rows.advance(4);
            left -= 4;
        }
        for _ in 0..left {
            // SAFETY: as promised by the caller.
            unsafe { Self::step_along::<S, 0>(simd, args, &rows, (&mut b, &mut way), sums) };
            rows.advance(1);
        }
    }

    /// One step, `STEP` steps behind the place of `rows`; `b` goes to the next row of B.
    ///
    /// # Safety
    /// The tile's rows and columns must be readable at this step.
    #[inline(always)]
    unsafe fn step_along<S: Simd<T>, const STEP: usize>(
        simd: S,
        args: &TileArgs<'_, T>,
        rows: &Rows<T>,
        (b, way): (&mut *const T, &mut OnTheWay<T, ROWS, VECTORS, PACKS_A, PACKS_B>),
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        // SAFETY: as promised by the caller.
        unsafe {
            let columns = Self::columns(simd, *b, tail);
            way.keep_columns(simd, *b, &columns);
            for (i, sums) in sums.iter_mut().enumerate() {
                Self::multiply(simd, rows.at(i, STEP), &columns, sums);
            }
        }
        // The last step leaves this beyond the operand, where it is not used.
        *b = b.wrapping_add(args.b_stride);
    }

    /// All steps where rows of A lie beside each other, or anyhow: two steps at once, for one count and one
    /// branch.
    ///
    /// # Safety
    /// As for [`along`](Self::along).
    #[inline(always)]
    unsafe fn across<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let stride = args.a_strides[0];
        // One address per row and one offset for all of them: one addition per step. Left alone, the
        // compiler derives the addresses from each other in eight additions per step, which costs 10 % here.
        let first = if BESIDE { opaque(args.a) } else { args.a };
        let rows: [*const T; ROWS] = std::array::from_fn(|i| {
            if BESIDE { first.wrapping_add(i) } else { opaque(first.wrapping_add(i * stride)) }
        });
        let mut at = Place { offset: 0, b: args.b, left: args.k };
        let mut way = OnTheWay::new(args);
        // SAFETY: as promised by the caller.
        unsafe {
            while BESIDE && at.left >= 2 {
                Self::step_across(simd, args, &rows, (&mut at, &mut way), sums);
                Self::step_across(simd, args, &rows, (&mut at, &mut way), sums);
            }
            while at.left > 0 {
                Self::step_across(simd, args, &rows, (&mut at, &mut way), sums);
            }
        }
    }

    /// One step, and on to the next.
    ///
    /// # Safety
    /// As for [`step_along`](Self::step_along).
    #[inline(always)]
    unsafe fn step_across<S: Simd<T>>(
        simd: S,
        args: &TileArgs<'_, T>,
        rows: &[*const T; ROWS],
        (at, way): (&mut Place<T>, &mut OnTheWay<T, ROWS, VECTORS, PACKS_A, PACKS_B>),
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        let tail = simd.tail(if FULL { S::LANES } else { args.last });
        // SAFETY: as promised by the caller.
        unsafe {
            let columns = Self::columns(simd, at.b, tail);
            way.keep_rows(simd, rows[0].wrapping_add(at.offset));
            way.keep_columns(simd, at.b, &columns);
            for (row, sums) in rows.iter().zip(sums) {
                Self::multiply(simd, *row.wrapping_add(at.offset), &columns, sums);
            }
        }
        // The last step leaves these beyond the operands, where they are not used.
        at.offset += args.a_strides[1];
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
