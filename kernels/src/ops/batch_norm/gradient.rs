//! The sums of the backward pass, and what they make of `dx`.

use std::marker::PhantomData;

use super::ending::After;
use super::normalise::{BatchLines, Channel, Line, Lines, Source, Turned};
use crate::ops::reduce::columns::{Columns, Group, Panel, sweep};
use crate::ops::reduce::moments::{BLOCK_ROWS, STRIP};
use crate::ops::reduce::runs::{Runs, Walker, sum_slots, walk};
use crate::ops::storage::Storage;
use crate::simd::{Float, Simd};

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
    fn pass<T: Float, S: Simd<T, V = V>, A: After>(
        &self,
        simd: S,
        k: usize,
        [x, dy, r]: [V; 3],
    ) -> [V; 2] {
        let centred = simd.sub(x, self.mean[k]);
        if !A::CUTS {
            return [centred, dy];
        }
        let y = self.before_cut::<T, S, A>(simd, k, [centred, r]);
        // A NaN output is not <= the floor, so its gradient passes on; none is where that is NaN.
        [centred, simd.select(simd.le(y, self.floor), simd.zero(), dy)]
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
    /// The sums over all rows of `x`, `dy` and the residual, block by block.
    #[inline(always)]
    pub(super) fn of<T, S, E, A>(
        simd: S,
        panels: [Panel<'_, E>; 3],
        lines: BatchLines<'_, T>,
    ) -> Self
    where
        T: Float,
        S: Simd<T>,
        E: Storage<T>,
        A: After,
    {
        let mut all = Self { sum: [0.0; STRIP], dot: [0.0; STRIP] };
        let mut first = 0;
        let (height, width) = (panels[0].rows(), panels[0].width());
        while first < height {
            let rows = BLOCK_ROWS.min(height - first);
            let (sum, dot) = ([T::ZERO; STRIP], [T::ZERO; STRIP]);
            let panels = panels.map(|panel| panel.rows_from(first, rows));
            let mut block = BlockSums { panels, lines, sum, dot, after: PhantomData::<A> };
            sweep(simd, width, &mut block);
            for c in 0..width {
                all.sum[c] += block.sum[c].to_f64();
                all.dot[c] += block.dot[c].to_f64();
            }
            first += rows;
        }
        all
    }
}

struct BlockSums<'a, T, E, A> {
    /// Of `x`, `dy` and the residual.
    panels: [Panel<'a, E>; 3],
    lines: BatchLines<'a, T>,
    sum: [T; STRIP],
    dot: [T; STRIP],
    after: PhantomData<A>,
}

impl<T: Float, E: Storage<T>, A: After> BlockSums<'_, T, E, A> {
    #[inline(always)]
    fn add<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        (group, line): (Group<V, WHOLE>, &Line<S::V, V>),
        i: usize,
        sums: &mut Sums<S::V, V>,
    ) {
        let [x, dy, r] = load_rows::<T, S, E, A, V, WHOLE>(simd, group, self.panels, i);
        for k in 0..V {
            let [centred, dy] = line.pass::<T, S, A>(simd, k, [x[k], dy[k], r[k]]);
            sums.sum[k] = simd.add(sums.sum[k], dy);
            sums.dot[k] = simd.mul_add(centred, dy, sums.dot[k]);
        }
    }
}

/// Row `i` of `x`, `dy` and, where there is one, the residual.
#[inline(always)]
pub(super) fn load_rows<T, S, E, A, const V: usize, const WHOLE: bool>(
    simd: S,
    group: Group<V, WHOLE>,
    [x, dy, r]: [Panel<'_, E>; 3],
    i: usize,
) -> [[S::V; V]; 3]
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let x = group.load(simd, x.row(i));
    let r = if A::ADDS { group.load(simd, r.row(i)) } else { x };
    [x, group.load(simd, dy.row(i)), r]
}

impl<T: Float, E: Storage<T>, A: After> Columns<T> for BlockSums<'_, T, E, A> {
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
        let rows = self.panels[0].rows();
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

/// The sums of channel `c`, whose values, gradients and residuals lie in runs.
#[inline(always)]
pub(super) fn channel_sums<T, S, E, A>(
    simd: S,
    [x, dy, r]: [Runs<'_, E>; 3],
    lines: BatchLines<'_, T>,
    c: usize,
) -> [f64; 2]
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let line = lines.line(simd, Channel(c));
    let (mut sum, mut dot) = (0.0, 0.0);
    // A lane beyond the end holds the mean and no gradient: it adds nothing.
    let (mean, none) = (lines.mean[c], T::ZERO);
    for ((x, dy), r) in x.blocks().zip(dy.blocks()).zip(r.blocks()) {
        let sums = Sums { sum: [simd.zero(); 4], dot: [simd.zero(); 4] };
        let mut walker = RunSums { line, sums, after: PhantomData::<A> };
        for i in 0..x.count() {
            if A::ADDS {
                let runs = [x.run(i), dy.run(i), r.run(i)];
                walk(simd, runs, [mean, none, none], &mut walker);
            } else {
                walk(simd, [x.run(i), dy.run(i)], [mean, none], &mut walker);
            }
        }
        sum += sum_slots::<T, S>(simd, walker.sums.sum).to_f64();
        dot += sum_slots::<T, S>(simd, walker.sums.dot).to_f64();
    }
    [sum, dot]
}

struct RunSums<V, A> {
    line: Line<V, 1>,
    sums: Sums<V, 4>,
    after: PhantomData<A>,
}

impl<V: Copy, A: After> RunSums<V, A> {
    #[inline(always)]
    fn add<T: Float, S: Simd<T, V = V>, const SLOT: usize>(&mut self, simd: S, vectors: [V; 3]) {
        let [centred, dy] = self.line.pass::<T, S, A>(simd, 0, vectors);
        let Sums { sum, dot } = &mut self.sums;
        sum[SLOT] = simd.add(sum[SLOT], dy);
        dot[SLOT] = simd.mul_add(centred, dy, dot[SLOT]);
    }
}

impl<T: Float, S: Simd<T>, A: After> Walker<T, S, 2> for RunSums<S::V, A> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, [x, dy]: [S::V; 2]) {
        self.add::<T, S, SLOT>(simd, [x, dy, x]);
    }
}

impl<T: Float, S: Simd<T>, A: After> Walker<T, S, 3> for RunSums<S::V, A> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, vectors: [S::V; 3]) {
        self.add::<T, S, SLOT>(simd, vectors);
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
    /// `dx` and the residual's gradient, which is that behind the ReLU.
    #[inline(always)]
    pub(super) fn apply<T: Float, S: Simd<T, V = V>, A: After>(
        &self,
        simd: S,
        k: usize,
        vectors: [V; 3],
    ) -> [V; 2] {
        let [centred, dy] = self.line.pass::<T, S, A>(simd, k, vectors);
        let rest = simd.mul_add(centred, self.tilt[k], self.base[k]);
        [simd.mul_add(self.line.scale[k], dy, rest), dy]
    }
}
