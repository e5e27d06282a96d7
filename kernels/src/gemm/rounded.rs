//! Products of `f32` matrices whose values are rounded to `bf16`, on vector paths.

use half::bf16;

use super::element::{Element, vector_tiles};
use super::packed::{PackWhole, Side, layout};
use super::plan::{Multiply, Operand, Problem};
use super::precision::Precision;
use super::report::{Planning, Steps};
use crate::dispatch::Isa;
use crate::simd::Half;

/// An `f32` that packing rounds to the nearest `bf16`, and widens again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
pub(super) struct Rounded(f32);

impl Element for Rounded {
    type Sum = f32;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        Half::widen(<bf16 as Half>::narrow(self.0))
    }
    vector_tiles!();
}

impl Rounded {
    /// The values of an operand, to be rounded.
    pub(super) fn of(operand: Operand<f32>) -> Operand<Self> {
        Operand { start: operand.start.cast(), strides: operand.strides }
    }
}

/// The same product of rounded values.
pub(super) fn rounded<'a>(work: &Multiply<'a, f32>) -> Multiply<'a, Rounded> {
    let Multiply { problem, forced, prepacked, precision, invariant, par } = *work;
    let Problem { a, b, c, shape, store } = problem;
    let problem = Problem { a: Rounded::of(a), b: Rounded::of(b), c, shape, store };
    Multiply { problem, forced, prepacked, precision, invariant, par }
}

/// The same packing of rounded values.
pub(super) fn rounded_whole(work: PackWhole<f32>) -> PackWhole<Rounded> {
    let PackWhole { side, from, shape, layout, to } = work;
    PackWhole { side, from: Rounded::of(from), shape, layout, to }
}
