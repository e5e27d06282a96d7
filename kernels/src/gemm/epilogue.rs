//! What happens to a finished tile before it leaves the first-level cache: scale, bias, residual and
//! activation.

use super::moments::Partials;
use crate::ops::elementwise::Unary;
use crate::ops::{Activation, FunctionUser};
use crate::parallel::ColumnsMut;
use crate::simd::{Float, Kernel, LINE, MOST_LANES, Simd};
use crate::view::MatRef;

/// What follows the sums, element by element: `f(scale * (alpha * A * B + beta * C) + bias + residual)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct After<'a, T> {
    /// One factor per column.
    pub(super) scale: Option<&'a [T]>,
    /// One summand per column.
    pub(super) bias: Option<&'a [T]>,
    /// One summand per element.
    pub(super) residual: Option<MatRef<'a, T>>,
    pub(super) activation: Activation,
}

impl<T> After<'_, T> {
    /// Nothing.
    pub(super) const NOTHING: Self =
        Self { scale: None, bias: None, residual: None, activation: Activation::Identity };

    pub(super) fn is_nothing(&self) -> bool {
        let Self { scale, bias, residual, activation } = self;
        let linear = scale.is_none() && bias.is_none() && residual.is_none();
        linear && *activation == Activation::Identity
    }
}

/// The store of C: `C <- f(scale * (alpha * A * B + beta * C) + bias + residual)`.
#[derive(Clone, Copy)]
pub(super) struct Store<'a, T> {
    pub(super) alpha: T,
    /// The factor of the old C, which is not read where this is zero.
    pub(super) beta: T,
    /// By reference: small products feel every copy of a store.
    pub(super) after: &'a After<'a, T>,
    /// Where statistics of the columns go, if they are wanted.
    pub(super) partials: Option<&'a Partials>,
    /// Whether the product is computed transposed: what belongs to a column of C belongs to a row here.
    pub(super) turned: bool,
}

impl<T: Float> Store<'_, T> {
    /// The same for the transposed product.
    pub(super) fn t(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// The factors of the product and of the old C for one block of k: the blocks after the first
    /// add to what is there.
    pub(super) fn scale(&self, first: bool) -> [T; 2] {
        [self.alpha, if first { self.beta } else { T::ONE }]
    }

    /// Whether nothing is done to a stored tile.
    pub(super) fn keeps_values(&self) -> bool {
        self.after.is_nothing()
    }

    /// Asks for the residual of a tile that is about to be summed: its rows lie too far apart for the
    /// hardware to guess them.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd<T>>(
        &self,
        simd: S,
        [i, j]: [usize; 2],
        [height, width]: [usize; 2],
    ) {
        let Some(residual) = self.after.residual else { return };
        let residual = if self.turned { residual.t() } else { residual };
        let strides = [residual.row_stride(), residual.col_stride()];
        if strides[1] == 1 {
            let line = LINE / size_of::<T>();
            for row in i..i + height {
                let start = residual.data().as_ptr().wrapping_add(row * strides[0] + j);
                // The first one may begin within a line, and so reach one more.
                (0..width + line - 1)
                    .step_by(line)
                    .for_each(|at| simd.prefetch(start.wrapping_add(at)));
            }
        }
    }

    /// Whether nothing is done to a stored tile, and nobody looks at it.
    pub(super) fn is_plain(&self) -> bool {
        self.keeps_values() && self.partials.is_none()
    }
}

/// What follows the sums over a part of C.
pub(super) struct Finish<'a, T> {
    pub(super) store: &'a Store<'a, T>,
    pub(super) rows: ColumnsMut<'a, T>,
    /// Row and column of C where the part starts.
    pub(super) at: [usize; 2],
}

impl<T: Float> Finish<'_, T> {
    /// One function for all that store: it holds a loop for every activation.
    #[inline(never)]
    pub(super) fn apply<S: Simd<T>>(self, simd: S) {
        simd.call(self);
    }
}

impl<T: Float> Kernel<T> for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        self.store.after.activation.hand_to(FinishWith { finish: self, simd });
    }
}

/// The same with the function that the activation names.
struct FinishWith<'a, T, S> {
    finish: Finish<'a, T>,
    simd: S,
}

