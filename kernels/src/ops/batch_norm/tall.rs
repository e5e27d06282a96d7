//! Batches with more rows than a cache holds: sums of fixed chunks of rows, taken in parallel and
//! merged in order.

use std::ops::Range;

use super::{BatchNormDims, CHUNK_ROWS, strip_width};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Sums over a chunk of rows.
pub(super) trait ChunkSums<T: Float>: Copy + Send + Sync {
    /// Numbers per channel.
    const PARTIAL: usize;

    /// Writes the sums of some rows' `columns`, at most a strip of them, channel after channel.
    /// Mark it `#[inline(always)]`.
    fn strip<S: Simd<T>>(self, simd: S, rows: Range<usize>, columns: Range<usize>, to: &mut [f64]);
}

/// The number of chunks of `rows` rows.
pub(super) fn chunk_count(rows: usize) -> usize {
    rows.div_ceil(CHUNK_ROWS)
}

/// The rows of a chunk.
pub(super) fn chunk_rows(chunk: usize, rows: usize) -> Range<usize> {
    chunk * CHUNK_ROWS..rows.min((chunk + 1) * CHUNK_ROWS)
}

/// Chunks from `first` on; `partials` holds the numbers of each of their channels.
pub(super) struct Chunks<'a, W> {
    pub(super) sums: W,
    pub(super) dims: BatchNormDims,
    pub(super) first: usize,
    /// Numbers per chunk.
    pub(super) size: usize,
    pub(super) partials: &'a mut [f64],
}

impl<W: Copy + Send> Split for Chunks<'_, W> {
    fn units(&self) -> usize {
        self.partials.len() / self.size
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (partials, rest) = self.partials.split_at_mut(mid * self.size);
        (Self { partials, ..self }, Self { first: self.first + mid, partials: rest, ..self })
    }
}

impl<T: Float, W: ChunkSums<T>> Kernel<T> for Chunks<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let BatchNormDims { outer, channels, .. } = self.dims;
        for (i, partials) in self.partials.chunks_exact_mut(self.size).enumerate() {
            let rows = chunk_rows(self.first + i, outer);
            for at in (0..channels).step_by(strip_width::<T>()) {
                let columns = at..channels.min(at + strip_width::<T>());
                let to = &mut partials[columns.start * W::PARTIAL..columns.end * W::PARTIAL];
                self.sums.strip(simd, rows.clone(), columns, to);
            }
        }
    }
}
