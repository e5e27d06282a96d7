//! `y = (x - mean) * scale + shift`: the pass that writes the output, in training and inference.

use super::blocks::{RowBlock, row_blocks};
use super::{Affine, BatchNormDims};
use crate::ops::reduce::columns::{Columns, Group, Panel, sweep};
use crate::parallel::ColumnsMut;
use crate::simd::{AlignedPart, Float, Simd, Streaming};

/// Where per-channel values are taken from: as many adjacent channels as lanes, or one for all.
pub(super) trait Source<T: Float, const V: usize>: Copy {
    /// The channels' values. Mark it `#[inline(always)]`.
    fn fetch<S: Simd<T>>(self, simd: S, values: &[T]) -> [S::V; V];
}

/// The channels of a group of columns, of which the first is channel `turn`.
#[derive(Clone, Copy)]
pub(super) struct Turned<const V: usize, const WHOLE: bool> {
    pub(super) group: Group<V, WHOLE>,
    pub(super) turn: usize,
}

impl<T: Float, const V: usize, const WHOLE: bool> Source<T, V> for Turned<V, WHOLE> {
    #[inline(always)]
    fn fetch<S: Simd<T>>(self, simd: S, values: &[T]) -> [S::V; V] {
        self.group.load_turned(simd, values, self.turn)
    }
}

/// One channel.
#[derive(Clone, Copy)]
pub(super) struct Channel(pub(super) usize);

impl<T: Float> Source<T, 1> for Channel {
    #[inline(always)]
    fn fetch<S: Simd<T>>(self, simd: S, values: &[T]) -> [S::V; 1] {
        [simd.splat(values[self.0])]
    }
}

/// The three numbers of each channel that the output needs.
#[derive(Clone, Copy)]
pub(super) struct Line<V, const N: usize> {
    pub(super) mean: [V; N],
    pub(super) scale: [V; N],
    pub(super) shift: [V; N],
}

impl<V: Copy, const N: usize> Line<V, N> {
    /// The outputs for inputs `x`.
    #[inline(always)]
    pub(super) fn apply<T: Float, S: Simd<T, V = V>, const RELU: bool>(
        &self,
        simd: S,
        mut x: [V; N],
    ) -> [V; N] {
        for (k, x) in x.iter_mut().enumerate() {
            let centred = simd.sub(*x, self.mean[k]);
            *x = simd.mul_add(centred, self.scale[k], self.shift[k]);
            if RELU {
                // The second operand wins where one is NaN, and that is the value.
                *x = simd.max(simd.zero(), *x);
            }
        }
        x
    }
}

/// Statistics that make a [`Line`].
pub(super) trait Lines<T: Float>: Copy {
    /// The lines of the channels of `source`. Mark it `#[inline(always)]`.
    fn line<S: Simd<T>, F: Source<T, V>, const V: usize>(self, simd: S, source: F)
    -> Line<S::V, V>;
}

/// Lines from a batch's statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLines<'a, T> {
    pub(super) mean: &'a [T],
    pub(super) mean_low: &'a [T],
    pub(super) inv_std: &'a [T],
    pub(super) affine: Affine<'a, T>,
}

impl<T> BatchLines<'_, T> {
    /// Those of the channels from `first` on.
    #[inline(always)]
    pub(super) fn from(self, first: usize) -> Self {
        Self {
            mean: &self.mean[first..],
            mean_low: &self.mean_low[first..],
            inv_std: &self.inv_std[first..],
            affine: self.affine.split(first).1,
        }
    }
}

impl<T: Float> Lines<T> for BatchLines<'_, T> {
    #[inline(always)]
    fn line<S: Simd<T>, F: Source<T, V>, const V: usize>(
        self,
        simd: S,
        source: F,
    ) -> Line<S::V, V> {
        let mut scale = source.fetch(simd, self.affine.gamma);
        let mut shift = source.fetch(simd, self.affine.beta);
        let inv_std = source.fetch(simd, self.inv_std);
        let low = source.fetch(simd, self.mean_low);
        for k in 0..V {
            scale[k] = simd.mul(scale[k], inv_std[k]);
            // The mean's low part is the same for all rows: it moves the shift.
            shift[k] = simd.neg_mul_add(low[k], scale[k], shift[k]);
        }
        Line { mean: source.fetch(simd, self.mean), scale, shift }
    }
}

