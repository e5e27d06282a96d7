//! The second pass of the backward pass: `dx` from known sums, and the residual's gradient.

use std::marker::PhantomData;

use super::blocks::{RowBlock, row_blocks};
use super::ending::After;
use super::gradient::{Gradient, Slope, load_rows};
use super::normalise::Turned;
use super::outputs::Outputs;
use crate::ops::reduce::columns::{Columns, Group, Panel, sweep};
use crate::ops::storage::Storage;
use crate::parallel::ColumnsMut;
use crate::simd::{AlignedPart, Float, Simd, Streaming};

/// Writes gradients for rows of channels.
pub(super) struct GradientColumns<'a, 'b, T, E> {
    /// `x`, `dy` and the residual.
    pub(super) panels: [Panel<'a, E>; 3],
    pub(super) to: Outputs<ColumnsMut<'b, E>>,
    pub(super) gradient: Gradient<'a, T>,
    /// The channel of the first column.
    pub(super) turn: usize,
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float, E: Storage<T>> GradientColumns<'_, '_, T, E> {
    /// All columns.
    #[inline(always)]
    pub(super) fn run<S: Simd<T>, A: After>(self, simd: S) {
        let width = self.panels[0].width();
        sweep(simd, width, &mut Write::<_, A>(self, PhantomData));
    }
}

struct Write<G, A>(G, PhantomData<A>);

impl<T, E, A> Columns<T> for Write<GradientColumns<'_, '_, T, E>, A>
where
    T: Float,
    E: Storage<T>,
    A: After,
{
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        let GradientColumns { panels, to, gradient, turn, leave } = &mut self.0;
        let slope = gradient.slope(simd, Turned { group, turn: *turn });
        for i in 0..panels[0].rows() {
            let [x, mut dy, r] = load_rows::<T, S, E, A, V, WHOLE>(simd, group, *panels, i);
            let mut dx = x;
            for k in 0..V {
                [dx[k], dy[k]] = slope.apply::<T, S, A>(simd, k, [x[k], dy[k], r[k]]);
            }
            group.stream(simd, dx, to.dx.row(i), *leave);
            if let (true, Some(dr)) = (A::ADDS, &mut to.dr) {
                group.stream(simd, dy, dr.row(i), *leave);
            }
        }
    }
}

/// Writes gradients for whole rows, a few at a time.
#[derive(Clone, Copy)]
pub(super) struct GradientRows<'a, T> {
    pub(super) channels: usize,
    pub(super) gradient: Gradient<'a, T>,
    pub(super) leave: Option<&'a Streaming>,
}

impl<T: Float> GradientRows<'_, T> {
    #[inline(always)]
    pub(super) fn run<S, E, A>(self, simd: S, data: [&[E]; 3], mut to: Outputs<&mut [E]>)
    where
        S: Simd<T>,
        E: Storage<T>,
        A: After,
    {
        let Self { channels, gradient, leave } = self;
        for block in row_blocks(to.dx, channels, leave.is_some()) {
            let RowBlock { range, width, turn, aligned } = block;
            let rows = range.len() / width;
            let panels = data.map(|data| Panel::new(&data[range.clone()], rows, width, width));
            let to = to.each_mut(|out| ColumnsMut::new(&mut out[range.clone()], rows, width));
            let leave = leave.filter(|_| aligned);
            GradientColumns { panels, to, gradient, turn, leave }.run::<S, A>(simd);
        }
    }
}

/// Writes gradients for a run of one channel.
#[inline(always)]
pub(super) fn gradient_run<T, S, E, A>(
    simd: S,
    slope: &Slope<S::V, 1>,
    data: [&[E]; 3],
    to: Outputs<&mut [E]>,
    leave: Option<&Streaming>,
) where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let Some(leave) = leave else {
        return gradient_part::<T, S, E, A>(simd, slope, data, to);
    };
    let AlignedPart { before, inside } = AlignedPart::of(to.dx);
    let (head, rest) = to.split(|out| out.split_at_mut(before));
    let (mut lines, tail) = rest.split(|out| out.split_at_mut(inside));
    gradient_part::<T, S, E, A>(simd, slope, data, head);
    for at in (0..inside).step_by(S::LANES) {
        let vectors = load_at::<T, S, E, A>(simd, data, before + at);
        let [dx, dr] = slope.apply::<T, S, A>(simd, 0, vectors);
        E::stream(simd, dx, &mut lines.dx[at..], leave);
        if let (true, Some(out)) = (A::ADDS, &mut lines.dr) {
            E::stream(simd, dr, &mut out[at..], leave);
        }
    }
    gradient_part::<T, S, E, A>(simd, slope, data.map(|data| &data[before + inside..]), tail);
}

/// A vector of `x`, `dy` and, where there is one, the residual.
#[inline(always)]
fn load_at<T, S, E, A>(simd: S, [x, dy, r]: [&[E]; 3], at: usize) -> [S::V; 3]
where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let x = E::load(simd, &x[at..]);
    let r = if A::ADDS { E::load(simd, &r[at..]) } else { x };
    [x, E::load(simd, &dy[at..]), r]
}

/// The inputs may be longer than `dx`.
#[inline(always)]
fn gradient_part<T, S, E, A>(
    simd: S,
    slope: &Slope<S::V, 1>,
    data: [&[E]; 3],
    mut to: Outputs<&mut [E]>,
) where
    T: Float,
    S: Simd<T>,
    E: Storage<T>,
    A: After,
{
    let len = to.dx.len();
    let whole = len - len % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        let vectors = load_at::<T, S, E, A>(simd, data, at);
        let [dx, dr] = slope.apply::<T, S, A>(simd, 0, vectors);
        E::store(simd, dx, &mut to.dx[at..]);
        if let (true, Some(out)) = (A::ADDS, &mut to.dr) {
            E::store(simd, dr, &mut out[at..]);
        }
    }
    if whole < len {
        let vectors = data.map(|data| E::load_partial(simd, &data[whole..]));
        let [dx, dr] = slope.apply::<T, S, A>(simd, 0, vectors);
        E::store_partial(simd, dx, &mut to.dx[whole..]);
        if let (true, Some(out)) = (A::ADDS, &mut to.dr) {
            E::store_partial(simd, dr, &mut out[whole..]);
        }
    }
}
