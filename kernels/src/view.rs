//! Borrowed matrices: a slice, a shape and two strides, checked once when made.
//!
//! Element `(i, j)` of a view lies at `i * row_stride + j * col_stride` of its slice. Every
//! constructor proves that the last element is inside the slice (and, for [`MatMut`], that no two
//! elements share a place), so operations index without further checks.

use crate::error::{Error, ErrorKind, Result};

/// Number of elements from the first to the last one of a strided matrix, both included.
#[inline]
fn span(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let down = (rows - 1).checked_mul(row_stride)?;
    let across = (cols - 1).checked_mul(col_stride)?;
    down.checked_add(across)?.checked_add(1)
}

#[inline]
fn check_span(len: usize, shape: [usize; 2], strides: [usize; 2]) -> Result<()> {
    let fits = shape[0].checked_mul(shape[1]).is_some()
        && span(shape[0], shape[1], strides[0], strides[1]).is_some_and(|needed| needed <= len);
    if fits { Ok(()) } else { Err(span_error(len, shape, strides)) }
}

#[cold]
fn span_error(len: usize, shape: [usize; 2], strides: [usize; 2]) -> Error {
    let [rows, cols] = shape;
    let wanted = format!("{rows} x {cols} with strides {} and {}", strides[0], strides[1]);
    match span(rows, cols, strides[0], strides[1]) {
        Some(needed) if needed > len => Error::shape(
            "matrix buffer",
            format!("at least {needed} elements for {wanted}"),
            format!("{len} elements"),
        ),
        _ => {
            Error::new(ErrorKind::Overflow, "matrix", "a size that fits the address space", wanted)
        }
    }
}

/// The same for rows that follow each other: small products take as long as the general check.
#[inline(always)]
fn check_whole(len: usize, [rows, cols]: [usize; 2]) -> Result<()> {
    match rows.checked_mul(cols) {
        Some(needed) if needed <= len => Ok(()),
        _ => Err(span_error(len, [rows, cols], [cols, 1])),
    }
}

#[cold]
fn overlap_error([rows, cols]: [usize; 2], strides: [usize; 2]) -> Error {
    let got = format!("{rows} x {cols} with strides {} and {}", strides[0], strides[1]);
    let expected = "strides that keep its elements apart";
    Error::new(ErrorKind::Stride, "output matrix", expected, got)
}

/// True where two different indices of the matrix can lie at one place.
#[inline]
fn overlaps(shape: [usize; 2], strides: [usize; 2]) -> bool {
    let [rows, cols] = shape;
    if rows == 0 || cols == 0 {
        return false;
    }
    let row_extent = (cols - 1) * strides[1];
    let col_extent = (rows - 1) * strides[0];
    let rows_apart = rows == 1 || (strides[0] > row_extent && (cols == 1 || strides[1] > 0));
    let cols_apart = cols == 1 || (strides[1] > col_extent && (rows == 1 || strides[0] > 0));
    !(rows_apart || cols_apart)
}

/// A read-only matrix over a borrowed slice.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> MatRef<'a, T> {
    /// A row-major `rows` x `cols` matrix over the first `rows * cols` elements of `data`.
    ///
    /// # Errors
    /// If `data` is too short or the size overflows.
    #[inline]
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        check_whole(data.len(), [rows, cols])?;
        Ok(Self { data, rows, cols, row_stride: cols, col_stride: 1 })
    }

    /// A matrix whose element `(i, j)` is `data[i * strides[0] + j * strides[1]]`.
    ///
    /// # Errors
    /// If an element would lie outside `data` or the size overflows.
    #[inline]
    pub fn with_strides(data: &'a [T], shape: [usize; 2], strides: [usize; 2]) -> Result<Self> {
        check_span(data.len(), shape, strides)?;
        let [rows, cols] = shape;
        Ok(Self { data, rows, cols, row_stride: strides[0], col_stride: strides[1] })
    }

    /// A single row over a whole slice.
    pub fn row_vector(data: &'a [T]) -> Self {
        Self { data, rows: 1, cols: data.len(), row_stride: data.len(), col_stride: 1 }
    }

    /// The transposed matrix; nothing is moved.
    #[must_use]
    #[inline]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between vertically adjacent elements.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance between horizontally adjacent elements.
    #[inline]
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The slice below; element `(0, 0)` comes first.
    #[inline]
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// True where the elements of each row are neighbours in memory.
    #[inline]
    pub fn has_contiguous_rows(&self) -> bool {
        self.col_stride == 1 || self.cols <= 1
    }

    /// Row `i` as a slice. Needs contiguous rows.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows) or the rows are not contiguous.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows && self.has_contiguous_rows());
        if self.cols == 0 {
            return &[];
        }
        &self.data[i * self.row_stride..][..self.cols]
    }

    /// Rows `0..mid` and rows `mid..`.
    ///
    /// # Panics
    /// If `mid` is above [`rows`](Self::rows).
    pub fn split_rows(self, mid: usize) -> (Self, Self) {
        assert!(mid <= self.rows);
        let at = (mid * self.row_stride).min(self.data.len());
        (Self { rows: mid, ..self }, Self { data: &self.data[at..], rows: self.rows - mid, ..self })
    }
}

