//! The two passes of the backward pass: sums of gradients, then `dx`.

use super::blocks::{RowBlock, row_blocks};
use super::normalise::{BatchLines, Channel, Line, Lines, Source, Turned};
use crate::ops::reduce::columns::{Columns, Group, Panel, sweep};
use crate::ops::reduce::moments::{BLOCK_ROWS, STRIP};
use crate::ops::reduce::runs::{Runs, Walker, sum_slots, walk};
use crate::parallel::ColumnsMut;
use crate::simd::{AlignedPart, Float, Simd, Streaming};

impl<T: Float> BatchLines<'_, T> {
    /// `dgamma` and `dbeta` of channel `c` from the sums of `dy` and of `dy (x - mean)`, the mean
    /// being the rounded one.
    #[inline(always)]
    pub(super) fn gradients(&self, c: usize, sum: f64, dot: f64) -> (T, T) {
        let dot = (dot - self.mean_low[c].to_f64() * sum) * self.inv_std[c].to_f64();
        (T::from_f64(dot), T::from_f64(sum))
    }
}

impl<V: Copy, const N: usize> Line<V, N> {
    /// `x - mean` and the gradient that came through the ReLU, where there is one.
    #[inline(always)]
    fn pass<T: Float, S: Simd<T, V = V>, const RELU: bool>(
        &self,
        simd: S,
        k: usize,
        [x, dy]: [V; 2],
    ) -> [V; 2] {
        let centred = simd.sub(x, self.mean[k]);
        if !RELU {
            return [centred, dy];
        }
        let y = simd.mul_add(centred, self.scale[k], self.shift[k]);
        // A NaN output is not <= 0, so its gradient passes on.
        [centred, simd.select(simd.le(y, simd.zero()), simd.zero(), dy)]
    }
}

/// Sums of `dy` and of `dy (x - mean)`, a pair of vectors per channel group.
#[derive(Clone, Copy)]
struct Sums<V, const N: usize> {
    sum: [V; N],
    dot: [V; N],
}

/// The sums of a strip of channels.
pub(super) struct StripSums {
    pub(super) sum: [f64; STRIP],
    pub(super) dot: [f64; STRIP],
}

impl StripSums {
    /// The sums over all rows of `x` and `dy`, block by block.
    #[inline(always)]
    pub(super) fn of<T: Float, S: Simd<T>, const RELU: bool>(
        simd: S,
        [x, dy]: [Panel<'_, T>; 2],
        lines: BatchLines<'_, T>,
    ) -> Self {
        let mut all = Self { sum: [0.0; STRIP], dot: [0.0; STRIP] };
        let mut first = 0;
        while first < x.rows() {
            let rows = BLOCK_ROWS.min(x.rows() - first);
            let (sum, dot) = ([T::ZERO; STRIP], [T::ZERO; STRIP]);
            let (x_block, dy_block) = (x.rows_from(first, rows), dy.rows_from(first, rows));
            let mut block = BlockSums::<_, RELU> { x: x_block, dy: dy_block, lines, sum, dot };
            sweep(simd, x.width(), &mut block);
            for c in 0..x.width() {
                all.sum[c] += block.sum[c].to_f64();
                all.dot[c] += block.dot[c].to_f64();
            }
            first += rows;
        }
        all
    }
}

struct BlockSums<'a, T, const RELU: bool> {
    x: Panel<'a, T>,
    dy: Panel<'a, T>,
    lines: BatchLines<'a, T>,
    sum: [T; STRIP],
    dot: [T; STRIP],
}

impl<T: Float, const RELU: bool> BlockSums<'_, T, RELU> {
    #[inline(always)]
    fn add<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        (group, line): (Group<V, WHOLE>, &Line<S::V, V>),
        i: usize,
        sums: &mut Sums<S::V, V>,
    ) {
        let x = group.load(simd, self.x.row(i));
        let dy = group.load(simd, self.dy.row(i));
        for k in 0..V {
            let [centred, dy] = line.pass::<T, S, RELU>(simd, k, [x[k], dy[k]]);
            sums.sum[k] = simd.add(sums.sum[k], dy);
            sums.dot[k] = simd.mul_add(centred, dy, sums.dot[k]);
        }
    }
}