/// Normalises rows of channels; `y` has the shape of `x`.
pub(super) struct NormaliseColumns<'a, 'b, T, L, const RELU: bool> {
    pub(super) x: Panel<'a, T>,
    pub(super) y: ColumnsMut<'b, T>,
    pub(super) lines: L,
    /// The channel of the first column.
    pub(super) turn: usize,
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float, L: Lines<T>, const RELU: bool> NormaliseColumns<'_, '_, T, L, RELU> {
    /// All columns.
    #[inline(always)]
    pub(super) fn run<S: Simd<T>>(mut self, simd: S) {
        sweep(simd, self.x.width(), &mut self);
    }
}

impl<T: Float, L: Lines<T>, const RELU: bool> Columns<T> for NormaliseColumns<'_, '_, T, L, RELU> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let line = self.lines.line(simd, Turned { group, turn: self.turn });
        let leave = self.leave;
        for i in 0..self.x.rows() {
            let x = group.load(simd, self.x.row(i));
            group.stream(simd, line.apply::<T, S, RELU>(simd, x), self.y.row(i), leave);
        }
    }
}

/// Normalises a run of one channel's values.
#[inline(always)]
pub(super) fn normalise_run<T: Float, S: Simd<T>, const RELU: bool>(
    simd: S,
    line: Line<S::V, 1>,
    x: &[T],
    y: &mut [T],
    leave: Option<&Streaming>,
) {
    let Some(leave) = leave else {
        return normalise_part::<T, S, RELU>(simd, line, x, y);
    };
    let lines = AlignedPart::of(y);
    let (x_head, x) = x.split_at(lines.before);
    let (x, x_tail) = x.split_at(lines.inside);
    let (y_head, y) = y.split_at_mut(lines.before);
    let (y, y_tail) = y.split_at_mut(lines.inside);
    normalise_part::<T, S, RELU>(simd, line, x_head, y_head);
    for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
        let [out] = line.apply::<T, S, RELU>(simd, [simd.load(x)]);
        simd.stream(out, y, leave);
    }
    normalise_part::<T, S, RELU>(simd, line, x_tail, y_tail);
}

#[inline(always)]
fn normalise_part<T: Float, S: Simd<T>, const RELU: bool>(
    simd: S,
    line: Line<S::V, 1>,
    x: &[T],
    y: &mut [T],
) {
    let mut x = x.chunks_exact(S::LANES);
    let mut y = y.chunks_exact_mut(S::LANES);
    for (x, y) in x.by_ref().zip(y.by_ref()) {
        let [out] = line.apply::<T, S, RELU>(simd, [simd.load(x)]);
        simd.store(out, y);
    }
    let [out] = line.apply::<T, S, RELU>(simd, [simd.load_partial(x.remainder())]);
    simd.store_partial(out, y.into_remainder());
}

/// Normalises whole rows, a few at a time.
#[derive(Clone, Copy)]
pub(super) struct NormaliseRows<'a, L> {
    pub(super) channels: usize,
    pub(super) lines: L,
    pub(super) leave: Option<&'a Streaming>,
}

impl<L> NormaliseRows<'_, L> {
    #[inline(always)]
    pub(super) fn run<T: Float, S: Simd<T>, const RELU: bool>(self, simd: S, x: &[T], y: &mut [T])
    where
        L: Lines<T>,
    {
        let Self { channels, lines, leave } = self;
        for block in row_blocks(y, channels, leave.is_some()) {
            let RowBlock { range, width, turn, aligned } = block;
            let (x, y) = (&x[range.clone()], &mut y[range]);
            let rows = x.len() / width;
            let x = Panel::new(x, rows, width, width);
            let y = ColumnsMut::new(y, rows, width);
            let leave = leave.filter(|_| aligned);
            NormaliseColumns::<_, _, RELU> { x, y, lines, turn, leave }.run(simd);
        }
    }
}

/// The number of units in which the elements of `dims` can be cut for a pass without sums: rows of
/// channels, or single runs.
pub(super) fn lines_of(dims: BatchNormDims) -> (usize, usize) {
    match dims.inner {
        1 => (dims.outer, dims.channels),
        inner => (dims.outer * dims.channels, inner),
    }
}
