//! What tiles are made of: bf16 as they are, or numbers as sums of them.

use half::{bf16, f16};

use super::super::element::Element;
use super::super::plan::Operand;
use super::super::precision::Precision;
use super::tile::{ABREAST, PAIRS, SIDE, STEPS};
use crate::dispatch::Amx;
use crate::simd::{Avx512, Half, Simd};

/// A vector beside the tiles.
pub(in super::super) type Vector = <Avx512 as Simd<f32>>::V;

/// The most steps of 32 in a block of k of parts, where sums of blocks are added: a panel of six products then
/// takes 72 KiB of the second level. It decides bits, so the caches do not decide it.
pub(super) const MOST_STEPS: usize = 12;

/// Steps of a product from which on blocks are twice as long: what they lose by not staying near is less than
/// what forty additions of blocks would round away.
pub(super) const LONG_STEPS: usize = 8192 / 32;

/// How tiles of bf16 multiply an element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Scheme {
    /// One bf16 for each value.
    One,
    /// Two parts, three products of them.
    Three,
    /// Two parts, all four products.
    Four,
    /// Three parts, six products.
    Six,
}

impl Scheme {
    /// bf16 for each value.
    pub(super) fn parts(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three | Self::Four => 2,
            Self::Six => 3,
        }
    }

    /// Pairs of bf16 of one step in a whole panel.
    pub(super) fn pairs(self) -> usize {
        self.parts() * ABREAST * PAIRS
    }
}

/// An element type that tiles multiply.
pub(in super::super) trait Tiled: Element<Sum = f32> {
    /// How products of a precision are computed.
    fn scheme(precision: Precision) -> Scheme;

    /// 16 neighbours, exactly.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn vector(amx: Amx, from: *const Self) -> Vector;

    /// Sixteen lanes and 32 steps, or the `exist` of them that exist, as bf16: rounded, in `room`, if they
    /// are none.
    #[inline(always)]
    fn as_bf16(from: Operand<Self>, exist: [usize; 2], room: &mut Room) -> Operand<bf16> {
        let round = |lane, step| {
            // SAFETY: callers name elements that exist.
            bf16::narrow(unsafe { *from.at(lane, step) }.widen())
        };
        let [lanes, steps] = exist;
        if from.strides[0] == 1 && from.strides[1] != 1 {
            for (step, row) in room.0[..steps * SIDE].chunks_exact_mut(SIDE).enumerate() {
                row[..lanes].iter_mut().enumerate().for_each(|(i, to)| *to = round(i, step));
            }
            return Operand { start: room.0.as_ptr(), strides: [1, SIDE] };
        }
        for (lane, row) in room.0[..lanes * STEPS].chunks_exact_mut(STEPS).enumerate() {
            row[..steps].iter_mut().enumerate().for_each(|(i, to)| *to = round(lane, i));
        }
        Operand { start: room.0.as_ptr(), strides: [STEPS, 1] }
    }
}

/// Sixteen lanes of 32 steps.
pub(in super::super) struct Room(pub(super) [bf16; SIDE * STEPS]);

impl Tiled for bf16 {
    fn scheme(_: Precision) -> Scheme {
        Scheme::One
    }

    #[inline(always)]
    fn as_bf16(from: Operand<Self>, _exist: [usize; 2], _room: &mut Room) -> Operand<Self> {
        from
    }

    #[inline(always)]
    unsafe fn vector(amx: Amx, from: *const Self) -> Vector {
        // SAFETY: as promised by the caller.
        unsafe { amx.vectors().load_widened(from) }
    }
}

/// Eleven bits are two parts, exactly.
impl Tiled for f16 {
    fn scheme(_: Precision) -> Scheme {
        Scheme::Four
    }

    #[inline(always)]
    unsafe fn vector(amx: Amx, from: *const Self) -> Vector {
        // SAFETY: as promised by the caller.
        unsafe { amx.vectors().load_widened(from) }
    }
}

impl Tiled for f32 {
    fn scheme(precision: Precision) -> Scheme {
        match precision {
            Precision::Bf16 => Scheme::One,
            Precision::Bf16x3 => Scheme::Three,
            Precision::Bf16x6 | Precision::F32 => Scheme::Six,
        }
    }

    #[inline(always)]
    unsafe fn vector(amx: Amx, from: *const Self) -> Vector {
        // SAFETY: as promised by the caller.
        unsafe { amx.vectors().load_ptr(from) }
    }
}
