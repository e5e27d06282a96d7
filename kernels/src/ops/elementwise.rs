//! Elementwise loops: a function of vectors applied along slices, whole vectors first, then the tail
//! with the same instructions, so that a value does not depend on where it stands.

use crate::dispatch::outgrows_cache;
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{AlignedPart, Float, Kernel, Simd, Streaming};

/// Elements below which a second thread costs more than it brings: about 10 microseconds of some
/// arithmetic.
const GRAIN: usize = 1 << 15;

/// The same of what does nothing but move data.
pub(crate) const MOVING_GRAIN: usize = 1 << 17;

/// Bytes of an output that, with its inputs, is in the first-level cache.
pub(super) const NEAR: usize = 16 << 10;

/// How far ahead data is asked for that lies farther away. Vectors that straddle lines are read a quarter
/// faster from the second level with that, and none slower.
const AHEAD: usize = 1024;

/// A function of one vector.
pub(crate) trait Unary<T: Float>: Copy + Send + Sync {
    /// Elements below which a second thread costs more than it brings.
    const GRAIN: usize = GRAIN;

    /// The function. Mark it `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V;
}

/// A function of two vectors.
pub(crate) trait Binary<T: Float>: Copy + Send + Sync {
    /// The function. Mark it `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V;
}

/// Writes `f(x)` to `y`; the slices have equal lengths.
pub(crate) fn map<T: Float, F: Unary<T>>(f: F, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
    debug_assert_eq!(x.len(), y.len());
    let isa = exec.path()?;
    let streams = outgrows_cache(size_of_val(y));
    exec.threads().divide(Map { f, x, y, streams }, F::GRAIN, &|piece| isa.run(piece));
    Ok(())
}

/// Writes `f(a, b)` to `y`; the slices have equal lengths.
pub(crate) fn zip<T: Float, F: Binary<T>>(
    f: F,
    [a, b]: [&[T]; 2],
    y: &mut [T],
    exec: Exec,
) -> Result<()> {
    debug_assert!(a.len() == y.len() && b.len() == y.len());
    let isa = exec.path()?;
    let streams = outgrows_cache(size_of_val(y));
    exec.threads().divide(Zip { f, a, b, y, streams }, GRAIN, &|piece| isa.run(piece));
    Ok(())
}

struct Map<'a, T, F> {
    f: F,
    x: &'a [T],
    y: &'a mut [T],
    streams: bool,
}

impl<T: Float, F: Unary<T>> Split for Map<'_, T, F> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (x, x_rest) = self.x.split_at(mid);
        let (y, y_rest) = self.y.split_at_mut(mid);
        (Self { x, y, ..self }, Self { x: x_rest, y: y_rest, ..self })
    }
}

impl<T: Float, F: Unary<T>> Kernel<T> for Map<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        if self.streams {
            let leave = Streaming::new();
            let ask = Ask::ahead_in(simd, self.x);
            stream_slice(simd, self.f, self.x, (self.y, &leave), ask);
        } else {
            map_slice(simd, self.f, self.x, self.y);
        }
    }
}

/// Writes `f(x)` to `y`; the slices have equal lengths.
#[inline(always)]
pub(crate) fn map_slice<T, S, F>(simd: S, f: F, x: &[T], y: &mut [T])
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let far = size_of_val(y) > NEAR;
    let mut x = x.chunks_exact(S::LANES);
    let mut y = y.chunks_exact_mut(S::LANES);
    for (x, y) in x.by_ref().zip(y.by_ref()) {
        if far {
            prefetch(simd, [x, y]);
        }
        simd.store(f.apply(simd, simd.load(x)), y);
    }
    let tail = simd.load_partial(x.remainder());
    simd.store_partial(f.apply(simd, tail), y.into_remainder());
}

/// What a loop asks for while it keeps the arithmetic busy: it will be needed next, and lies far away.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a, T> {
    rest: &'a [T],
    /// Elements per vector of the loop.
    step: usize,
}

impl<'a, T: Float> Ask<'a, T> {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self { rest: &[], step: 0 };

    /// What a loop over `data` needs some vectors later.
    #[inline(always)]
    pub(crate) fn ahead_in<S: Simd<T>>(_simd: S, data: &'a [T]) -> Self {
        let ahead = (AHEAD / size_of::<T>()).min(data.len());
        Self { rest: &data[ahead..], step: S::LANES }
    }

    /// One half of the `next` row, by a loop over a row as long; the other half is for another loop.
    #[inline(always)]
    pub(crate) fn half_of<S: Simd<T>>(_simd: S, next: &'a [T], second: bool) -> Self {
        let (first, rest) = next.split_at(next.len() / 2);
        Self { rest: if second { rest } else { first }, step: S::LANES / 2 }
    }

    /// All of the `next` row, by a loop over a row as long.
    #[inline(always)]
    pub(crate) fn whole<S: Simd<T>>(_simd: S, next: &'a [T]) -> Self {
        Self { rest: next, step: S::LANES }
    }

    /// Asks for the part that belongs to the next vector of the loop.
    #[inline(always)]
    pub(crate) fn step<S: Simd<T>>(&mut self, simd: S) {
        if !self.rest.is_empty() {
            simd.prefetch(self.rest.as_ptr());
            self.rest = &self.rest[self.step.min(self.rest.len())..];
        }
    }
}