impl<T: Float, const RELU: bool> Columns<T> for BlockSums<'_, T, RELU> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let line = self.lines.line(simd, Turned { group, turn: 0 });
        // Even and odd rows apart, as in the statistics.
        let mut even = Sums { sum: [simd.zero(); V], dot: [simd.zero(); V] };
        let mut odd = even;
        let rows = self.x.rows();
        for i in (0..rows - rows % 2).step_by(2) {
            self.add(simd, (group, &line), i, &mut even);
            self.add(simd, (group, &line), i + 1, &mut odd);
        }
        if rows % 2 == 1 {
            self.add(simd, (group, &line), rows - 1, &mut even);
        }
        for k in 0..V {
            even.sum[k] = simd.add(even.sum[k], odd.sum[k]);
            even.dot[k] = simd.add(even.dot[k], odd.dot[k]);
        }
        group.store(simd, even.sum, &mut self.sum);
        group.store(simd, even.dot, &mut self.dot);
    }
}

/// The sums of channel `c`, whose values and gradients lie in runs.
#[inline(always)]
pub(super) fn channel_sums<T: Float, S: Simd<T>, const RELU: bool>(
    simd: S,
    [x, dy]: [Runs<'_, T>; 2],
    lines: BatchLines<'_, T>,
    c: usize,
) -> [f64; 2] {
    let line = lines.line(simd, Channel(c));
    let (mut sum, mut dot) = (0.0, 0.0);
    for (x, dy) in x.blocks().zip(dy.blocks()) {
        let sums = Sums { sum: [simd.zero(); 4], dot: [simd.zero(); 4] };
        let mut walker = RunSums::<_, RELU> { line, sums };
        for i in 0..x.count() {
            // A lane beyond the end holds the mean and no gradient: it adds nothing.
            walk(simd, [x.run(i), dy.run(i)], [lines.mean[c], T::ZERO], &mut walker);
        }
        sum += sum_slots::<T, S>(simd, walker.sums.sum).to_f64();
        dot += sum_slots::<T, S>(simd, walker.sums.dot).to_f64();
    }
    [sum, dot]
}

struct RunSums<V, const RELU: bool> {
    line: Line<V, 1>,
    sums: Sums<V, 4>,
}

impl<T: Float, S: Simd<T>, const RELU: bool> Walker<T, S, 2> for RunSums<S::V, RELU> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, vectors: [S::V; 2]) {
        let [centred, dy] = self.line.pass::<T, S, RELU>(simd, 0, vectors);
        let Sums { sum, dot } = &mut self.sums;
        sum[SLOT] = simd.add(sum[SLOT], dy);
        dot[SLOT] = simd.mul_add(centred, dy, dot[SLOT]);
    }
}

/// What `dx` is made of, besides `x` and `dy`.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a, T> {
    pub(super) lines: BatchLines<'a, T>,
    pub(super) dgamma: &'a [T],
    pub(super) dbeta: &'a [T],
    /// Values per channel.
    pub(super) count: usize,
}

/// `dx = scale * dy + tilt * (x - mean) + base`
pub(super) struct Slope<V, const N: usize> {
    line: Line<V, N>,
    tilt: [V; N],
    base: [V; N],
}

impl<T: Float> Gradient<'_, T> {
    #[inline(always)]
    pub(super) fn slope<S: Simd<T>, F: Source<T, V>, const V: usize>(
        self,
        simd: S,
        source: F,
    ) -> Slope<S::V, V> {
        let line = self.lines.line(simd, source);
        let share = simd.splat(T::ONE / T::from_usize(self.count));
        let inv_std = source.fetch(simd, self.lines.inv_std);
        let low = source.fetch(simd, self.lines.mean_low);
        let mut tilt = source.fetch(simd, self.dgamma);
        let mut base = source.fetch(simd, self.dbeta);
        for k in 0..V {
            let scale = simd.mul(line.scale[k], share);
            tilt[k] = simd.neg(simd.mul(simd.mul(scale, inv_std[k]), tilt[k]));
            // The mean's low part is the same for all rows: it moves the base.
            let along = simd.mul(low[k], tilt[k]);
            base[k] = simd.neg(simd.mul_add(scale, base[k], along));
        }
        Slope { line, tilt, base }
    }
}

impl<V: Copy, const N: usize> Slope<V, N> {
    #[inline(always)]
    fn apply<T: Float, S: Simd<T, V = V>, const RELU: bool>(
        &self,
        simd: S,
        k: usize,
        vectors: [V; 2],
    ) -> V {
        let [centred, dy] = self.line.pass::<T, S, RELU>(simd, k, vectors);
        let rest = simd.mul_add(centred, self.tilt[k], self.base[k]);
        simd.mul_add(self.line.scale[k], dy, rest)
    }
}

