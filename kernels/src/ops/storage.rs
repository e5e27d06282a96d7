//! What the elements of large buffers are stored as: numbers of the type that is computed in, or halves.

use half::{bf16, f16};

use super::batch_norm::BatchNorms;
use crate::simd::{Float, Half, Simd, Streaming};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// Types that buffers can have where `T` is computed in: `T` itself, or [`bf16`] and
/// [`f16`](struct@crate::f16) beside `f32`, which are widened exactly when they are loaded and rounded to
/// the nearest, ties to even, when they are stored. Sealed: kernels are written for exactly these.
pub trait Storage<T: Float>: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// The type's name, as in benchmark ids.
    const STORED: &'static str;

    /// The same value, exactly.
    fn widen(self) -> T;
    /// The nearest value.
    fn narrow(x: T) -> Self;

    /// The first `LANES` elements. Panics if there are fewer.
    #[doc(hidden)]
    fn load<S: Simd<T>>(simd: S, src: &[Self]) -> S::V;
    /// The first `min(len, LANES)` elements, the other lanes zero.
    #[doc(hidden)]
    fn load_partial<S: Simd<T>>(simd: S, src: &[Self]) -> S::V;
    /// Writes the first `LANES` elements. Panics if there is room for fewer.
    #[doc(hidden)]
    fn store<S: Simd<T>>(simd: S, v: S::V, dst: &mut [Self]);
    /// Writes the first `min(len, LANES)` elements.
    #[doc(hidden)]
    fn store_partial<S: Simd<T>>(simd: S, v: S::V, dst: &mut [Self]);
    /// Writes the first `LANES` elements past the caches; see [`Simd::stream`].
    #[doc(hidden)]
    fn stream<S: Simd<T>>(simd: S, v: S::V, dst: &mut [Self], leave: &Streaming);

    /// The first `min(len, LANES)` elements, the other lanes `fill`.
    #[doc(hidden)]
    #[inline(always)]
    fn load_or<S: Simd<T>>(simd: S, src: &[Self], fill: T) -> S::V {
        if src.len() >= S::LANES {
            return Self::load(simd, src);
        }
        simd.first_lanes(src.len(), Self::load_partial(simd, src), simd.splat(fill))
    }

    /// Batch normalisation of such buffers, compiled in this crate.
    #[doc(hidden)]
    fn batch_norms() -> &'static BatchNorms<T, Self>;
}

macro_rules! same_type {
    ($t:ident) => {
        impl Storage<$t> for $t {
            const STORED: &'static str = <$t as Float>::NAME;

            #[inline(always)]
            fn widen(self) -> $t {
                self
            }
            #[inline(always)]
            fn narrow(x: $t) -> $t {
                x
            }
            #[inline(always)]
            fn load<S: Simd<$t>>(simd: S, src: &[$t]) -> S::V {
                simd.load(src)
            }
            #[inline(always)]
            fn load_partial<S: Simd<$t>>(simd: S, src: &[$t]) -> S::V {
                simd.load_partial(src)
            }
            #[inline(always)]
            fn store<S: Simd<$t>>(simd: S, v: S::V, dst: &mut [$t]) {
                simd.store(v, dst);
            }
            #[inline(always)]
            fn store_partial<S: Simd<$t>>(simd: S, v: S::V, dst: &mut [$t]) {
                simd.store_partial(v, dst);
            }
            #[inline(always)]
            fn stream<S: Simd<$t>>(simd: S, v: S::V, dst: &mut [$t], leave: &Streaming) {
                simd.stream(v, dst, leave);
            }
            fn batch_norms() -> &'static BatchNorms<$t, $t> {
                static PASSES: BatchNorms<$t, $t> = BatchNorms::new();
                &PASSES
            }
        }
    };
}

same_type!(f32);
same_type!(f64);

macro_rules! halves {
    ($half:ident) => {
        impl Storage<f32> for $half {
            const STORED: &'static str = <$half as Half>::NAME;

            #[inline(always)]
            fn widen(self) -> f32 {
                Half::widen(self)
            }
            #[inline(always)]
            fn narrow(x: f32) -> $half {
                Half::narrow(x)
            }
            #[inline(always)]
            fn load<S: Simd<f32>>(simd: S, src: &[$half]) -> S::V {
                simd.load_half(src)
            }
            #[inline(always)]
            fn load_partial<S: Simd<f32>>(simd: S, src: &[$half]) -> S::V {
                simd.load_half_partial(src)
            }
            #[inline(always)]
            fn store<S: Simd<f32>>(simd: S, v: S::V, dst: &mut [$half]) {
                simd.store_half(v, dst);
            }
            #[inline(always)]
            fn store_partial<S: Simd<f32>>(simd: S, v: S::V, dst: &mut [$half]) {
                simd.store_half_partial(v, dst);
            }
            #[inline(always)]
            fn stream<S: Simd<f32>>(simd: S, v: S::V, dst: &mut [$half], leave: &Streaming) {
                simd.stream_half(v, dst, leave);
            }
            fn batch_norms() -> &'static BatchNorms<f32, $half> {
                static PASSES: BatchNorms<f32, $half> = BatchNorms::new();
                &PASSES
            }
        }
    };
}

halves!(bf16);
halves!(f16);
