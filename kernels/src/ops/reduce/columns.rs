//! Walking down the columns of a row-major matrix, a few vectors of columns at a time.

use std::ops::Range;

use crate::ops::storage::Storage;
use crate::simd::{Float, LINE, Simd, Streaming};

/// A block of columns, read-only, whose rows are contiguous each.
pub(crate) trait Rows {
    /// What lies there.
    type Element;

    /// Number of rows.
    fn rows(&self) -> usize;
    /// Number of columns.
    fn width(&self) -> usize;
    /// Row `i` of the block.
    fn row(&self, i: usize) -> &[Self::Element];
    /// Where row `i` starts, if there is such a row or not: for prefetching only.
    fn start_of(&self, i: usize) -> *const Self::Element;
}

/// A row-major block of columns of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a, T> {
    /// Starts at the block's first element.
    data: &'a [T],
    rows: usize,
    width: usize,
    /// Distance between rows.
    stride: usize,
}

impl<'a, T> Panel<'a, T> {
    /// `rows` rows of `width` elements, `stride` apart, from the start of `data`.
    pub(crate) fn new(data: &'a [T], rows: usize, width: usize, stride: usize) -> Self {
        Self { data, rows, width, stride }
    }

    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Row `i` of the block.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.width]
    }

    /// Rows `first..first + rows`.
    #[inline(always)]
    pub(crate) fn rows_from(self, first: usize, rows: usize) -> Self {
        let at = (first * self.stride).min(self.data.len());
        Self { data: &self.data[at..], rows, ..self }
    }

    /// Where row `i` starts, if there is such a row or not: for prefetching only.
    #[inline(always)]
    pub(crate) fn start_of(&self, i: usize) -> *const T {
        self.data.as_ptr().wrapping_add(i * self.stride)
    }

    /// Columns `first..first + width`.
    #[inline(always)]
    pub(crate) fn columns_from(self, first: usize, width: usize) -> Self {
        let at = first.min(self.data.len());
        Self { data: &self.data[at..], width, ..self }
    }
}

impl<T> Rows for Panel<'_, T> {
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
        Panel::row(self, i)
    }

    #[inline(always)]
    fn start_of(&self, i: usize) -> *const T {
        Panel::start_of(self, i)
    }
}

/// What is done to a group of adjacent columns.
pub(crate) trait Columns<T: Float> {
    /// Handles the columns of `group`. Mark it `#[inline(always)]`.
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    );
}

/// `V` vectors of adjacent columns or, where not `WHOLE`, a part of one vector.
#[derive(Clone, Copy)]
pub(crate) struct Group<const V: usize, const WHOLE: bool> {
    first: usize,
    width: usize,
}

impl<const V: usize, const WHOLE: bool> Group<V, WHOLE> {
    /// This group's elements of a row; lanes beyond a part are zero.
    #[inline(always)]
    pub(crate) fn load<T: Float, S: Simd<T>, E: Storage<T>>(self, simd: S, row: &[E]) -> [S::V; V] {
        let row = &row[self.first..self.first + self.width];
        let mut vectors = [simd.zero(); V];
        if WHOLE {
            for (k, v) in vectors.iter_mut().enumerate() {
                *v = E::load(simd, &row[k * S::LANES..]);
            }
        } else {
            vectors[0] = E::load_partial(simd, row);
        }
        vectors
    }

    /// Asks for this group's elements of a row that starts at `row`.
    #[inline(always)]
    pub(crate) fn prefetch<T: Float, S: Simd<T>, E>(self, simd: S, row: *const E) {
        // Vectors are whole lines on one path, halves of them in memory or less on others.
        let step = (LINE / (S::LANES * size_of::<E>())).max(1);
        for k in (0..V).step_by(step) {
            simd.prefetch(row.wrapping_add(self.first + k * S::LANES).cast());
        }
    }

    /// Writes this group's elements of a row.
    #[inline(always)]
    pub(crate) fn store<T: Float, S: Simd<T>, E: Storage<T>>(
        self,
        simd: S,
        vectors: [S::V; V],
        row: &mut [E],
    ) {
        let row = &mut row[self.first..self.first + self.width];
        if WHOLE {
            for (k, v) in vectors.into_iter().enumerate() {
                E::store(simd, v, &mut row[k * S::LANES..]);
            }
        } else {
            E::store_partial(simd, vectors[0], row);
        }
    }

    /// The same past the caches where there is leave to; a part goes through them.
    #[inline(always)]
    pub(crate) fn stream<T: Float, S: Simd<T>, E: Storage<T>>(
        self,
        simd: S,
        vectors: [S::V; V],
        row: &mut [E],
        leave: Option<&Streaming>,
    ) {
        let Some(leave) = leave.filter(|_| WHOLE) else {
            return self.store(simd, vectors, row);
        };
        let row = &mut row[self.first..self.first + self.width];
        for (k, v) in vectors.into_iter().enumerate() {
            E::stream(simd, v, &mut row[k * S::LANES..], leave);
        }
    }

    /// This group's elements of a row that starts anew after its last element, from element `turn`
    /// of it on; lanes beyond a part are zero.
    #[inline(always)]
    pub(crate) fn load_turned<T: Float, S: Simd<T>>(
        self,
        simd: S,
        row: &[T],
        turn: usize,
    ) -> [S::V; V] {
        let mut room = [T::ZERO; MOST];
        let part = turned(row, turn, self.first..self.first + self.width, &mut room);
        Self { first: 0, ..self }.load(simd, part)
    }
}

/// Elements of the widest group on any path.
const MOST: usize = 64;

/// A range of a row that starts anew after its last element, from element `turn` of it on; in `room`
/// where its elements are apart. Not inlined: it is called once for many rows and would multiply the
/// code around it.
#[inline(never)]
fn turned<'a, T: Float>(
    row: &'a [T],
    turn: usize,
    range: Range<usize>,
    room: &'a mut [T; MOST],
) -> &'a [T] {
    let (before, after) = row.split_at(turn);
    if range.end <= after.len() {
        return &after[range];
    }
    if range.start >= after.len() {
        return &before[range.start - after.len()..range.end - after.len()];
    }
    let until = after.len() - range.start;
    room[..until].copy_from_slice(&after[range.start..]);
    room[until..range.len()].copy_from_slice(&before[..range.end - after.len()]);
    &room[..range.len()]
}

/// Hands all columns below `width` to `columns`: as many vectors at a time as registers allow, then
/// single ones, then the rest.
#[inline(always)]
pub(crate) fn sweep<T: Float, S: Simd<T>, C: Columns<T>>(simd: S, width: usize, columns: &mut C) {
    let mut first = 0;
    if S::REGISTERS >= 32 {
        while first + 4 * S::LANES <= width {
            columns.group(simd, Group::<4, true> { first, width: 4 * S::LANES });
            first += 4 * S::LANES;
        }
    } else {
        while first + 2 * S::LANES <= width {
            columns.group(simd, Group::<2, true> { first, width: 2 * S::LANES });
            first += 2 * S::LANES;
        }
    }
    while first + S::LANES <= width {
        columns.group(simd, Group::<1, true> { first, width: S::LANES });
        first += S::LANES;
    }
    if first < width {
        columns.group(simd, Group::<1, false> { first, width: width - first });
    }
}
