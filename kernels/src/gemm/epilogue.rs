//! What happens to a finished tile before it leaves the first-level cache: bias and activation.

use crate::ops::elementwise::Unary;
use crate::ops::{Activation, FunctionUser};
use crate::simd::{Float, Kernel, Simd};

/// A vector added to every row or to every column of C.
#[derive(Clone, Copy)]
pub(super) enum Bias<'a, T> {
    /// Nothing is added.
    None,
    /// Element j is added to column j.
    PerColumn(&'a [T]),
    /// Element i is added to row i.
    PerRow(&'a [T]),
}

impl<T> Bias<'_, T> {
    /// The bias of the transposed product.
    pub(super) fn t(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::PerColumn(bias) => Self::PerRow(bias),
            Self::PerRow(bias) => Self::PerColumn(bias),
        }
    }
}

/// The store of C: `C <- f(alpha * A * B + beta * C + bias)`.
#[derive(Clone, Copy)]
pub(super) struct Store<'a, T> {
    pub(super) alpha: T,
    /// The factor of the old C, which is not read where this is zero.
    pub(super) beta: T,
    pub(super) bias: Bias<'a, T>,
    pub(super) activation: Activation,
}

impl<T: Float> Store<'_, T> {
    /// The factors of the product and of the old C for one block of k: the blocks after the first
    /// add to what is there.
    pub(super) fn scale(&self, first: bool) -> [T; 2] {
        [self.alpha, if first { self.beta } else { T::ONE }]
    }

    /// Whether a tile is done when it is stored.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.bias, Bias::None) && self.activation == Activation::Identity
    }
}

/// Bias and activation over a part of one row of C that starts at element `at`.
pub(super) struct Finish<'a, T> {
    pub(super) store: &'a Store<'a, T>,
    pub(super) row: &'a mut [T],
    pub(super) at: [usize; 2],
}

impl<T: Float> Kernel<T> for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        self.store.activation.hand_to(FinishWith { finish: self, simd });
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
        let Self { finish: Finish { store, row, at: [i, mut j] }, simd } = self;
        let per_row = match store.bias {
            Bias::PerRow(bias) => simd.splat(bias[i]),
            _ => simd.zero(),
        };
        for piece in row.chunks_mut(S::LANES) {
            let mut value = simd.load_partial(piece);
            value = match store.bias {
                Bias::None => value,
                Bias::PerColumn(bias) => simd.add(value, simd.load_partial(&bias[j..])),
                Bias::PerRow(_) => simd.add(value, per_row),
            };
            simd.store_partial(f.apply(simd, value), piece);
            j += S::LANES;
        }
    }
}
