//! Values that lie in contiguous runs: a slice, or a channel of a batch of planes.

use super::moments::{Moment, PIVOT_SHARE};
use crate::ops::storage::Storage;
use crate::simd::{Float, Simd};

/// Elements per block: sums in the element type stay short, and merging stays rare.
pub(crate) const BLOCK: usize = 4096;

/// `count` runs of `len` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a, T> {
    /// Starts at the first run.
    data: &'a [T],
    count: usize,
    len: usize,
    stride: usize,
}

impl<'a, T> Runs<'a, T> {
    /// All of a slice.
    pub(crate) fn all(data: &'a [T]) -> Self {
        Self { data, count: 1, len: data.len(), stride: data.len() }
    }

    /// `count` runs of `len` elements, `stride` apart, from the start of `data`.
    #[inline(always)]
    pub(crate) fn new(data: &'a [T], count: usize, len: usize, stride: usize) -> Self {
        Self { data, count, len, stride }
    }

    /// Number of runs.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Number of elements.
    #[inline(always)]
    pub(crate) fn elements(&self) -> usize {
        self.count * self.len
    }

    /// Run `i`.
    #[inline(always)]
    pub(crate) fn run(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.len]
    }

    /// The same values in blocks of at most [`BLOCK`]: parts of a long run, several short ones.
    #[inline(always)]
    pub(crate) fn blocks(self) -> Blocks<'a, T> {
        Blocks { runs: self, run: 0, from: 0 }
    }

    /// The first eighth: of the runs or, where there is only one, of its elements.
    #[inline(always)]
    fn head(self) -> Self {
        match self.count {
            1 => Self { len: self.len.div_ceil(PIVOT_SHARE), ..self },
            count => Self { count: count.div_ceil(PIVOT_SHARE), ..self },
        }
    }
}

/// The blocks of [`Runs`]; their bounds depend on the shape only.
pub(crate) struct Blocks<'a, T> {
    runs: Runs<'a, T>,
    run: usize,
    from: usize,
}

impl<'a, T> Iterator for Blocks<'a, T> {
    type Item = Runs<'a, T>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Runs { data, count, len, stride } = self.runs;
        if self.run >= count || len == 0 {
            return None;
        }
        let data = &data[self.run * stride + self.from..];
        if len < BLOCK {
            let count = (BLOCK / len).min(count - self.run);
            self.run += count;
            return Some(Runs { data, count, len, stride });
        }
        let part = BLOCK.min(len - self.from);
        self.from += part;
        if self.from == len {
            (self.run, self.from) = (self.run + 1, 0);
        }
        Some(Runs { data, count: 1, len: part, stride })
    }
}

/// What is done to the vectors of `N` parallel runs. Sums are kept in `4` slots: shorter chains of
/// additions, in time and in rounding.
pub(crate) trait Walker<T: Float, S: Simd<T>, const N: usize> {
    /// Takes one vector of each run. Mark it `#[inline(always)]`.
    fn take<const SLOT: usize>(&mut self, simd: S, vectors: [S::V; N]);
}

/// Hands all vectors of `N` runs of equal length to `walker`; in the last vector, lanes beyond the
/// end hold the run's `fill`.
#[inline(always)]
pub(crate) fn walk<T, S, E, W, const N: usize>(
    simd: S,
    runs: [&[E]; N],
    fill: [T; N],
    walker: &mut W,
) where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    W: Walker<T, S, N>,
{
    let len = runs[0].len();
    let mut at = 0;
    while at + 4 * S::LANES <= len {
        walker.take::<0>(simd, load(simd, runs, at));
        walker.take::<1>(simd, load(simd, runs, at + S::LANES));
        walker.take::<2>(simd, load(simd, runs, at + 2 * S::LANES));
        walker.take::<3>(simd, load(simd, runs, at + 3 * S::LANES));
        at += 4 * S::LANES;
    }
    while at + S::LANES <= len {
        walker.take::<0>(simd, load(simd, runs, at));
        at += S::LANES;
    }
    if at < len {
        let mut vectors = [simd.zero(); N];
        for (n, v) in vectors.iter_mut().enumerate() {
            *v = E::load_or(simd, &runs[n][at..], fill[n]);
        }
        walker.take::<1>(simd, vectors);
    }
}

#[inline(always)]
fn load<T, S, E, const N: usize>(simd: S, runs: [&[E]; N], at: usize) -> [S::V; N]
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
{
    let mut vectors = [simd.zero(); N];
    for (v, run) in vectors.iter_mut().zip(runs) {
        *v = E::load(simd, &run[at..]);
    }
    vectors
}

/// The sum of four slots of lanes, in a fixed order.
#[inline(always)]
pub(crate) fn sum_slots<T: Float, S: Simd<T>>(simd: S, slots: [S::V; 4]) -> T {
    let pairs = [simd.add(slots[0], slots[1]), simd.add(slots[2], slots[3])];
    simd.sum_lanes(simd.add(pairs[0], pairs[1]))
}

/// The statistics of all values and their number, block by block as in
/// [`moments`](super::moments).
#[inline(always)]
pub(crate) fn moment<T, S, E>(simd: S, runs: Runs<'_, E>) -> (Moment, f64)
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
{
    let (mut all, mut count) = (Moment::default(), 0.0);
    for block in runs.blocks() {
        let pivot = pivot(simd, block);
        let mut sums =
            Sums { pivot: simd.splat(pivot), sum: [simd.zero(); 4], squares: [simd.zero(); 4] };
        for i in 0..block.count() {
            walk(simd, [block.run(i)], [pivot], &mut sums);
        }
        let sum: T = sum_slots(simd, sums.sum);
        let squares: T = sum_slots(simd, sums.squares);
        let more = block.elements() as f64;
        let moment = Moment::from_sums(pivot.to_f64(), sum.to_f64(), squares.to_f64(), more);
        all = all.merged(count, moment, more);
        count += more;
    }
    (all, count)
}

/// The mean of a block's head, exact where its values are equal.
#[inline(always)]
fn pivot<T: Float, S: Simd<T>, E: Storage<T>>(simd: S, block: Runs<'_, E>) -> T {
    let head = block.head();
    let first = head.run(0)[0].widen();
    let mut excess = Excess { pivot: simd.splat(first), sum: [simd.zero(); 4] };
    for i in 0..head.count() {
        walk(simd, [head.run(i)], [first], &mut excess);
    }
    let sum: T = sum_slots(simd, excess.sum);
    first + sum / T::from_usize(head.elements())
}

/// Sums of what exceeds a pivot.
struct Excess<V> {
    pivot: V,
    sum: [V; 4],
}

impl<T: Float, S: Simd<T>> Walker<T, S, 1> for Excess<S::V> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, [x]: [S::V; 1]) {
        self.sum[SLOT] = simd.add(self.sum[SLOT], simd.sub(x, self.pivot));
    }
}

/// Sums of what exceeds a pivot, and of its squares.
struct Sums<V> {
    pivot: V,
    sum: [V; 4],
    squares: [V; 4],
}

impl<T: Float, S: Simd<T>> Walker<T, S, 1> for Sums<S::V> {
    #[inline(always)]
    fn take<const SLOT: usize>(&mut self, simd: S, [x]: [S::V; 1]) {
        let excess = simd.sub(x, self.pivot);
        self.sum[SLOT] = simd.add(self.sum[SLOT], excess);
        self.squares[SLOT] = simd.mul_add(excess, excess, self.squares[SLOT]);
    }
}
