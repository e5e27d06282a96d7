//! Owned row-major matrices: one row per example, one column per feature.
//!
//! The literature often writes an example as a column, `Z = W·A + b`. Here it is a row,
//! `Z = A·Wᵀ + b`, so that an example's features are neighbours in memory.

use tilewise_kernels::{Error as Argument, ErrorKind, Float, MatMut, MatRef};

use crate::error::{Error, Result};

/// An owned row-major matrix.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix<T = f32> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Float> Matrix<T> {
    /// A `rows` x `cols` matrix over `data`, row after row.
    ///
    /// # Errors
    /// If `data` does not have exactly `rows * cols` elements.
    pub fn new(data: Vec<T>, rows: usize, cols: usize) -> Result<Self> {
        let area = rows.checked_mul(cols).ok_or_else(|| too_large(rows, cols))?;
        if data.len() != area {
            return Err(Error::shape(
                "matrix",
                format!("{area} elements for {rows} x {cols}"),
                format!("{} elements", data.len()),
            ));
        }
        Ok(Self { data, rows, cols })
    }

    /// A `rows` x `cols` matrix of zeros.
    ///
    /// # Errors
    /// If the size overflows.
    pub fn zeros(rows: usize, cols: usize) -> Result<Self> {
        let area = rows.checked_mul(cols).ok_or_else(|| too_large(rows, cols))?;
        Ok(Self { data: vec![T::ZERO; area], rows, cols })
    }

    /// A matrix of the given rows.
    ///
    /// # Errors
    /// If the rows have different lengths.
    pub fn from_rows<R: AsRef<[T]>>(rows: &[R]) -> Result<Self> {
        let cols = rows.first().map_or(0, |row| row.as_ref().len());
        let mut data = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let row = row.as_ref();
            if row.len() != cols {
                return Err(Error::shape(
                    format!("matrix row {i}"),
                    format!("{cols} elements"),
                    format!("{} elements", row.len()),
                ));
            }
            data.extend_from_slice(row);
        }
        Ok(Self { data, rows: rows.len(), cols })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All elements, row after row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All elements, row after row.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows).
    pub fn row(&self, i: usize) -> &[T] {
        assert!(i < self.rows);
        &self.data[i * self.cols..][..self.cols]
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i` is not below [`rows`](Self::rows).
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        &mut self.data[i * self.cols..][..self.cols]
    }

    /// A view for kernels.
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.data, self.rows, self.cols).expect("the data fits the shape")
    }

    /// A mutable view for kernels.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::new(&mut self.data, self.rows, self.cols).expect("the data fits the shape")
    }

    /// The matrix of the rows `picked`, in that order.
    ///
    /// # Errors
    /// If a row does not exist.
    pub fn select_rows(&self, picked: &[usize]) -> Result<Self> {
        let mut selection = Self::default();
        selection.gather(self, picked)?;
        Ok(selection)
    }

    /// Becomes the rows `picked` of `source`, in the memory it has.
    pub(crate) fn gather(&mut self, source: &Self, picked: &[usize]) -> Result<()> {
        if let Some(&row) = picked.iter().find(|&&row| row >= source.rows) {
            return Err(Error::argument("row", format!("below {}", source.rows), row));
        }
        self.resize(picked.len(), source.cols)?;
        for (i, &row) in picked.iter().enumerate() {
            self.row_mut(i).copy_from_slice(source.row(row));
        }
        Ok(())
    }

    /// Becomes rows `first..first + count` of `source`, in the memory it has.
    pub(crate) fn copy_rows(&mut self, source: &Self, first: usize, count: usize) -> Result<()> {
        self.resize(count, source.cols)?;
        self.data.copy_from_slice(&source.data[first * source.cols..][..count * source.cols]);
        Ok(())
    }

    /// Takes a new shape, keeping the allocation; the contents are unspecified.
    pub(crate) fn resize(&mut self, rows: usize, cols: usize) -> Result<()> {
        let area = rows.checked_mul(cols).ok_or_else(|| too_large(rows, cols))?;
        self.data.resize(area, T::ZERO);
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }

    /// Takes the shape of `other`, as [`resize`](Self::resize) does.
    pub(crate) fn resize_like(&mut self, other: &Self) {
        self.data.resize(other.data.len(), T::ZERO);
        (self.rows, self.cols) = (other.rows, other.cols);
    }

    /// Becomes a copy of `other`, in the memory it has.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.resize_like(other);
        self.data.copy_from_slice(&other.data);
    }

    /// Adds a matrix of the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        debug_assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        self.data.iter_mut().zip(&other.data).for_each(|(to, from)| *to += *from);
    }

    /// Row and column of the first element that is NaN or infinite.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, usize)> {
        let at = self.data.iter().position(|x| !x.is_finite())?;
        Some((at / self.cols, at % self.cols))
    }
}

fn too_large(rows: usize, cols: usize) -> Error {
    Error::Argument(Argument::new(
        ErrorKind::Overflow,
        "matrix",
        "a size that fits the address space",
        format!("{rows} x {cols}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        let error = Matrix::new(vec![1.0f32; 5], 2, 3).unwrap_err().to_string();
        assert!(error.contains("6 elements") && error.contains("5 elements"), "{error}");
        assert!(Matrix::<f32>::zeros(usize::MAX, 2).is_err());
        assert!(Matrix::from_rows(&[vec![1.0f32], vec![]]).is_err());
        assert!(Matrix::<f32>::zeros(2, 2).unwrap().select_rows(&[2]).is_err());
    }
}