/// Writes `dx` for rows of channels.
pub(super) struct GradientColumns<'a, 'b, T, const RELU: bool> {
    pub(super) x: Panel<'a, T>,
    pub(super) dy: Panel<'a, T>,
    pub(super) dx: ColumnsMut<'b, T>,
    pub(super) gradient: Gradient<'a, T>,
    /// The channel of the first column.
    pub(super) turn: usize,
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float, const RELU: bool> GradientColumns<'_, '_, T, RELU> {
    /// All columns.
    #[inline(always)]
    pub(super) fn run<S: Simd<T>>(mut self, simd: S) {
        sweep(simd, self.x.width(), &mut self);
    }
}

impl<T: Float, const RELU: bool> Columns<T> for GradientColumns<'_, '_, T, RELU> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let slope = self.gradient.slope(simd, Turned { group, turn: self.turn });
        let leave = self.leave;
        for i in 0..self.x.rows() {
            let x = group.load(simd, self.x.row(i));
            let mut dx = group.load(simd, self.dy.row(i));
            for k in 0..V {
                dx[k] = slope.apply::<T, S, RELU>(simd, k, [x[k], dx[k]]);
            }
            group.stream(simd, dx, self.dx.row(i), leave);
        }
    }
}

/// Writes `dx` for whole rows, a few at a time.
#[derive(Clone, Copy)]
pub(super) struct GradientRows<'a, T> {
    pub(super) channels: usize,
    pub(super) gradient: Gradient<'a, T>,
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float> GradientRows<'_, T> {
    #[inline(always)]
    pub(super) fn run<S: Simd<T>, const RELU: bool>(
        self,
        simd: S,
        [x, dy]: [&[T]; 2],
        dx: &mut [T],
    ) {
        let Self { channels, gradient, leave } = self;
        for block in row_blocks(dx, channels, leave.is_some()) {
            let RowBlock { range, width, turn, aligned } = block;
            let rows = range.len() / width;
            let x = Panel::new(&x[range.clone()], rows, width, width);
            let dy = Panel::new(&dy[range.clone()], rows, width, width);
            let dx = ColumnsMut::new(&mut dx[range], rows, width);
            let leave = leave.filter(|_| aligned);
            GradientColumns::<_, RELU> { x, dy, dx, gradient, turn, leave }.run(simd);
        }
    }
}

/// Writes `dx` for a run of one channel.
#[inline(always)]
pub(super) fn gradient_run<T: Float, S: Simd<T>, const RELU: bool>(
    simd: S,
    slope: &Slope<S::V, 1>,
    [x, dy]: [&[T]; 2],
    dx: &mut [T],
    leave: Option<&Streaming>,
) {
    let Some(leave) = leave else {
        return gradient_part::<T, S, RELU>(simd, slope, [x, dy], dx);
    };
    let AlignedPart { before, inside } = AlignedPart::of(dx);
    let (head, rest) = dx.split_at_mut(before);
    let (lines, tail) = rest.split_at_mut(inside);
    gradient_part::<T, S, RELU>(simd, slope, [x, dy], head);
    let mut at = before;
    for dx in lines.chunks_exact_mut(S::LANES) {
        let vectors = [simd.load(&x[at..]), simd.load(&dy[at..])];
        simd.stream(slope.apply::<T, S, RELU>(simd, 0, vectors), dx, leave);
        at += S::LANES;
    }
    gradient_part::<T, S, RELU>(simd, slope, [&x[at..], &dy[at..]], tail);
}

/// `x` and `dy` may be longer than `dx`.
#[inline(always)]
fn gradient_part<T: Float, S: Simd<T>, const RELU: bool>(
    simd: S,
    slope: &Slope<S::V, 1>,
    [x, dy]: [&[T]; 2],
    dx: &mut [T],
) {
    let mut at = 0;
    let mut out = dx.chunks_exact_mut(S::LANES);
    for dx in out.by_ref() {
        let vectors = [simd.load(&x[at..]), simd.load(&dy[at..])];
        simd.store(slope.apply::<T, S, RELU>(simd, 0, vectors), dx);
        at += S::LANES;
    }
    let vectors = [simd.load_partial(&x[at..]), simd.load_partial(&dy[at..])];
    simd.store_partial(slope.apply::<T, S, RELU>(simd, 0, vectors), out.into_remainder());
}
