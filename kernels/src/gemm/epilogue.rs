//! What happens to a finished tile before it leaves the first-level cache: scale, bias, residual and
//! activation.

use super::moments::Partials;
use crate::ops::elementwise::Unary;
use crate::ops::{Activation, FunctionUser};
use crate::simd::{Float, Kernel, MOST_LANES, Simd};
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

    /// Whether nothing is done to a stored tile, and nobody looks at it.
    pub(super) fn is_plain(&self) -> bool {
        self.keeps_values() && self.partials.is_none()
    }
}

/// What follows the sums over a part of one row of C that starts at element `at`.
pub(super) struct Finish<'a, T> {
    pub(super) store: &'a Store<'a, T>,
    pub(super) row: &'a mut [T],
    pub(super) at: [usize; 2],
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
        let Self { finish: Finish { store, row, at }, simd } = self;
        let After { scale, bias, residual, .. } = *store.after;
        let scale = Term::of_columns(simd, scale, at, store.turned);
        let bias = Term::of_columns(simd, bias, at, store.turned);
        let residual = Term::of_elements(residual, at, store.turned);
        for (i, piece) in row.chunks_mut(S::LANES).enumerate() {
            let (first, count) = (i * S::LANES, piece.len());
            let mut value = simd.load_partial(piece);
            if let Some(scale) = scale.vector(simd, first, count) {
                value = simd.mul(value, scale);
            }
            if let Some(bias) = bias.vector(simd, first, count) {
                value = simd.add(value, bias);
            }
            if let Some(residual) = residual.vector(simd, first, count) {
                value = simd.add(value, residual);
            }
            simd.store_partial(f.apply(simd, value), piece);
        }
    }
}

/// What one part of a row takes from an argument of the epilogue.
enum Term<'a, T, V> {
    Absent,
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
        [i, j]: [usize; 2],
        turned: bool,
    ) -> Self {
        match values {
            None => Self::Absent,
            Some(values) if turned => Self::Same(simd.splat(values[i])),
            Some(values) => Self::Each(&values[j..]),
        }
    }

    /// Of a matrix of C's shape.
    #[inline(always)]
    fn of_elements(matrix: Option<MatRef<'a, T>>, [i, j]: [usize; 2], turned: bool) -> Self {
        match matrix.map(|matrix| if turned { matrix.t() } else { matrix }) {
            None => Self::Absent,
            Some(matrix) if matrix.has_contiguous_rows() => Self::Each(&matrix.row(i)[j..]),
            Some(matrix) => Self::Apart(matrix, [i, j]),
        }
    }

    /// `count` elements from `first` on.
    #[inline(always)]
    fn vector<S: Simd<T, V = V>>(&self, simd: S, first: usize, count: usize) -> Option<V> {
        match self {
            Self::Absent => None,
            Self::Same(value) => Some(*value),
            Self::Each(values) => Some(simd.load_partial(&values[first..])),
            Self::Apart(matrix, [i, j]) => {
                let mut values = [T::ZERO; MOST_LANES];
                for (lane, value) in values[..count].iter_mut().enumerate() {
                    *value = matrix.at(*i, j + first + lane);
                }
                Some(simd.load(&values))
            }
        }
    }
}