impl<T: Copy> MatRef<'_, T> {
    /// Element `(i, j)`.
    ///
    /// # Panics
    /// If an index is out of range.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// A matrix over a mutably borrowed slice; no two of its elements share a place.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> MatMut<'a, T> {
    /// A row-major `rows` x `cols` matrix over the first `rows * cols` elements of `data`.
    ///
    /// # Errors
    /// If `data` is too short or the size overflows.
    #[inline]
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self> {
        check_whole(data.len(), [rows, cols])?;
        Ok(Self { data, rows, cols, row_stride: cols, col_stride: 1 })
    }

    /// A matrix whose element `(i, j)` is `data[i * strides[0] + j * strides[1]]`.
    ///
    /// # Errors
    /// If an element would lie outside `data`, two elements could share a place (one stride must
    /// exceed the extent of the other dimension), or the size overflows.
    #[inline]
    pub fn with_strides(data: &'a mut [T], shape: [usize; 2], strides: [usize; 2]) -> Result<Self> {
        check_span(data.len(), shape, strides)?;
        if overlaps(shape, strides) {
            return Err(overlap_error(shape, strides));
        }
        let [rows, cols] = shape;
        Ok(Self { data, rows, cols, row_stride: strides[0], col_stride: strides[1] })
    }

    /// The transposed matrix; nothing is moved.
    #[must_use]
    #[inline]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// A shorter mutable borrow of the same matrix.
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }

    /// The same matrix, read-only.
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between vertically adjacent elements.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance between horizontally adjacent elements.
    #[inline]
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The slice below; element `(0, 0)` comes first.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }

    /// True where the elements of each row are neighbours in memory.
    #[inline]
    pub fn has_contiguous_rows(&self) -> bool {
        self.col_stride == 1 || self.cols <= 1
    }

    /// Row `i` as a slice. Needs contiguous rows.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows) or the rows are not contiguous.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows && self.has_contiguous_rows());
        if self.cols == 0 {
            return &mut [];
        }
        &mut self.data[i * self.row_stride..][..self.cols]
    }

    /// Rows `0..mid` and rows `mid..`. Needs rows that do not interleave (`row_stride` beyond the
    /// extent of a row), as contiguous rows are.
    ///
    /// # Panics
    /// If `mid` is above [`rows`](Self::rows) or the rows interleave.
    pub fn split_rows(self, mid: usize) -> (MatMut<'a, T>, MatMut<'a, T>) {
        assert!(mid <= self.rows);
        let extent = self.cols.saturating_sub(1) * self.col_stride;
        assert!(self.rows <= 1 || self.cols == 0 || self.row_stride > extent);
        let at = (mid * self.row_stride).min(self.data.len());
        let (rows, cols, row_stride, col_stride) =
            (self.rows, self.cols, self.row_stride, self.col_stride);
        let (top, bottom) = self.data.split_at_mut(at);
        (
            MatMut { data: top, rows: mid, cols, row_stride, col_stride },
            MatMut { data: bottom, rows: rows - mid, cols, row_stride, col_stride },
        )
    }
}

impl<T: Copy> MatMut<'_, T> {
    /// Element `(i, j)`.
    ///
    /// # Panics
    /// If an index is out of range.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> T {
        self.as_ref().at(i, j)
    }

    /// Writes element `(i, j)`.
    ///
    /// # Panics
    /// If an index is out of range.
    #[inline]
    pub fn set(&mut self, i: usize, j: usize, value: T) {
        assert!(i < self.rows && j < self.cols);
        self.data[i * self.row_stride + j * self.col_stride] = value;
    }
}
