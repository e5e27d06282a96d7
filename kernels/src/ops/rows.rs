//! Reductions along one row. Which lane and which accumulator an element enters depends on its
//! column alone, so that a row's result does not depend on alignment, threads or other rows.

use super::elementwise::{Ask, Binary, Unary};
use crate::dispatch::outgrows_cache;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, LINE, Simd, Streaming};
use crate::view::{MatMut, MatRef};

/// Vectors summed side by side: enough to hide the latency of an addition.
const STREAMS: usize = 4;

/// Elements of row-wise work below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 14;

/// Rows of `cols` elements that one task should have at least.
pub(crate) fn row_grain(cols: usize) -> usize {
    (GRAIN / cols.max(1)).max(1)
}

/// Checks that the rows of `matrix`, called `what`, lie contiguously.
pub(crate) fn check_rows(what: &str, contiguous: bool, col_stride: usize) -> Result<()> {
    if contiguous {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Stride,
        what,
        "contiguous rows (column stride 1)",
        format!("column stride {col_stride}"),
    ))
}

/// Checks that a matrix called `what` has the shape of `model`.
pub(crate) fn check_shape<T>(what: &str, model: &MatRef<'_, T>, got: [usize; 2]) -> Result<()> {
    if got == [model.rows(), model.cols()] {
        return Ok(());
    }
    let expected = format!("{} x {}", model.rows(), model.cols());
    Err(Error::shape(what, expected, format!("{} x {}", got[0], got[1])))
}

/// The largest element; -∞ for an empty row, unspecified where one is NaN.
#[inline(always)]
pub(crate) fn row_max<T: Float, S: Simd<T>>(simd: S, row: &[T]) -> T {
    let mut streams = [simd.splat(T::NEG_INFINITY); STREAMS];
    let mut blocks = row.chunks_exact(STREAMS * S::LANES);
    for block in blocks.by_ref() {
        for (stream, x) in streams.iter_mut().zip(block.chunks_exact(S::LANES)) {
            *stream = simd.max(*stream, simd.load(x));
        }
    }
    let [a, b, c, d] = streams;
    let mut top = simd.max(simd.max(a, b), simd.max(c, d));
    let mut vectors = blocks.remainder().chunks_exact(S::LANES);
    for x in vectors.by_ref() {
        top = simd.max(top, simd.load(x));
    }
    let tail = simd.load_or(vectors.remainder(), T::NEG_INFINITY);
    simd.max_lanes(simd.max(top, tail))
}

/// The sum of `f(x)`; where the row ends inside a vector, `f(fill)` must be 0.
#[inline(always)]
pub(crate) fn row_sum<T, S, F>(simd: S, f: F, row: &[T], fill: T) -> T
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    row_sum_asking(simd, f, row, fill, Ask::NOTHING)
}

/// [`row_sum`], which asks for other data meanwhile.
#[inline(always)]
pub(crate) fn row_sum_asking<T, S, F>(simd: S, f: F, row: &[T], fill: T, mut ask: Ask<'_, T>) -> T
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let mut streams = [simd.zero(); STREAMS];
    let mut blocks = row.chunks_exact(STREAMS * S::LANES);
    for block in blocks.by_ref() {
        for (stream, x) in streams.iter_mut().zip(block.chunks_exact(S::LANES)) {
            ask.step(simd);
            *stream = simd.add(*stream, f.apply(simd, simd.load(x)));
        }
    }
    let mut sum = merge(simd, streams);
    let mut vectors = blocks.remainder().chunks_exact(S::LANES);
    for x in vectors.by_ref() {
        sum = simd.add(sum, f.apply(simd, simd.load(x)));
    }
    let tail = f.apply(simd, simd.load_or(vectors.remainder(), fill));
    simd.sum_lanes(simd.add(sum, tail))
}

/// Writes `f(x)` to `out` and returns the sum, as [`row_sum`] does.
#[inline(always)]
pub(crate) fn row_map_sum<T, S, F>(
    simd: S,
    f: F,
    (row, fill): (&[T], T),
    out: &mut [T],
    mut ask: Ask<'_, T>,
) -> T
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let mut streams = [simd.zero(); STREAMS];
    let mut blocks = row.chunks_exact(STREAMS * S::LANES);
    let mut out_blocks = out.chunks_exact_mut(STREAMS * S::LANES);
    for (block, out) in blocks.by_ref().zip(out_blocks.by_ref()) {
        let pairs = block.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES));
        for (stream, (x, out)) in streams.iter_mut().zip(pairs) {
            ask.step(simd);
            let value = f.apply(simd, simd.load(x));
            simd.store(value, out);
            *stream = simd.add(*stream, value);
        }
    }
    let mut sum = merge(simd, streams);
    let mut vectors = blocks.remainder().chunks_exact(S::LANES);
    let mut out_vectors = out_blocks.into_remainder().chunks_exact_mut(S::LANES);
    for (x, out) in vectors.by_ref().zip(out_vectors.by_ref()) {
        let value = f.apply(simd, simd.load(x));
        simd.store(value, out);
        sum = simd.add(sum, value);
    }
    let tail = f.apply(simd, simd.load_or(vectors.remainder(), fill));
    simd.store_partial(tail, out_vectors.into_remainder());
    simd.sum_lanes(simd.add(sum, tail))
}

