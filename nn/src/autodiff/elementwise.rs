//! Functions of one vector and of two, for any instruction set: what elementwise operations are made of.
//! Products and sums are rounded apart, so that all instruction sets give the same bits.

use tilewise_kernels::simd::{Kernel, Simd};
use tilewise_kernels::{Exec, Float, Result};

/// A function of two vectors.
pub(super) trait Binary<T: Float>: Copy {
    /// The function. Mark it `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V;
}

/// A function of one vector.
pub(super) trait Unary<T: Float>: Copy {
    /// The function. Mark it `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V;
}

/// `a + b`.
#[derive(Clone, Copy)]
pub(super) struct Plus;

impl<T: Float> Binary<T> for Plus {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
}

/// `a - b`.
#[derive(Clone, Copy)]
pub(super) struct Minus;

impl<T: Float> Binary<T> for Minus {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.sub(a, b)
    }
}

/// `a * b`.
#[derive(Clone, Copy)]
pub(super) struct Times;

impl<T: Float> Binary<T> for Times {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.mul(a, b)
    }
}

/// `a / b`.
#[derive(Clone, Copy)]
pub(super) struct Over;

impl<T: Float> Binary<T> for Over {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.div(a, b)
    }
}

/// The derivative of `a / b` by `b`. Not over `b²`, which may overflow where the quotients do not.
#[derive(Clone, Copy)]
pub(super) struct OverSlope;

impl<T: Float> Binary<T> for OverSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.div(simd.neg(simd.div(a, b)), b)
    }
}

/// `b / count`, whatever `a` is.
#[derive(Clone, Copy)]
pub(super) struct Share<T>(pub(super) T);

impl<T: Float> Binary<T> for Share<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, _: S::V, b: S::V) -> S::V {
        simd.div(b, simd.splat(self.0))
    }
}

/// The gradient of a square root `a`: `b / (2 a)`.
#[derive(Clone, Copy)]
pub(super) struct SqrtSlope;

impl<T: Float> Binary<T> for SqrtSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.div(simd.mul(simd.splat(T::HALF), b), a)
    }
}

/// The gradient of `a²`: `b * 2 a`.
#[derive(Clone, Copy)]
pub(super) struct SquareSlope;

impl<T: Float> Binary<T> for SquareSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        simd.mul(b, simd.add(a, a))
    }
}

/// The gradient of `aⁿ` for other `n` than 0: `b * (n * aⁿ⁻¹)`.
#[derive(Clone, Copy)]
pub(super) struct PowerSlope(pub(super) i32);

impl<T: Float> Binary<T> for PowerSlope {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, a: S::V, b: S::V) -> S::V {
        let factor = simd.splat(T::from_f64(f64::from(self.0)));
        // The least power has none below it, but no number survives it either.
        let below = Power(self.0.saturating_sub(1)).apply(simd, a);
        simd.mul(b, simd.mul(factor, below))
    }
}

/// `-x`.
#[derive(Clone, Copy)]
pub(super) struct Negative;

impl<T: Float> Unary<T> for Negative {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.neg(x)
    }
}

/// `√x`.
#[derive(Clone, Copy)]
pub(super) struct Root;

impl<T: Float> Unary<T> for Root {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        simd.sqrt(x)
    }
}

/// `xⁿ`, by repeated squaring.
#[derive(Clone, Copy)]
pub(super) struct Power(pub(super) i32);

impl<T: Float> Unary<T> for Power {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        let (mut result, mut square, mut left) = (simd.splat(T::ONE), x, self.0.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = simd.mul(result, square);
            }
            left >>= 1;
            if left > 0 {
                square = simd.mul(square, square);
            }
        }
        if self.0 < 0 { simd.div(simd.splat(T::ONE), result) } else { result }
    }
}

/// Writes `f(x)` to `y`; the slices have equal lengths.
pub(super) fn map<T: Float>(f: impl Unary<T>, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
    exec.path()?.run(Map { f, x, y });
    Ok(())
}