/// [`map_slice`] past the caches, as far as `y` consists of whole lines.
#[inline(always)]
pub(crate) fn stream_slice<T, S, F>(
    simd: S,
    f: F,
    x: &[T],
    (y, leave): (&mut [T], &Streaming),
    mut ask: Ask<'_, T>,
) where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let lines = AlignedPart::of(y);
    // One loop, since the function may be long: what is before and behind the lines is little.
    for (i, (x, y)) in lines.cut(x).into_iter().zip(lines.cut_mut(y)).enumerate() {
        for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
            ask.step(simd);
            let value = f.apply(simd, load_some(simd, x));
            if i == 1 {
                simd.stream(value, y, leave);
            } else {
                store_some(simd, value, y);
            }
        }
    }
}

/// A whole vector, or what there is of it.
#[inline(always)]
pub(super) fn load_some<T: Float, S: Simd<T>>(simd: S, x: &[T]) -> S::V {
    if x.len() == S::LANES { simd.load(x) } else { simd.load_partial(x) }
}

/// Writes a whole vector, or what there is room for.
#[inline(always)]
pub(super) fn store_some<T: Float, S: Simd<T>>(simd: S, v: S::V, y: &mut [T]) {
    if y.len() == S::LANES { simd.store(v, y) } else { simd.store_partial(v, y) }
}

/// Asks for what a loop at these places will need soon.
#[inline(always)]
pub(super) fn prefetch<T: Float, S: Simd<T>, const N: usize>(simd: S, places: [&[T]; N]) {
    for place in places {
        simd.prefetch(place.as_ptr().wrapping_add(AHEAD / size_of::<T>()));
    }
}

/// Replaces `y` by `f(y)`.
#[inline(always)]
pub(crate) fn update_slice<T, S, F>(simd: S, f: F, y: &mut [T])
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let mut y = y.chunks_exact_mut(S::LANES);
    for y in y.by_ref() {
        simd.store(f.apply(simd, simd.load(y)), y);
    }
    let tail = y.into_remainder();
    simd.store_partial(f.apply(simd, simd.load_partial(tail)), tail);
}

struct Zip<'a, T, F> {
    f: F,
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
    streams: bool,
}

impl<T: Float, F: Binary<T>> Split for Zip<'_, T, F> {
    fn units(&self) -> usize {
        self.a.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (a, a_rest) = self.a.split_at(mid);
        let (b, b_rest) = self.b.split_at(mid);
        let (y, y_rest) = self.y.split_at_mut(mid);
        (Self { a, b, y, ..self }, Self { a: a_rest, b: b_rest, y: y_rest, ..self })
    }
}

impl<T: Float, F: Binary<T>> Kernel<T> for Zip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        if self.streams {
            let leave = Streaming::new();
            let ask = [self.a, self.b].map(|x| Ask::ahead_in(simd, x));
            stream_zip(simd, self.f, [self.a, self.b], (self.y, &leave), ask);
        } else {
            zip_slices(simd, self.f, [self.a, self.b], self.y);
        }
    }
}

/// Writes `f(a, b)` to `y`; the slices have equal lengths.
#[inline(always)]
pub(crate) fn zip_slices<T, S, F>(simd: S, f: F, [a, b]: [&[T]; 2], y: &mut [T])
where
    T: Float,
    S: Simd<T>,
    F: Binary<T>,
{
    let far = size_of_val(y) > NEAR;
    let mut a = a.chunks_exact(S::LANES);
    let mut b = b.chunks_exact(S::LANES);
    let mut y = y.chunks_exact_mut(S::LANES);
    for ((a, b), y) in a.by_ref().zip(b.by_ref()).zip(y.by_ref()) {
        if far {
            prefetch(simd, [a, b, y]);
        }
        simd.store(f.apply(simd, simd.load(a), simd.load(b)), y);
    }
    let a = simd.load_partial(a.remainder());
    let b = simd.load_partial(b.remainder());
    simd.store_partial(f.apply(simd, a, b), y.into_remainder());
}

/// [`zip_slices`] past the caches, as far as `y` consists of whole lines.
#[inline(always)]
pub(crate) fn stream_zip<T, S, F>(
    simd: S,
    f: F,
    [a, b]: [&[T]; 2],
    (y, leave): (&mut [T], &Streaming),
    mut ask: [Ask<'_, T>; 2],
) where
    T: Float,
    S: Simd<T>,
    F: Binary<T>,
{
    let lines = AlignedPart::of(y);
    let inputs = lines.cut(a).into_iter().zip(lines.cut(b));
    for (i, ((a, b), y)) in inputs.zip(lines.cut_mut(y)).enumerate() {
        let pairs = a.chunks(S::LANES).zip(b.chunks(S::LANES));
        for ((a, b), y) in pairs.zip(y.chunks_mut(S::LANES)) {
            ask.iter_mut().for_each(|ask| ask.step(simd));
            let value = f.apply(simd, load_some(simd, a), load_some(simd, b));
            if i == 1 {
                simd.stream(value, y, leave);
            } else {
                store_some(simd, value, y);
            }
        }
    }
}
