//! Squares of side 2 side by side, the commonest windows, a vector of them at a time.
//!
//! ```text
//!   upper  a b | a b | a b     neighbours are taken apart, so that lane i of each of four vectors
//!   lower  c d | c d | c d     belongs to square i, and put together again behind the arithmetic
//! ```
//!
//! Elements are compared and added in the order of the loops for all windows, to the same bits.

use super::Pooling;
use crate::simd::{Float, MOST_LANES, Simd};

/// Squares of a block, and the elements of a line of them.
const BLOCK: usize = MOST_LANES;
const LINE: usize = 2 * BLOCK;

/// One row of the result from two of the image.
#[inline(always)]
pub(super) fn forward<T: Float, S: Simd<T>>(
    simd: S,
    kind: Pooling,
    [upper, lower]: [&[T]; 2],
    y: &mut [T],
) {
    for ((upper, lower), y) in upper.chunks(LINE).zip(lower.chunks(LINE)).zip(y.chunks_mut(BLOCK)) {
        let ([a, b], [c, d]) = (apart(simd, upper), apart(simd, lower));
        for (i, y) in y.chunks_mut(S::LANES).enumerate() {
            let [a, b, c, d] = [&a, &b, &c, &d].map(|part| simd.load(&part[i * S::LANES..]));
            let pooled = match kind {
                Pooling::Max => larger(simd, larger(simd, larger(simd, a, b), c), d),
                Pooling::Mean => {
                    let sum = simd.add(simd.add(simd.zero(), simd.add(a, b)), simd.add(c, d));
                    simd.div(sum, simd.splat(T::from_usize(4)))
                }
            };
            simd.store_partial(pooled, y);
        }
    }
}

/// The gradients by two rows of the image from that by a row of the result.
#[inline(always)]
pub(super) fn backward<T: Float, S: Simd<T>>(
    simd: S,
    kind: Pooling,
    ([upper, lower], dy): ([&[T]; 2], &[T]),
    [dx_upper, dx_lower]: [&mut [T]; 2],
) {
    let x = upper.chunks(LINE).zip(lower.chunks(LINE));
    let dx = dx_upper.chunks_mut(LINE).zip(dx_lower.chunks_mut(LINE));
    for (((upper, lower), (dx_upper, dx_lower)), dy) in x.zip(dx).zip(dy.chunks(BLOCK)) {
        let ([a, b], [c, d]) = (apart(simd, upper), apart(simd, lower));
        let mut parts = [[T::ZERO; BLOCK]; 4];
        for (i, dy) in dy.chunks(S::LANES).enumerate() {
            let lanes = i * S::LANES;
            // As a sum that begins with 0.
            let dy = simd.add(simd.zero(), simd.load_partial(dy));
            let shares = match kind {
                Pooling::Max => {
                    let square = [&a, &b, &c, &d].map(|part| simd.load(&part[lanes..]));
                    let first = first_largest(simd, square);
                    let take = |k| simd.eq(first, simd.splat(T::from_usize(k)));
                    [0, 1, 2, 3].map(|k| simd.select(take(k), dy, simd.zero()))
                }
                Pooling::Mean => {
                    let share = simd.div(dy, simd.splat(T::from_usize(4)));
                    [simd.add(simd.zero(), share); 4]
                }
            };
            for (part, share) in parts.iter_mut().zip(shares) {
                simd.store(share, &mut part[lanes..]);
            }
        }
        together(simd, [&parts[0], &parts[1]], dx_upper);
        together(simd, [&parts[2], &parts[3]], dx_lower);
    }
}

/// The left and the right elements of a line of pairs, zeros behind its end.
#[inline(always)]
fn apart<T: Float, S: Simd<T>>(simd: S, line: &[T]) -> [[T; BLOCK]; 2] {
    let mut whole = [T::ZERO; LINE];
    for (from, to) in line.chunks(S::LANES).zip(whole.chunks_exact_mut(S::LANES)) {
        simd.store(simd.load_partial(from), to);
    }
    let mut parts = [[T::ZERO; BLOCK]; 2];
    for i in 0..BLOCK {
        (parts[0][i], parts[1][i]) = (whole[2 * i], whole[2 * i + 1]);
    }
    parts
}

/// The way back.
#[inline(always)]
fn together<T: Float, S: Simd<T>>(simd: S, parts: [&[T; BLOCK]; 2], line: &mut [T]) {
    let mut whole = [T::ZERO; LINE];
    for i in 0..BLOCK {
        (whole[2 * i], whole[2 * i + 1]) = (parts[0][i], parts[1][i]);
    }
    for (to, from) in line.chunks_mut(S::LANES).zip(whole.chunks_exact(S::LANES)) {
        simd.store_partial(simd.load(from), to);
    }
}

/// The larger of two, the first of equals; `x` where it is NaN, and NaN where `largest` is.
#[inline(always)]
fn larger<T: Float, S: Simd<T>>(simd: S, largest: S::V, x: S::V) -> S::V {
    let larger = simd.select(simd.lt(largest, x), x, largest);
    simd.select(simd.is_nan(x), x, larger)
}

/// Which of the four in each lane [`first_largest`](super::backward) is, as a number.
#[inline(always)]
fn first_largest<T: Float, S: Simd<T>>(simd: S, [a, others @ ..]: [S::V; 4]) -> S::V {
    let (mut best, mut first) = (a, simd.zero());
    for (k, x) in others.into_iter().enumerate() {
        let k = simd.splat(T::from_usize(k + 1));
        let choose = |newer: S::V, older: S::V| {
            let larger = simd.select(simd.lt(best, x), newer, older);
            // The first NaN stays.
            let unordered = simd.select(simd.is_nan(best), older, newer);
            simd.select(simd.is_nan(x), unordered, larger)
        };
        (first, best) = (choose(k, first), choose(x, best));
    }
    first
}
