//! `y = (x - mean) * scale + shift`: the pass that writes the output, in training and inference.

use std::marker::PhantomData;

use super::blocks::{RowBlock, row_blocks};
use super::ending::{Added, After, Kind, Nothing, Relu};
use super::{Affine, BatchNormDims};
use crate::ops::reduce::columns::{Columns, Group, Panel, sweep};
use crate::ops::storage::Storage;
use crate::parallel::{ColumnsMut, Split};
use crate::simd::{AlignedPart, Float, Kernel, Simd, Streaming};

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

/// The numbers of each channel that the output needs.
#[derive(Clone, Copy)]
pub(super) struct Line<V, const N: usize> {
    pub(super) mean: [V; N],
    pub(super) scale: [V; N],
    pub(super) shift: [V; N],
    /// What outputs below are cut off to.
    pub(super) floor: V,
}

impl<V: Copy, const N: usize> Line<V, N> {
    /// The outputs for inputs `x` and residuals `r`.
    #[inline(always)]
    pub(super) fn apply<T: Float, S: Simd<T, V = V>, A: After>(
        &self,
        simd: S,
        [mut x, r]: [[V; N]; 2],
    ) -> [V; N] {
        for (k, x) in x.iter_mut().enumerate() {
            let centred = simd.sub(*x, self.mean[k]);
            *x = self.before_cut::<T, S, A>(simd, k, [centred, r[k]]);
            if A::CUTS {
                // The second operand wins where one is NaN, and that is the value.
                *x = simd.max(self.floor, *x);
            }
        }
        x
    }

    /// The output for `x - mean` and a residual, before anything is cut off.
    #[inline(always)]
    pub(super) fn before_cut<T: Float, S: Simd<T, V = V>, A: After>(
        &self,
        simd: S,
        k: usize,
        [centred, r]: [V; 2],
    ) -> V {
        let y = simd.mul_add(centred, self.scale[k], self.shift[k]);
        if A::ADDS { simd.add(y, r) } else { y }
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
    /// What outputs below are cut off to.
    pub(super) floor: T,
}

impl<T: Copy> BatchLines<'_, T> {
    /// Those of the channels from `first` on.
    #[inline(always)]
    pub(super) fn from(self, first: usize) -> Self {
        Self {
            mean: &self.mean[first..],
            mean_low: &self.mean_low[first..],
            inv_std: &self.inv_std[first..],
            affine: self.affine.split(first).1,
            floor: self.floor,
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
        let floor = simd.splat(self.floor);
        Line { mean: source.fetch(simd, self.mean), scale, shift, floor }
    }
}

/// Normalises rows of channels; `y` has the shape of `x`.
pub(super) struct NormaliseColumns<'a, 'b, E, L> {
    /// The input and the residual.
    pub(super) x: [Panel<'a, E>; 2],
    pub(super) y: ColumnsMut<'b, E>,
    pub(super) lines: L,
    /// The channel of the first column.
    pub(super) turn: usize,
    pub(super) leave: Option<&'a Streaming>,
}

impl<E, L> NormaliseColumns<'_, '_, E, L> {
    /// All columns.
    #[inline(always)]
    pub(super) fn run<T, S, A>(self, simd: S)
    where
        T: Float,
        S: Simd<T>,
        A: After,
        E: Storage<T>,
        L: Lines<T>,
    {
        let width = self.x[0].width();
        sweep(simd, width, &mut Normalise::<_, A>(self, PhantomData));
    }
}

struct Normalise<N, A>(N, PhantomData<A>);

impl<T, E, L, A> Columns<T> for Normalise<NormaliseColumns<'_, '_, E, L>, A>
where
    T: Float,
    E: Storage<T>,
    L: Lines<T>,
    A: After,
{
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let NormaliseColumns { x: [x, r], y, lines, turn, leave } = &mut self.0;
        let line = lines.line(simd, Turned { group, turn: *turn });
        for i in 0..x.rows() {
            let x = group.load(simd, x.row(i));
            let r = if A::ADDS { group.load(simd, r.row(i)) } else { x };
            group.stream(simd, line.apply::<T, S, A>(simd, [x, r]), y.row(i), *leave);
        }
    }
}

/// Normalises a run of one channel's values.
#[inline(always)]
pub(super) fn normalise_run<T, S, E, A>(
    simd: S,
    line: Line<S::V, 1>,
    [x, r]: [&[E]; 2],
    y: &mut [E],
    leave: Option<&Streaming>,
) where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let Some(leave) = leave else {
        return normalise_part::<T, S, E, A>(simd, line, [x, r], y);
    };
    let lines = AlignedPart::of(y);
    let ([x_head, x, x_tail], [r_head, r, r_tail]) = (lines.cut(x), lines.cut(r));
    let [y_head, y, y_tail] = lines.cut_mut(y);
    normalise_part::<T, S, E, A>(simd, line, [x_head, r_head], y_head);
    let inputs = x.chunks_exact(S::LANES).zip(r.chunks_exact(S::LANES));
    for ((x, r), y) in inputs.zip(y.chunks_exact_mut(S::LANES)) {
        let x = E::load(simd, x);
        let r = if A::ADDS { E::load(simd, r) } else { x };
        let [out] = line.apply::<T, S, A>(simd, [[x], [r]]);
        E::stream(simd, out, y, leave);
    }
    normalise_part::<T, S, E, A>(simd, line, [x_tail, r_tail], y_tail);
}

