//! Batches larger than a cache: read in the order of memory, in chunks of rows whose sums are taken in
//! parallel and merged in order.
//!
//! A strip of channels is not read from top to bottom here: its rows lie a page apart, so that no
//! prefetcher follows and, where the distance is a power of two, few of a cache's sets hold it.

use std::ops::Range;

use super::{BatchNormDims, GRAIN, strip_width};
use crate::ops::reduce::columns::Panel;
use crate::ops::reduce::moments::BLOCK_ROWS;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Sums over a chunk of rows.
pub(super) trait ChunkSums<T: Float>: Copy + Send + Sync {
    /// Numbers per channel.
    const PARTIAL: usize;

    /// Adds the sums of a block of rows' `columns`, at most a strip of them, to those of `done`
    /// rows, channel after channel. Mark it `#[inline(always)]`.
    fn add<S: Simd<T>>(self, simd: S, block: Block, done: usize, to: &mut [f64]);
}

/// Some rows of a strip of channels.
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Block {
    /// These elements of a batch.
    #[inline(always)]
    pub(super) fn panel<'a, T>(&self, data: &'a [T], channels: usize) -> Panel<'a, T> {
        let data = &data[self.rows.start * channels + self.columns.start..];
        Panel::new(data, self.rows.len(), self.columns.len(), channels)
    }
}

/// How rows are cut into chunks: by the shape alone, so that results do not depend on threads.
#[derive(Clone, Copy)]
pub(super) struct ChunkPlan {
    rows: usize,
    /// Rows per chunk, whole blocks.
    size: usize,
}

impl ChunkPlan {
    /// At most 64 chunks, so that merging stays small, of at least two blocks.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, size: rows.div_ceil(64).next_multiple_of(BLOCK_ROWS).max(2 * BLOCK_ROWS) }
    }

    /// The number of chunks.
    pub(super) fn count(self) -> usize {
        self.rows.div_ceil(self.size)
    }

    /// The rows of a chunk.
    pub(super) fn rows(self, chunk: usize) -> Range<usize> {
        chunk * self.size..self.rows.min((chunk + 1) * self.size)
    }

    /// Chunks that are worth a thread.
    pub(super) fn grain(self, channels: usize) -> usize {
        GRAIN.div_ceil(self.size * channels)
    }
}

/// Chunks from `first` on; `partials` holds the numbers of each of their channels.
pub(super) struct Chunks<'a, W> {
    pub(super) sums: W,
    pub(super) dims: BatchNormDims,
    pub(super) plan: ChunkPlan,
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
        let channels = self.dims.channels;
        for (i, partials) in self.partials.chunks_exact_mut(self.size).enumerate() {
            let chunk = self.plan.rows(self.first + i);
            for first in chunk.clone().step_by(BLOCK_ROWS) {
                let rows = first..chunk.end.min(first + BLOCK_ROWS);
                for at in (0..channels).step_by(strip_width::<T>()) {
                    let columns = at..channels.min(at + strip_width::<T>());
                    let to = &mut partials[columns.start * W::PARTIAL..columns.end * W::PARTIAL];
                    let block = Block { rows: rows.clone(), columns };
                    self.sums.add(simd, block, first - chunk.start, to);
                }
            }
        }
    }
}
