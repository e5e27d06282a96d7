//! Matrices and vectors placed inside larger buffers, at any offset and with any strides, with
//! canaries wherever no element lies.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{MatMut, MatRef};

use crate::real::{Real, Stored};

/// The widest vector, in bytes: offsets count from such a boundary.
const ALIGNMENT: usize = 64;
/// Canaries before and after.
const MARGIN: usize = 20;

/// How a matrix lies in memory.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Layout {
    /// Elements past a 64-byte boundary.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub offset: usize,
    /// Whether columns, not rows, are contiguous.
    pub column_major: bool,
    /// Distance between neighbours along the contiguous dimension; 1 is dense.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1, 1, 1, 2, 3]).copied())]
    pub step: usize,
    /// Unused elements between one row (or column) and the next.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[0, 0, 1, 3, 17]).copied())]
    pub gap: usize,
    /// Whether all rows (or columns) share their elements: a stride of 0. For inputs only.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.ratio(15u8, 16).map(|dense| !dense))]
    pub repeated: bool,
}

impl Layout {
    /// Dense rows that start at a 64-byte boundary.
    pub const DENSE: Self =
        Self { offset: 0, column_major: false, step: 1, gap: 0, repeated: false };

    /// The same, `offset` elements further on.
    #[must_use]
    pub fn shifted(self, offset: usize) -> Self {
        Self { offset: self.offset + offset, ..self }
    }

    /// The same with every element in a place of its own: what an output needs.
    #[must_use]
    pub fn apart(self) -> Self {
        Self { repeated: false, ..self }
    }

    /// The same with contiguous rows: what row-wise operations need.
    #[must_use]
    pub fn rowwise(self) -> Self {
        Self { column_major: false, step: 1, repeated: false, ..self }
    }

    fn strides(self, [rows, cols]: [usize; 2]) -> [usize; 2] {
        let inner = if self.column_major { rows } else { cols };
        let extent = inner.saturating_sub(1) * self.step + 1;
        let outer_stride = if self.repeated { 0 } else { extent + self.gap };
        if self.column_major { [self.step, outer_stride] } else { [outer_stride, self.step] }
    }
}

/// A matrix in a buffer full of canaries.
#[derive(Debug, Clone)]
pub struct Field<T> {
    buffer: Vec<T>,
    start: usize,
    len: usize,
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<T: Stored> Field<T> {
    /// A matrix with the given elements, row by row; of repeated ones the last row stays.
    ///
    /// # Panics
    /// If there are not `shape[0] * shape[1]` values.
    pub fn new(layout: Layout, shape: [usize; 2], values: &[T]) -> Self {
        let [rows, cols] = shape;
        assert_eq!(values.len(), rows * cols);
        let strides = layout.strides(shape);
        let empty = rows == 0 || cols == 0;
        let len = if empty { 0 } else { (rows - 1) * strides[0] + (cols - 1) * strides[1] + 1 };
        let slack = ALIGNMENT / size_of::<T>();
        let buffer = vec![T::CANARY; MARGIN + slack + layout.offset + len + MARGIN];
        let aligned = MARGIN + buffer[MARGIN..].as_ptr().align_offset(ALIGNMENT);
        let mut field = Self { buffer, start: aligned + layout.offset, len, shape, strides };
        for (place, value) in field.places().into_iter().zip(values) {
            field.buffer[place] = *value;
        }
        field
    }

    /// A contiguous vector, `offset` elements past a 64-byte boundary.
    pub fn vector(offset: usize, values: &[T]) -> Self {
        Self::new(Layout::DENSE.shifted(offset), [1, values.len()], values)
    }

    /// The whole matrix, read-only.
    ///
    /// # Panics
    /// Never: the strides fit.
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::with_strides(&self.buffer[self.start..][..self.len], self.shape, self.strides)
            .expect("a field's strides fit its buffer")
    }

    /// The whole matrix.
    ///
    /// # Panics
    /// Never: the strides fit.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        let data = &mut self.buffer[self.start..][..self.len];
        MatMut::with_strides(data, self.shape, self.strides)
            .expect("a field's strides fit its buffer")
    }

    /// A vector's elements.
    pub fn slice(&self) -> &[T] {
        &self.buffer[self.start..][..self.len]
    }

    /// A vector's elements.
    pub fn slice_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.start..][..self.len]
    }

    /// All elements, row by row.
    pub fn values(&self) -> Vec<T> {
        self.places().into_iter().map(|place| self.buffer[place]).collect()
    }

    /// Checks that nothing was written outside the elements.
    ///
    /// # Errors
    /// A sentence with the first such place.
    pub fn intact(&self, what: &str) -> Result<(), String> {
        let mut inside = vec![false; self.buffer.len()];
        self.places().into_iter().for_each(|place| inside[place] = true);
        let canary = T::CANARY.bits();
        let hit = (0..inside.len()).find(|&i| !inside[i] && self.buffer[i].bits() != canary);
        hit.map_or(Ok(()), |i| {
            let at = i as isize - self.start as isize;
            Err(format!("{what}: wrote outside, at {at} from its first element"))
        })
    }

    fn places(&self) -> Vec<usize> {
        let ([rows, cols], [down, across]) = (self.shape, self.strides);
        let row = move |i| (0..cols).map(move |j| i * down + j * across);
        (0..rows).flat_map(row).map(|place| self.start + place).collect()
    }
}

impl<T: Real> Field<T> {
    /// An output: nothing but NaN, which no operation may read.
    pub fn output(layout: Layout, shape: [usize; 2]) -> Self {
        Self::new(layout, shape, &vec![T::NAN; shape[0] * shape[1]])
    }

    /// A contiguous output vector full of NaN.
    pub fn output_vector(offset: usize, len: usize) -> Self {
        Self::vector(offset, &vec![T::NAN; len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_and_a_stray_write_is_seen() {
        let layout = Layout { offset: 3, column_major: true, step: 2, gap: 1, repeated: false };
        let mut field = Field::new(layout, [2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(field.values(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(field.view().at(1, 2), 6.0);
        field.view_mut().set(0, 1, 9.0);
        assert_eq!(field.intact("field"), Ok(()));
        field.view_mut().data_mut()[1] = 0.0;
        assert!(field.intact("field").is_err());
    }

    #[test]
    fn offsets_count_from_a_boundary() {
        let field = Field::<f64>::vector(5, &[0.0; 4]);
        assert_eq!(field.slice()[3..].as_ptr().align_offset(ALIGNMENT), 0);
    }
}
