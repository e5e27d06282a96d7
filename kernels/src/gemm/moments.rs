//! Means and squared deviations of the columns of C, taken while C is stored.
//!
//! ```text
//!          columns of a tile
//!         +-----------------+   a block of 128 rows is read again as soon as its last row is stored,
//!  block  | ............... |   before it leaves the cache, and gives one partial result per column:
//!         | ............... |
//!         |=================| < this tile completes the block
//!         | ............... |
//! ```
//!
//! The blocks begin at multiples of their size in the whole of C and are merged in order when all of
//! it is stored. So the result depends on the stored values and on the number of rows alone, and has
//! the bits of [`ColumnMeanVar`](crate::ColumnMeanVar), which walks over a finished C the same way.

use super::epilogue::Store;
use super::plan::Operand;
use super::{Gemm, SumsTo};
use crate::error::{Error, Result, checked_area};
use crate::exec::Exec;
use crate::ops::reduce::columns::{Panel, Rows};
use crate::ops::reduce::moments::{BLOCK_ROWS, BlockSums, Moment, STRIP};
use crate::simd::{Float, Kernel, MOST_LANES, Simd};
use crate::view::MatMut;

/// Mean and sum of squared deviations of each column of a product; see [`Gemm::run_with_moments`].
///
/// In `f64` whatever the product is made of: the mean of numbers near 1e6 would be off by up to 0.03
/// in `f32`. Keeps its memory from call to call.
#[derive(Debug, Clone, Default)]
pub struct ColumnMoments {
    mean: Vec<f64>,
    m2: Vec<f64>,
    partials: Vec<Moment>,
}

impl ColumnMoments {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mean of each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The sum over each column of the squared distances from its mean: the number of rows times the
    /// biased variance.
    pub fn m2(&self) -> &[f64] {
        &self.m2
    }

    /// All of each column, for those who go on from them.
    pub(crate) fn columns(&self) -> &[Moment] {
        &self.partials[..self.mean.len()]
    }

    /// Makes room for the partial results of a C of `shape`.
    fn begin(&mut self, [rows, cols]: [usize; 2]) -> Result<Partials> {
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let size = checked_area("partial moments of columns", blocks, cols)?;
        self.partials.clear();
        self.partials.resize(size, Moment::default());
        Ok(Partials { start: self.partials.as_mut_ptr(), shape: [rows, cols] })
    }

    /// Merges the partial results, block after block.
    fn end(&mut self, [rows, cols]: [usize; 2]) {
        let (all, others) = self.partials.split_at_mut(cols);
        let mut count = rows.min(BLOCK_ROWS);
        for block in others.chunks_exact(cols.max(1)) {
            let more = BLOCK_ROWS.min(rows - count);
            for (all, block) in all.iter_mut().zip(block) {
                *all = all.merged(count as f64, *block, more as f64);
            }
            count += more;
        }
        self.mean.clear();
        self.mean.extend(all.iter().map(|all| all.mean::<f64>().0));
        self.m2.clear();
        self.m2.extend(all.iter().map(|all| all.m2));
    }
}

impl<T: Float, E: SumsTo<T>> Gemm<'_, T, E> {
    /// Writes C, and mean and squared deviations of each of its columns as it is stored: after bias,
    /// residual and activation. For batch normalisation leave the activation to that.
    ///
    /// The values are read again, a block of 128 rows at a time, while they lie in a near cache, and
    /// the results have the bits that [`ColumnMeanVar`](crate::ColumnMeanVar) gets in `f64` from that
    /// C: sums of squares about a pivot near the mean, never E\[x²\] - E\[x\]², merged in `f64` in
    /// the order of the rows by the formula of Chan, Golub and LeVeque (1983). They are the same for any
    /// number of threads, any block sizes and any layout of C, and an offset costs no precision. NaN
    /// both in a column with an element that is not finite.
    ///
    /// Traffic beside that of the product: 24 bytes per column and block, and one reading of C from a
    /// near cache, at best where its rows are contiguous.
    ///
    /// # Errors
    /// As [`run`](Self::run), and where C has columns but no rows. C and `moments` are untouched then.
    ///
    /// ```
    /// use tilewise_kernels::{ColumnMoments, Exec, Gemm, MatMut, MatRef};
    /// let (x, w) = ([1.0, 2.0, 3.0, 4.0], [2.0_f32, 0.0, 0.0, 1.0]);
    /// let (x, w) = (MatRef::new(&x, 2, 2)?, MatRef::new(&w, 2, 2)?);
    /// let (mut z, mut moments) = ([0.0; 4], ColumnMoments::new());
    /// let product = Gemm::new(x, w)?;
    /// product.run_with_moments(MatMut::new(&mut z, 2, 2)?, &mut moments, Exec::default())?;
    /// assert_eq!(z, [2.0, 2.0, 6.0, 4.0]);
    /// assert_eq!((moments.mean(), moments.m2()), (&[4.0, 3.0][..], &[8.0, 2.0][..]));
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    pub fn run_with_moments(
        self,
        c: MatMut<'_, T>,
        moments: &mut ColumnMoments,
        exec: Exec,
    ) -> Result<()> {
        self.check_output(&c)?;
        let isa = self.path(exec)?;
        let shape = [c.rows(), c.cols()];
        if shape[0] == 0 && shape[1] > 0 {
            return Err(Error::shape("gemm column moments", "at least 1 row", "none"));
        }
        let partials = moments.begin(shape)?;
        self.write(c, isa, Some(&partials), exec);
        moments.end(shape);
        Ok(())
    }
}