#[inline(always)]
fn normalise_part<T, S, E, A>(simd: S, line: Line<S::V, 1>, [x, r]: [&[E]; 2], y: &mut [E])
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let (mut x, mut r) = (x.chunks_exact(S::LANES), r.chunks_exact(S::LANES));
    let mut y = y.chunks_exact_mut(S::LANES);
    for ((x, r), y) in x.by_ref().zip(r.by_ref()).zip(y.by_ref()) {
        let x = E::load(simd, x);
        let r = if A::ADDS { E::load(simd, r) } else { x };
        let [out] = line.apply::<T, S, A>(simd, [[x], [r]]);
        E::store(simd, out, y);
    }
    let x = E::load_partial(simd, x.remainder());
    let r = if A::ADDS { E::load_partial(simd, r.remainder()) } else { x };
    let [out] = line.apply::<T, S, A>(simd, [[x], [r]]);
    E::store_partial(simd, out, y.into_remainder());
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
    pub(super) fn run<T, S, E, A>(self, simd: S, x: [&[E]; 2], y: &mut [E])
    where
        T: Float,
        S: Simd<T>,
        E: Storage<T>,
        A: After,
        L: Lines<T>,
    {
        let Self { channels, lines, leave } = self;
        for block in row_blocks(y, channels, leave.is_some()) {
            let RowBlock { range, width, turn, aligned } = block;
            let rows = range.len() / width;
            let x = x.map(|x| Panel::new(&x[range.clone()], rows, width, width));
            let y = ColumnsMut::new(&mut y[range], rows, width);
            let leave = leave.filter(|_| aligned);
            NormaliseColumns { x, y, lines, turn, leave }.run::<T, S, A>(simd);
        }
    }
}

/// Rows to be normalised with known statistics.
pub(super) struct Rows<'a, T, E> {
    /// The input and the residual.
    pub(super) x: [&'a [E]; 2],
    pub(super) y: &'a mut [E],
    pub(super) channels: usize,
    pub(super) lines: BatchLines<'a, T>,
    pub(super) kind: Kind,
    pub(super) streams: bool,
}

impl<T: Float, E: Storage<T>> Split for Rows<'_, T, E> {
    fn units(&self) -> usize {
        self.y.len() / self.channels
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let x = self.x.map(|x| &x[..mid * self.channels]);
        let x_rest = self.x.map(|x| &x[mid * self.channels..]);
        let (y, y_rest) = self.y.split_at_mut(mid * self.channels);
        (Self { x, y, ..self }, Self { x: x_rest, y: y_rest, ..self })
    }
}

impl<T: Float, E: Storage<T>> Kernel<T> for Rows<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { x, y, channels, lines, kind, streams } = self;
        let leave = streams.then(Streaming::new);
        let rows = NormaliseRows { channels, lines, leave: leave.as_ref() };
        match kind {
            Kind::Nothing => rows.run::<T, S, E, Nothing>(simd, x, y),
            Kind::Relu => rows.run::<T, S, E, Relu>(simd, x, y),
            Kind::Added => rows.run::<T, S, E, Added>(simd, x, y),
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
