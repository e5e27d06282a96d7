//! Small products of row-major matrices no wider than a tile, by a short way: planning and blocks would
//! take longer than such a product. The tiles are those that the plan would choose.

use super::blocking::{K_BYTES, panels};
use super::plan::{GRAIN, SMALL_B_BYTES};
use super::tile_table::{TileArgs, TileTable};
use crate::simd::{Float, Kernel, Simd};

/// A product `C <- alpha * A * B + beta * C` of matrices with contiguous rows, of at least two rows and
/// two columns.
pub struct Narrow<T> {
    pub(super) a: *const T,
    pub(super) b: *const T,
    pub(super) c: *mut T,
    /// Distances between the rows of A, B and C. One by one: a pair that is written in two and read in
    /// one stalls the CPU for as long as the smallest products take.
    pub(super) a_stride: usize,
    pub(super) b_stride: usize,
    pub(super) c_stride: usize,
    /// Rows, columns, steps of k.
    pub(super) shape: [usize; 3],
    /// Factors of the product and of the old C.
    pub(super) scale: [T; 2],
}

/// Several such products of one shape, one after the other.
pub struct Narrows<T> {
    pub(super) first: Narrow<T>,
    pub(super) count: usize,
    /// Distances from one A, B and C to the next.
    pub(super) steps: [usize; 3],
}

impl<T: Float> Narrow<T> {
    /// Whether one block of tiles, side by side in one column of them, reads everything in place.
    #[inline(always)]
    fn fits(&self, cols: usize) -> bool {
        let [m, n, k] = self.shape;
        let size = size_of::<T>();
        n <= cols
            && k <= K_BYTES / size
            && n * k * size <= SMALL_B_BYTES
            && m.checked_mul(n * k).is_some_and(|steps| steps <= GRAIN)
    }
}

/// Whether it was computed: it is not where it is no small one.
impl<T: Float> Kernel<T> for &Narrow<T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> bool {
        if !self.fits(TileTable::<S, T>::COLS) {
            return false;
        }
        self.tiles(simd, [0; 3]);
        true
    }
}

impl<T: Float> Kernel<T> for &Narrows<T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> bool {
        if !self.first.fits(TileTable::<S, T>::COLS) {
            return false;
        }
        for i in 0..self.count {
            self.first.tiles(simd, self.steps.map(|step| i * step));
        }
        true
    }
}

impl<T: Float> Narrow<T> {
    /// The product of matrices so far behind A, B and C.
    #[inline(always)]
    fn tiles<S: Simd<T>>(&self, simd: S, distance: [usize; 3]) {
        let &Narrow { a_stride, b_stride, c_stride, shape: [m, n, k], scale, .. } = self;
        let a = self.a.wrapping_add(distance[0]);
        let b = self.b.wrapping_add(distance[1]);
        let c = self.c.wrapping_add(distance[2]);
        let vectors = n.div_ceil(S::LANES);
        let last = n - (vectors - 1) * S::LANES;
        for (row, height) in panels(m, TileTable::<S, T>::most_rows(vectors, false)) {
            let args = TileArgs {
                a: a.wrapping_add(row * a_stride),
                a_strides: [a_stride, 1],
                b,
                b_stride,
                k,
                c: c.wrapping_add(row * c_stride),
                c_stride,
                last,
                scale,
                panels: [std::ptr::null_mut(); 2],
                ahead: [0; 2],
                leave: None,
            };
            let tile = TileTable::<S, T>::get(height, vectors, last == S::LANES, false);
            // SAFETY: the panels cover the rows of A and C, the vectors the columns of B and C.
            unsafe { tile(simd, &args) };
        }
    }
}