/// Where partial results go: one for each block of rows and each column.
#[derive(Debug)]
pub(super) struct Partials {
    start: *mut Moment,
    /// Rows and columns of the whole C.
    shape: [usize; 2],
}

// SAFETY: regions of C are cut between blocks only, so each partial result is written once, by the
// thread that stores its part of C, into memory that is borrowed for as long as the product runs.
unsafe impl Sync for Partials {}

impl<T: Float> Store<'_, T> {
    /// Multiples at which C may be cut where tiles may be: statistics want whole blocks, and of packed
    /// rows of A whole panels as well.
    pub(super) fn grid(&self, mut tile: [usize; 2], packed_rows: bool) -> [usize; 2] {
        if self.partials.is_some() {
            let side = &mut tile[usize::from(self.turned)];
            *side = if packed_rows { least_common_multiple(*side, BLOCK_ROWS) } else { BLOCK_ROWS };
        }
        tile
    }

    /// Takes the statistics of the blocks that a rectangle completes which was just stored: `shape`
    /// from row and column `at` of C, its first element at `c`.
    #[inline(always)]
    pub(super) fn measure<S: Simd<T>>(
        &self,
        simd: S,
        c: Operand<T>,
        at: [usize; 2],
        shape: [usize; 2],
    ) {
        let Some(partials) = self.partials else { return };
        let stored = Stored { partials, c, at, shape };
        let stored = if self.turned { stored.t() } else { stored };
        if stored.completes_blocks() {
            simd.call(stored);
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    (1..=b).map(|times| a * times).find(|multiple| multiple.is_multiple_of(b)).unwrap_or(a * b)
}

/// A rectangle of C that was just stored, as the last one of its rows above and left of it.
struct Stored<'a, T> {
    partials: &'a Partials,
    /// Its first element, and the strides of C.
    c: Operand<T>,
    /// Row and column of that in C.
    at: [usize; 2],
    shape: [usize; 2],
}

impl<T> Stored<'_, T> {
    fn t(self) -> Self {
        let ([i, j], [height, width]) = (self.at, self.shape);
        Self { c: self.c.t(), at: [j, i], shape: [width, height], ..self }
    }

    /// Not where it is empty, as what a cut between few units leaves may be: the block that ends there
    /// is another thread's.
    #[inline(always)]
    fn completes_blocks(&self) -> bool {
        let (first, end) = (self.at[0], self.at[0] + self.shape[0]);
        let ends = end / BLOCK_ROWS > first / BLOCK_ROWS || end == self.partials.shape[0];
        first < end && ends
    }
}

impl<T: Float> Kernel<T> for Stored<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let [row, end] = [self.at[0], self.at[0] + self.shape[0]];
        for block in row / BLOCK_ROWS..end.div_ceil(BLOCK_ROWS) {
            let first = block * BLOCK_ROWS;
            let last = (first + BLOCK_ROWS).min(self.partials.shape[0]);
            if last <= end {
                self.block(simd, first, last - first);
            }
        }
    }
}

