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
use crate::simd::{Float, Half, MOST_LANES, Simd};

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

    /// Whether a few rows are multiplied in a way of their own; see [`few`](super::few).
    #[doc(hidden)]
    const FEW: bool = false;
    /// Multiply-adds of products that vectors compute faster than tiles, at most.
    #[doc(hidden)]
    const BESIDE_TILES: usize = 0;

    /// The same value in the type of the sums, exactly.
    fn widen(self) -> Self::Sum;
    /// Two vectors of the neighbours from `from` on, in the order that [`in_order`](Self::in_order) knows.
    ///
    /// # Safety
    /// `2 * LANES` elements must be readable.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn load_two<S: Simd<Self::Sum>>(simd: S, from: *const Self) -> [S::V; 2] {
        // SAFETY: as promised by the caller.
        unsafe { Self::load_some(simd, from, 2 * S::LANES) }
    }
    /// The first `count` neighbours from `from` on, one vector after the other, then zeros.
    ///
    /// # Safety
    /// They must be readable, and at most `2 * LANES`.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn load_some<S: Simd<Self::Sum>>(simd: S, from: *const Self, count: usize) -> [S::V; 2] {
        let mut values = [Self::Sum::ZERO; 2 * MOST_LANES];
        for (i, value) in values[..count].iter_mut().enumerate() {
            // SAFETY: as promised by the caller.
            *value = unsafe { *from.wrapping_add(i) }.widen();
        }
        [simd.load(&values), simd.load(&values[S::LANES..])]
    }
    /// Writes lanes that were loaded by [`load_two`](Self::load_two) as the neighbours that they were.
    #[doc(hidden)]
    #[inline(always)]
    fn in_order<S: Simd<Self::Sum>>(simd: S, lanes: [S::V; 2], to: &mut [Self::Sum]) {
        simd.store(lanes[0], to);
        simd.store(lanes[1], &mut to[S::LANES..]);
    }
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

/// The 32 or fewer halves from `from` on as vectors, one after the other.
///
/// # Safety
/// As of [`Element::load_some`].
#[inline(always)]
unsafe fn load_halves<H: Half, S: Simd<f32>>(simd: S, from: *const H, count: usize) -> [S::V; 2] {
    // SAFETY: as promised by the caller.
    let halves = unsafe { std::slice::from_raw_parts(from, count) };
    let (low, high) = halves.split_at(count.min(S::LANES));
    [simd.load_half_partial(low), simd.load_half_partial(high)]
}

/// The members of halves, which have tiles of their own.
macro_rules! half_element {
    ($half:ty; $($members:tt)*) => {
        impl Element for $half {
            type Sum = f32;
            const IN_PLACE: bool = false;
            const FEW: bool = true;

            #[inline(always)]
            fn widen(self) -> f32 {
                Half::widen(self)
            }
            #[inline(always)]
            unsafe fn load_some<S: Simd<f32>>(
                simd: S,
                from: *const Self,
                count: usize,
            ) -> [S::V; 2] {
                // SAFETY: as promised by the caller.
                unsafe { load_halves(simd, from, count) }
            }
            $($members)*
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
    };
}

half_element! {
    bf16;
    const BESIDE_TILES: usize = 16 * 16 * 16;
    #[inline(always)]
    unsafe fn load_two<S: Simd<f32>>(simd: S, from: *const Self) -> [S::V; 2] {
        // SAFETY: as promised by the caller.
        unsafe { simd.load_pairs(from) }
    }
    #[inline(always)]
    fn in_order<S: Simd<f32>>(simd: S, lanes: [S::V; 2], to: &mut [f32]) {
        let mut both = [[0.0; MOST_LANES]; 2];
        simd.store(lanes[0], &mut both[0]);
        simd.store(lanes[1], &mut both[1]);
        for (i, pair) in to[..2 * S::LANES].chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[both[0][i], both[1][i]]);
        }
    }
}
half_element! {
    f16;
    const BESIDE_TILES: usize = 48 * 48 * 48;
    #[inline(always)]
    unsafe fn load_two<S: Simd<f32>>(simd: S, from: *const Self) -> [S::V; 2] {
        // SAFETY: as promised by the caller.
        let halves = unsafe { std::slice::from_raw_parts(from, 2 * S::LANES) };
        simd.load_halves(halves)
    }
}
