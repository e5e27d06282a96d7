//! What state is made of: numbers like the parameters, or halves of them.

use half::bf16;

use super::many::StepTensor;
use super::{AdagradStep, AdamStep, MomentumStep, RmsPropStep};
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::{Float, MOST_LANES, Simd};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
}

/// A random number for each element of two vectors, or more.
pub(super) type Bits = [u32; 2 * MOST_LANES];

/// Types that the state beside parameters of `T` can have: `T` itself, or `bf16` beside `f32`, which is
/// computed in `f32` and rounded when it is stored ([`StateRounding`](crate::StateRounding)).
pub trait State<T: Float>: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// The steps on such state, compiled in this crate.
    #[doc(hidden)]
    fn steps() -> &'static Steps<T, Self>;

    /// At most `2 * LANES` elements as two vectors, the other lanes zero.
    #[doc(hidden)]
    fn load<S: Simd<T>>(simd: S, src: &[Self]) -> [S::V; 2];

    /// Writes at most `2 * LANES` elements; rounded by random numbers of 16 bits where there are some.
    #[doc(hidden)]
    fn store<S: Simd<T>>(simd: S, v: [S::V; 2], dst: &mut [Self], noise: Option<&Bits>);
}

macro_rules! same_type {
    ($t:ident) => {
        impl State<$t> for $t {
            fn steps() -> &'static Steps<$t, $t> {
                static STEPS: Steps<$t, $t> = Steps::new();
                &STEPS
            }

            #[inline(always)]
            fn load<S: Simd<$t>>(simd: S, src: &[$t]) -> [S::V; 2] {
                load(simd, src)
            }

            #[inline(always)]
            fn store<S: Simd<$t>>(simd: S, v: [S::V; 2], dst: &mut [$t], _: Option<&Bits>) {
                store(simd, v, dst);
            }
        }
    };
}

same_type!(f32);
same_type!(f64);

impl State<f32> for bf16 {
    fn steps() -> &'static Steps<f32, bf16> {
        static STEPS: Steps<f32, bf16> = Steps::new();
        &STEPS
    }

    #[inline(always)]
    fn load<S: Simd<f32>>(simd: S, src: &[bf16]) -> [S::V; 2] {
        if src.len() == 2 * S::LANES {
            return simd.load_halves(src);
        }
        let mut copy = [bf16::ZERO; 2 * MOST_LANES];
        copy[..src.len()].copy_from_slice(src);
        simd.load_halves(&copy)
    }

    #[inline(always)]
    fn store<S: Simd<f32>>(simd: S, v: [S::V; 2], dst: &mut [bf16], noise: Option<&Bits>) {
        let whole = dst.len() == 2 * S::LANES;
        match noise {
            None if whole => simd.store_halves(v, dst),
            None => {
                let mut copy = [bf16::ZERO; 2 * MOST_LANES];
                simd.store_halves(v, &mut copy);
                dst.copy_from_slice(&copy[..dst.len()]);
            }
            Some(noise) => {
                let mut values = [0.0; 2 * MOST_LANES];
                store(simd, v, &mut values[..2 * S::LANES]);
                let (values, noise) = (&values[..dst.len()], &noise[..dst.len()]);
                for i in 0..dst.len() {
                    dst[i] = dithered(values[i], noise[i]);
                }
            }
        }
    }
}

/// Two vectors of at most `2 * LANES` elements, the other lanes zero.
#[inline(always)]
pub(super) fn load<T: Float, S: Simd<T>>(simd: S, src: &[T]) -> [S::V; 2] {
    if src.len() == 2 * S::LANES {
        return [simd.load(src), simd.load(&src[S::LANES..])];
    }
    [simd.load_partial(src), simd.load_partial(src.get(S::LANES..).unwrap_or_default())]
}

/// Writes at most `2 * LANES` elements.
#[inline(always)]
pub(super) fn store<T: Float, S: Simd<T>>(simd: S, v: [S::V; 2], dst: &mut [T]) {
    let (low, high) = dst.split_at_mut(S::LANES.min(dst.len()));
    if high.len() == S::LANES {
        simd.store(v[0], low);
        simd.store(v[1], high);
    } else {
        simd.store_partial(v[0], low);
        simd.store_partial(v[1], high);
    }
}

/// `x` rounded up with the probability of its distance from the `bf16` below, in units: that of 16
/// random bits carrying into the upper half. What is a `bf16` stays as it is; so does NaN, but quiet.
#[inline(always)]
fn dithered(x: f32, noise: u32) -> bf16 {
    /// What makes a NaN quiet, in its upper half.
    const QUIET: u32 = 0x40;
    let bits = x.to_bits();
    let chosen = if x.is_nan() { bits >> 16 | QUIET } else { bits.wrapping_add(noise) >> 16 };
    bf16::from_bits(chosen as u16)
}

/// Entries to the steps on parameters of `T` with state of `M`, one each.
#[derive(Debug)]
#[expect(clippy::type_complexity, reason = "an entry's type is what its operation takes and gives")]
pub struct Steps<T, M> {
    pub(super) momentum: fn(&MomentumStep, &mut [StepTensor<'_, T, 1, M>], Exec) -> Result<()>,
    pub(super) rmsprop: fn(&RmsPropStep, &mut [StepTensor<'_, T, 1, M>], Exec) -> Result<()>,
    pub(super) adagrad: fn(&AdagradStep, &mut [StepTensor<'_, T, 1, M>], Exec) -> Result<()>,
    pub(super) adam: fn(&AdamStep, &mut [StepTensor<'_, T, 2, M>], u64, Exec) -> Result<()>,
}

impl<T: Float, M: State<T>> Steps<T, M> {
    const fn new() -> Self {
        Self {
            momentum: MomentumStep::execute,
            rmsprop: RmsPropStep::execute,
            adagrad: AdagradStep::execute,
            adam: AdamStep::execute,
        }
    }
}