/// Replaces `row` by `f(row)` and returns the sum, with the bits of [`row_map_sum`].
#[inline(always)]
pub(crate) fn row_update_sum<T, S, F>(simd: S, f: F, row: &mut [T], fill: T) -> T
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let mut streams = [simd.zero(); STREAMS];
    let mut blocks = row.chunks_exact_mut(STREAMS * S::LANES);
    for block in blocks.by_ref() {
        for (stream, x) in streams.iter_mut().zip(block.chunks_exact_mut(S::LANES)) {
            let value = f.apply(simd, simd.load(x));
            simd.store(value, x);
            *stream = simd.add(*stream, value);
        }
    }
    let mut sum = merge(simd, streams);
    let mut vectors = blocks.into_remainder().chunks_exact_mut(S::LANES);
    for x in vectors.by_ref() {
        let value = f.apply(simd, simd.load(x));
        simd.store(value, x);
        sum = simd.add(sum, value);
    }
    let last = vectors.into_remainder();
    let tail = f.apply(simd, simd.load_or(last, fill));
    simd.store_partial(tail, last);
    simd.sum_lanes(simd.add(sum, tail))
}

/// The sum of `f(a, b)` with `f(0, 0) = 0`; the slices have equal lengths.
#[inline(always)]
pub(crate) fn row_zip_sum<T, S, F>(simd: S, f: F, a: &[T], b: &[T]) -> T
where
    T: Float,
    S: Simd<T>,
    F: Binary<T>,
{
    let mut streams = [simd.zero(); STREAMS];
    let mut a_blocks = a.chunks_exact(STREAMS * S::LANES);
    let mut b_blocks = b.chunks_exact(STREAMS * S::LANES);
    for (a, b) in a_blocks.by_ref().zip(b_blocks.by_ref()) {
        let pairs = a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES));
        for (stream, (a, b)) in streams.iter_mut().zip(pairs) {
            *stream = simd.add(*stream, f.apply(simd, simd.load(a), simd.load(b)));
        }
    }
    let mut sum = merge(simd, streams);
    let mut a = a_blocks.remainder().chunks_exact(S::LANES);
    let mut b = b_blocks.remainder().chunks_exact(S::LANES);
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        sum = simd.add(sum, f.apply(simd, simd.load(a), simd.load(b)));
    }
    let (a, b) = (simd.load_partial(a.remainder()), simd.load_partial(b.remainder()));
    simd.sum_lanes(simd.add(sum, f.apply(simd, a, b)))
}

#[inline(always)]
fn merge<T: Float, S: Simd<T>>(simd: S, [a, b, c, d]: [S::V; STREAMS]) -> S::V {
    simd.add(simd.add(a, b), simd.add(c, d))
}

/// The value in all lanes of `v`.
#[inline(always)]
pub(crate) fn uniform_lane<T: Float, S: Simd<T>>(simd: S, v: S::V) -> T {
    let mut lane = [T::ZERO];
    simd.store_partial(v, &mut lane);
    lane[0]
}

/// A function of two rows.
pub(crate) trait RowZip<T: Float>: Copy + Send + Sync {
    /// Writes `out`. Mark both `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, ab: [&[T]; 2], out: &mut [T]);

    /// The same past the caches; `next` are the rows that come next.
    fn stream<S: Simd<T>>(
        self,
        simd: S,
        ab: [&[T]; 2],
        out: (&mut [T], &Streaming),
        next: [&[T]; 2],
    );
}

/// Whether `y` is written past the caches: where it outgrows them, and the lines that its rows share
/// with their neighbours, which are written plainly, are few.
pub(crate) fn rows_stream<T>(y: &MatMut<'_, T>) -> bool {
    let bytes = y.cols().saturating_mul(size_of::<T>());
    bytes >= 16 * LINE && outgrows_cache(bytes.saturating_mul(y.rows()))
}

/// Applies `f` to every row of `a` and `b`; shapes are equal and rows contiguous.
pub(crate) fn zip_rows<T: Float, F: RowZip<T>>(
    f: F,
    [a, b]: [MatRef<'_, T>; 2],
    out: MatMut<'_, T>,
    exec: Exec,
) -> Result<()> {
    let isa = exec.path()?;
    let grain = row_grain(a.cols());
    let streams = rows_stream(&out);
    exec.threads().divide(ZipRows { f, a, b, out, streams }, grain, &|piece| isa.run(piece));
    Ok(())
}

struct ZipRows<'a, T, F> {
    f: F,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    out: MatMut<'a, T>,
    streams: bool,
}

impl<T: Float, F: RowZip<T>> Split for ZipRows<'_, T, F> {
    fn units(&self) -> usize {
        self.a.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (a, a_rest) = self.a.split_rows(mid);
        let (b, b_rest) = self.b.split_rows(mid);
        let (out, out_rest) = self.out.split_rows(mid);
        (Self { a, b, out, ..self }, Self { a: a_rest, b: b_rest, out: out_rest, ..self })
    }
}

impl<T: Float, F: RowZip<T>> Kernel<T> for ZipRows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let leave = self.streams.then(Streaming::new);
        for i in 0..self.a.rows() {
            let [ab, next] =
                [i, (i + 1).min(self.a.rows() - 1)].map(|i| [self.a.row(i), self.b.row(i)]);
            let out = self.out.row_mut(i);
            match &leave {
                Some(leave) => self.f.stream(simd, ab, (out, leave), next),
                None => self.f.apply(simd, ab, out),
            }
        }
    }
}
