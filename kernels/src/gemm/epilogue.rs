//! What happens to a finished tile in the same store: scaling, the old C, the bias, the activation.

use super::microkernel::TileArgs;
use crate::ops::Activation;
use crate::simd::{Float, Simd, math};

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

/// The store of a tile: `C <- f(alpha * sum + beta * C + bias)`.
#[derive(Clone, Copy)]
pub(super) struct Store<'a, T> {
    pub(super) alpha: T,
    /// The factor of the old C, which is not read where this is zero.
    pub(super) beta: T,
    pub(super) bias: Bias<'a, T>,
    pub(super) activation: Activation,
}

impl<'a, T: Float> Store<'a, T> {
    /// The store of one block of k among several: beta applies before the first only, bias and
    /// activation after the last only.
    pub(super) fn of_block(&self, first: bool, last: bool) -> Store<'a, T> {
        Store {
            alpha: self.alpha,
            beta: if first { self.beta } else { T::ONE },
            bias: if last { self.bias } else { Bias::None },
            activation: if last { self.activation } else { Activation::Identity },
        }
    }

    /// Stores the sums of a tile.
    ///
    /// # Safety
    /// The tile of C in `args` must be readable and writable; `tail` covers its last vector.
    #[inline(always)]
    pub(super) unsafe fn tile<
        S: Simd<T>,
        const ROWS: usize,
        const VECTORS: usize,
        const FULL: bool,
    >(
        &self,
        simd: S,
        sums: &[[S::V; VECTORS]; ROWS],
        args: &TileArgs<'_, T>,
        tail: S::Tail,
    ) {
        let alpha = simd.splat(self.alpha);
        let beta = simd.splat(self.beta);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let whole = FULL || j + 1 < VECTORS;
                let place = args.c.wrapping_add(i * args.c_stride + j * S::LANES);
                let mut value = simd.mul(alpha, sum);
                if self.beta != T::ZERO {
                    // SAFETY: the caller vouches for the tile of C.
                    let old = unsafe {
                        if whole { simd.load_ptr(place) } else { simd.load_tail(place, tail) }
                    };
                    value = simd.mul_add(beta, old, value);
                }
                value =
                    self.finish(simd, value, [args.origin[0] + i, args.origin[1] + j * S::LANES]);
                // SAFETY: the caller vouches for the tile of C.
                unsafe {
                    if whole {
                        simd.store_ptr(value, place);
                    } else {
                        simd.store_tail(value, place, tail);
                    }
                }
            }
        }
    }

    /// Adds the bias and applies ReLU to the vector that starts at element `at` of C. The other
    /// activations are too long for every tile to carry; they follow in [`Store::activate`].
    #[inline(always)]
    fn finish<S: Simd<T>>(&self, simd: S, value: S::V, at: [usize; 2]) -> S::V {
        let value = match self.bias {
            Bias::None => value,
            Bias::PerColumn(bias) => simd.add(value, simd.load_partial(&bias[at[1]..])),
            Bias::PerRow(bias) => simd.add(value, simd.splat(bias[at[0]])),
        };
        if self.activation == Activation::Relu { simd.max(simd.zero(), value) } else { value }
    }

    /// Whether [`Store::activate`] has anything to do after the tile's store.
    pub(super) fn activates_later(&self) -> bool {
        !matches!(self.activation, Activation::Identity | Activation::Relu)
    }

    /// Applies the activation to one row of a stored tile, still in the first-level cache.
    #[inline(always)]
    pub(super) fn activate<S: Simd<T>>(&self, simd: S, row: &mut [T]) {
        for piece in row.chunks_mut(S::LANES) {
            let x = simd.load_partial(piece);
            let y = match self.activation {
                Activation::Identity => x,
                Activation::Relu => simd.max(simd.zero(), x),
                Activation::Sigmoid => math::sigmoid(simd, x),
                Activation::Tanh => math::tanh(simd, x),
            };
            simd.store_partial(y, piece);
        }
    }
}