impl<T: Float> Stored<'_, T> {
    /// The statistics of a block of rows of C, over the columns of this rectangle.
    #[inline(always)]
    fn block<S: Simd<T>>(&self, simd: S, first: usize, rows: usize) {
        let Self { c, at: [row, _], shape: [_, cols], .. } = *self;
        // The block may begin above the rectangle or within it.
        let start = c.start.wrapping_add(first * c.strides[0]).wrapping_sub(row * c.strides[0]);
        let top = Operand { start, ..c };
        let contiguous = c.strides[1] == 1 || cols == 1;
        let strip = if contiguous { STRIP } else { COPIED };
        for col in (0..cols).step_by(strip) {
            let (part, width) = (top.at(0, col), strip.min(cols - col));
            if contiguous {
                let part = Part { start: part, stride: c.strides[0], rows, width };
                self.keep(first, col, width, &BlockSums::of(simd, part));
                continue;
            }
            let mut copy = [T::ZERO; BLOCK_ROWS * COPIED];
            let part = Operand { start: part, ..top };
            if c.strides[0] == 1 {
                turn(simd, part, [rows, width], &mut copy);
            } else {
                gather(part, [rows, width], &mut copy);
            }
            let part = Panel::new(&copy, rows, width, COPIED);
            self.keep(first, col, width, &BlockSums::of(simd, part));
        }
    }

    /// Writes the partial results of `width` columns from `col` on.
    #[inline(always)]
    fn keep<P: Rows<Element = T>>(
        &self,
        first: usize,
        col: usize,
        width: usize,
        sums: &BlockSums<P, T>,
    ) {
        let Self { partials, at, .. } = self;
        let place = first / BLOCK_ROWS * partials.shape[1] + at[1] + col;
        for c in 0..width {
            // SAFETY: there is one for each block and column, and this one is written here only.
            unsafe { *partials.start.add(place + c) = sums.moment(c) };
        }
    }
}

/// Columns that are copied at a time where the rows of C are not contiguous: the widest vector has as
/// many lanes.
const COPIED: usize = MOST_LANES;

/// Copies columns of C that this thread has stored, to rows of [`COPIED`] elements.
#[inline(always)]
fn gather<T: Float>(c: Operand<T>, [rows, cols]: [usize; 2], copy: &mut [T]) {
    for (i, row) in copy.chunks_exact_mut(COPIED).enumerate().take(rows) {
        for (j, value) in row[..cols].iter_mut().enumerate() {
            // SAFETY: element `(i, j)` of the columns.
            *value = unsafe { *c.at(i, j) };
        }
    }
}

/// The same of contiguous columns, in squares that are turned in registers.
#[inline(always)]
fn turn<T: Float, S: Simd<T>>(simd: S, c: Operand<T>, [rows, cols]: [usize; 2], copy: &mut [T]) {
    for first in (0..cols).step_by(S::LANES) {
        let exist = S::LANES.min(cols - first);
        for top in (0..rows).step_by(S::LANES) {
            let height = S::LANES.min(rows - top);
            let tail = simd.tail(height);
            let mut square = [simd.zero(); MOST_LANES];
            for (j, column) in square[..exist].iter_mut().enumerate() {
                // SAFETY: `height` neighbours from row `top` on in column `first + j`.
                *column = unsafe { simd.load_tail(c.at(top, first + j), tail) };
            }
            simd.transpose(&mut square[..S::LANES]);
            for (i, row) in square[..height].iter().enumerate() {
                simd.store(*row, &mut copy[(top + i) * COPIED + first..]);
            }
        }
    }
}

/// Some columns of a block of rows of C, which this thread has stored.
struct Part<T> {
    start: *const T,
    stride: usize,
    rows: usize,
    width: usize,
}

impl<T> Rows for Part<T> {
    type Element = T;

    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &[T] {
        assert!(i < self.rows);
        // SAFETY: `width` neighbours in a row of C that nobody writes any more: this thread has stored
        // them, and the columns beside them, which others may write, are left out.
        unsafe { std::slice::from_raw_parts(self.start_of(i), self.width) }
    }

    #[inline(always)]
    fn start_of(&self, i: usize) -> *const T {
        self.start.wrapping_add(i * self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_complete_with_their_last_row() {
        let partials = Partials { start: std::ptr::null_mut(), shape: [200, 3] };
        let completes = |first: usize, rows: usize| {
            let c = Operand { start: std::ptr::null::<f32>(), strides: [3, 1] };
            let (at, shape) = ([first, 0], [rows, 3]);
            Stored { partials: &partials, c, at, shape }.completes_blocks()
        };
        for (first, rows) in [(0, 128), (120, 8), (127, 1), (100, 50), (128, 72), (199, 1)] {
            assert!(completes(first, rows), "{rows} rows from {first}");
        }
        for (first, rows) in [(0, 127), (128, 8), (0, 0), (128, 0), (200, 0)] {
            assert!(!completes(first, rows), "{rows} rows from {first}");
        }
    }
}
