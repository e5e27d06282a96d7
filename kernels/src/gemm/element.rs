//! What matrices are made of: each type, the type its products are summed in, and its machinery.

use std::fmt::Debug;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::narrow::{Narrow, Narrows};
use super::packed::{PackWhole, Side, layout};
use super::plan::Multiply;
use super::precision::Precision;
use super::report::{Planning, Steps};
use super::rounded::{rounded, rounded_whole};
use crate::dispatch::Isa;
use crate::simd::{Float, Half};

/// What a matrix operand is made of: `f32`, `f64`, [`bf16`] or [`f16`](struct@crate::f16). Sealed: the
/// methods take what only this crate can make.
///
/// Not generic over the instruction set, so that the few hundred tiles are compiled once, in this
/// crate, and not again in every crate that multiplies.
pub trait Element: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// What products of this type are summed in, and what C is made of.
    type Sum: Float;
    /// Whether the vector tiles can read operands of this type where they lie.
    #[doc(hidden)]
    const IN_PLACE: bool;

    /// The same value in the type of the sums, exactly.
    fn widen(self) -> Self::Sum;
    /// The path that products of this type and of a precision take where `isa` may be used.
    #[doc(hidden)]
    #[inline]
    fn path_on(isa: Isa, _precision: Precision) -> Isa {
        isa.without_tiles()
    }
    /// How `work` would be done on `isa`.
    #[doc(hidden)]
    fn steps(isa: Isa, work: &Multiply<'_, Self>) -> Steps;
    /// Does `work` on `isa` if it is small enough, and tells whether it did.
    #[doc(hidden)]
    fn multiply_narrow(isa: Isa, work: &Narrow<Self::Sum>) -> bool {
        Self::Sum::dispatch(isa.for_runs_of(work.shape[1] * size_of::<Self::Sum>()), work)
    }
    /// The same for several.
    #[doc(hidden)]
    fn multiply_narrows(isa: Isa, work: &Narrows<Self::Sum>) -> bool {
        Self::Sum::dispatch(isa.for_runs_of(work.first.shape[1] * size_of::<Self::Sum>()), work)
    }
    /// Does `work` on `isa`.
    #[doc(hidden)]
    fn multiply(isa: Isa, work: &Multiply<'_, Self>);
    /// The layout of a packed operand of `shape[0]` steps and `shape[1]` rows (of A) or columns (of B),
    /// and the elements of this type that it takes the room of.
    #[doc(hidden)]
    fn packed_layout(
        isa: Isa,
        precision: Precision,
        side: Side,
        shape: [usize; 2],
    ) -> Option<([usize; 2], usize)>;
    /// Packs an operand.
    #[doc(hidden)]
    fn pack(isa: Isa, precision: Precision, work: PackWhole<Self>);
}

/// Types whose products are summed in `T`: `T` itself, and for `f32` also [`bf16`] and
/// [`f16`](struct@crate::f16).
pub trait SumsTo<T>: Element<Sum = T> {}

impl SumsTo<Self> for f32 {}
impl SumsTo<Self> for f64 {}
impl SumsTo<f32> for bf16 {}
impl SumsTo<f32> for f16 {}

/// The members that send everything to the vector tiles.
macro_rules! vector_tiles {
    () => {
        #[inline]
        fn steps(isa: Isa, work: &Multiply<'_, Self>) -> Steps {
            isa.run(Planning { work })
        }
        fn multiply(isa: Isa, work: &Multiply<'_, Self>) {
            isa.run(work);
        }
        fn packed_layout(
            isa: Isa,
            _precision: Precision,
            side: Side,
            shape: [usize; 2],
        ) -> Option<([usize; 2], usize)> {
            layout::<Self>(isa, side, shape)
        }
        fn pack(isa: Isa, _precision: Precision, work: PackWhole<Self>) {
            isa.run(work);
        }
    };
}

pub(super) use vector_tiles;

impl Element for f64 {
    type Sum = Self;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn widen(self) -> Self {
        self
    }
    vector_tiles!();
}

/// Only a product that is not to be computed in `f32` comes with the path `amx`.
impl Element for f32 {
    type Sum = Self;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn widen(self) -> Self {
        self
    }
    #[inline]
    fn path_on(isa: Isa, precision: Precision) -> Isa {
        if precision == Precision::F32 { isa.without_tiles() } else { isa }
    }
    fn steps(isa: Isa, work: &Multiply<'_, Self>) -> Steps {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::steps(work),
            _ if work.precision == Precision::Bf16 => isa.run(Planning { work: &rounded(work) }),
            _ => isa.run(Planning { work }),
        }
    }
    #[inline]
    fn multiply(isa: Isa, work: &Multiply<'_, Self>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(token) => amx::multiply(token, *work),
            _ if work.precision == Precision::Bf16 => isa.run(&rounded(work)),
            _ => isa.run(work),
        }
    }
    fn packed_layout(
        isa: Isa,
        precision: Precision,
        side: Side,
        shape: [usize; 2],
    ) -> Option<([usize; 2], usize)> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::packed_layout::<Self>(precision, shape),
            _ => layout::<Self>(isa, side, shape),
        }
    }
    fn pack(isa: Isa, precision: Precision, work: PackWhole<Self>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(token) => amx::pack(token, precision, work),
            _ if precision == Precision::Bf16 => isa.run(rounded_whole(work)),
            _ => isa.run(work),
        }
    }
}

impl Element for f16 {
    type Sum = f32;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        Half::widen(self)
    }
    vector_tiles!();
}

impl Element for bf16 {
    type Sum = f32;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        Half::widen(self)
    }
    #[inline]
    fn path_on(isa: Isa, _precision: Precision) -> Isa {
        isa
    }
    fn steps(isa: Isa, work: &Multiply<'_, Self>) -> Steps {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::steps(work),
            _ => isa.run(Planning { work }),
        }
    }
    fn multiply(isa: Isa, work: &Multiply<'_, Self>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(token) => amx::multiply(token, *work),
            _ => isa.run(work),
        }
    }
    fn packed_layout(
        isa: Isa,
        precision: Precision,
        side: Side,
        shape: [usize; 2],
    ) -> Option<([usize; 2], usize)> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::packed_layout::<Self>(precision, shape),
            _ => layout::<Self>(isa, side, shape),
        }
    }
    fn pack(isa: Isa, precision: Precision, work: PackWhole<Self>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(token) => amx::pack(token, precision, work),
            _ => isa.run(work),
        }
    }
}