struct Map<'a, T, F> {
    f: F,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float, F: Unary<T>> Kernel<T> for Map<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let (x, f) = (Each(self.x), OfSecond(self.f));
        line(simd, f, (Same(T::ZERO), x), self.y);
    }
}

/// A function of one vector as one of two.
#[derive(Clone, Copy)]
struct OfSecond<F>(F);

impl<T: Float, F: Unary<T>> Binary<T> for OfSecond<F> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, _: S::V, b: S::V) -> S::V {
        self.0.apply(simd, b)
    }
}

/// Writes `f(a, b)` to `y`; the slices have equal lengths.
pub(super) fn zip<T: Float>(
    f: impl Binary<T>,
    [a, b]: [&[T]; 2],
    y: &mut [T],
    exec: Exec,
) -> Result<()> {
    exec.path()?.run(Zip { f, a, b, y });
    Ok(())
}

struct Zip<'a, T, F> {
    f: F,
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Float, F: Binary<T>> Kernel<T> for Zip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        line(simd, self.f, (Each(self.a), Each(self.b)), self.y);
    }
}

/// An operand along a line.
pub(super) trait Operand<T: Float>: Copy {
    /// The vector from place `at` on.
    fn vector<S: Simd<T>>(self, simd: S, at: usize) -> S::V;
    /// What there is from place `at` on, less than a vector.
    fn rest<S: Simd<T>>(self, simd: S, at: usize) -> S::V;
}

/// An element for each place.
#[derive(Clone, Copy)]
pub(super) struct Each<'a, T>(pub(super) &'a [T]);

impl<T: Float> Operand<T> for Each<'_, T> {
    #[inline(always)]
    fn vector<S: Simd<T>>(self, simd: S, at: usize) -> S::V {
        simd.load(&self.0[at..])
    }

    #[inline(always)]
    fn rest<S: Simd<T>>(self, simd: S, at: usize) -> S::V {
        simd.load_partial(&self.0[at..])
    }
}

/// One element for all places.
#[derive(Clone, Copy)]
pub(super) struct Same<T>(pub(super) T);

impl<T: Float> Operand<T> for Same<T> {
    #[inline(always)]
    fn vector<S: Simd<T>>(self, simd: S, _: usize) -> S::V {
        simd.splat(self.0)
    }

    #[inline(always)]
    fn rest<S: Simd<T>>(self, simd: S, _: usize) -> S::V {
        simd.splat(self.0)
    }
}

/// Writes `f(a, b)` to `y`.
#[inline(always)]
pub(super) fn line<T: Float, S: Simd<T>>(
    simd: S,
    f: impl Binary<T>,
    (a, b): (impl Operand<T>, impl Operand<T>),
    y: &mut [T],
) {
    let whole = y.len() - y.len() % S::LANES;
    let (vectors, rest) = y.split_at_mut(whole);
    for (i, y) in vectors.chunks_exact_mut(S::LANES).enumerate() {
        let at = i * S::LANES;
        simd.store(f.apply(simd, a.vector(simd, at), b.vector(simd, at)), y);
    }
    if !rest.is_empty() {
        simd.store_partial(f.apply(simd, a.rest(simd, whole), b.rest(simd, whole)), rest);
    }
}

/// Replaces `y` by `f(y, b)`.
#[inline(always)]
pub(super) fn update_line<T: Float, S: Simd<T>>(
    simd: S,
    f: impl Binary<T>,
    y: &mut [T],
    b: impl Operand<T>,
) {
    let whole = y.len() - y.len() % S::LANES;
    let (vectors, rest) = y.split_at_mut(whole);
    for (i, y) in vectors.chunks_exact_mut(S::LANES).enumerate() {
        simd.store(f.apply(simd, simd.load(y), b.vector(simd, i * S::LANES)), y);
    }
    if !rest.is_empty() {
        let old = simd.load_partial(rest);
        simd.store_partial(f.apply(simd, old, b.rest(simd, whole)), rest);
    }
}
