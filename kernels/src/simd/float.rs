//! The element types and the constants that kernels need of them.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use super::Kernel;
use crate::Compiled;
use crate::State;
use crate::Storage;
use crate::dispatch::Isa;
use crate::gemm::SumsTo;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`. Sealed: kernels are written for exactly these.
pub trait Float:
    sealed::Sealed
    + super::math::Tables
    + SumsTo<Self>
    + Compiled
    + State<Self>
    + Storage<Self>
    + Copy
    + Debug
    + Display
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// The type's name, as in benchmark ids.
    const NAME: &'static str;
    /// 0.
    const ZERO: Self;
    /// -0.
    const NEG_ZERO: Self;
    /// 1/2.
    const HALF: Self;
    /// 1.
    const ONE: Self;
    /// Distance from 1 to the next larger value.
    const EPSILON: Self;
    /// The smallest positive normal value.
    const MIN_POSITIVE: Self;
    /// The largest finite value.
    const MAX: Self;
    /// +infinity.
    const INFINITY: Self;
    /// -infinity.
    const NEG_INFINITY: Self;
    /// A quiet NaN.
    const NAN: Self;

    /// The nearest value of this type.
    fn from_f64(x: f64) -> Self;
    /// The same value as `f64`, exactly.
    fn to_f64(self) -> f64;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
    /// Whether this is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// Runs `kernel` on `isa`: the one place where an instruction set is chosen for a type.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;

    /// The value nearest to a count.
    fn from_usize(n: usize) -> Self {
        Self::from_f64(n as f64)
    }
}

macro_rules! impl_float {
    ($t:ident) => {
        impl Float for $t {
            const NAME: &'static str = stringify!($t);
            const ZERO: Self = 0.0;
            const NEG_ZERO: Self = -0.0;
            const HALF: Self = 0.5;
            const ONE: Self = 1.0;
            const EPSILON: Self = $t::EPSILON;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const MAX: Self = $t::MAX;
            const INFINITY: Self = $t::INFINITY;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const NAN: Self = $t::NAN;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
                use super::Simd;
                match isa {
                    Isa::Portable(token) => super::portable::enter::<$t, K>(token, kernel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(token) => Simd::<$t>::call(token, kernel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(token) => Simd::<$t>::call(token, kernel),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx(token) => Simd::<$t>::call(token.vectors(), kernel),
                }
            }
        }
    };
}

impl_float!(f32);
impl_float!(f64);