impl<T: Float, S: Simd<T>> FunctionUser<T> for FinishWith<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn take<F: Unary<T>>(self, f: F) {
        let Self { finish: Finish { store, mut rows, at: [top, left] }, simd } = self;
        let After { scale, bias, residual, activation } = store.after;
        // The rarer arguments in a loop of their own, that is compiled once for all functions.
        let apart = scale.is_some() || residual.is_some();
        let bias = bias.filter(|_| !apart);
        for i in 0..rows.rows() {
            let (row, at) = (rows.row(i), [top + i, left]);
            if apart {
                simd.call(Linear { store, row: &mut *row, at });
                if *activation == Activation::Identity {
                    continue;
                }
            }
            finish_row(simd, f, Term::of_columns(simd, bias, T::NEG_ZERO, at, store.turned), row);
        }
    }
}

/// Replaces every `x` of a row by `f(x + bias)`.
#[inline(always)]
fn finish_row<T, S, F>(simd: S, f: F, bias: Term<'_, T, S::V>, row: &mut [T])
where
    T: Float,
    S: Simd<T>,
    F: Unary<T>,
{
    let mut first = 0;
    let mut pieces = row.chunks_exact_mut(S::LANES);
    for piece in pieces.by_ref() {
        let value = simd.add(simd.load(piece), bias.vector(simd, first, S::LANES));
        simd.store(f.apply(simd, value), piece);
        first += S::LANES;
    }
    let tail = pieces.into_remainder();
    if !tail.is_empty() {
        let value = simd.add(simd.load_partial(tail), bias.vector(simd, first, tail.len()));
        simd.store_partial(f.apply(simd, value), tail);
    }
}

/// Scale, bias and residual over a part of one row of C that starts at element `at`.
struct Linear<'a, T> {
    store: &'a Store<'a, T>,
    row: &'a mut [T],
    at: [usize; 2],
}

impl<T: Float> Kernel<T> for Linear<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { store, row, at } = self;
        let After { scale, bias, residual, .. } = *store.after;
        let scale = Term::of_columns(simd, scale, T::ONE, at, store.turned);
        let bias = Term::of_columns(simd, bias, T::NEG_ZERO, at, store.turned);
        let residual = Term::of_elements(simd, residual, at, store.turned);
        for (i, piece) in row.chunks_mut(S::LANES).enumerate() {
            let (first, count) = (i * S::LANES, piece.len());
            let scaled = simd.mul(simd.load_partial(piece), scale.vector(simd, first, count));
            let biased = simd.add(scaled, bias.vector(simd, first, count));
            simd.store_partial(simd.add(biased, residual.vector(simd, first, count)), piece);
        }
    }
}

/// What one part of a row takes from an argument of the epilogue. One that is absent is the factor 1
/// or the summand -0, which change nothing, not even the sign of a zero.
enum Term<'a, T, V> {
    /// The same for all elements.
    Same(V),
    /// One element each, neighbours.
    Each(&'a [T]),
    /// One element each, from this row and column of a matrix on.
    Apart(MatRef<'a, T>, [usize; 2]),
}

impl<'a, T: Float, V: Copy> Term<'a, T, V> {
    /// Of a vector with an element for each column of C.
    #[inline(always)]
    fn of_columns<S: Simd<T, V = V>>(
        simd: S,
        values: Option<&'a [T]>,
        absent: T,
        [i, j]: [usize; 2],
        turned: bool,
    ) -> Self {
        match values {
            None => Self::Same(simd.splat(absent)),
            Some(values) if turned => Self::Same(simd.splat(values[i])),
            Some(values) => Self::Each(&values[j..]),
        }
    }

    /// Of a matrix of C's shape.
    #[inline(always)]
    fn of_elements<S: Simd<T, V = V>>(
        simd: S,
        matrix: Option<MatRef<'a, T>>,
        [i, j]: [usize; 2],
        turned: bool,
    ) -> Self {
        match matrix.map(|matrix| if turned { matrix.t() } else { matrix }) {
            None => Self::Same(simd.splat(T::NEG_ZERO)),
            Some(matrix) if matrix.has_contiguous_rows() => Self::Each(&matrix.row(i)[j..]),
            Some(matrix) => Self::Apart(matrix, [i, j]),
        }
    }

    /// `count` elements from `first` on.
    #[inline(always)]
    fn vector<S: Simd<T, V = V>>(&self, simd: S, first: usize, count: usize) -> V {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => simd.load_partial(&values[first..]),
            Self::Apart(matrix, [i, j]) => {
                let mut values = [T::ZERO; MOST_LANES];
                for (lane, value) in values[..count].iter_mut().enumerate() {
                    *value = matrix.at(*i, j + first + lane);
                }
                simd.load(&values)
            }
        }
    }
}
