//! How exactly products of `f32` matrices are computed.

use std::fmt;

use super::packed::Factor;
use super::{Gemm, SumsTo};
use crate::simd::Float;

/// How exactly products of `f32` matrices are computed. What is not the default is asked for by name,
/// [of a product](Gemm::precision) or [of a packed operand](super::PackedB::for_precision), and
/// changes products of `f32` on the path `amx`; those of `f64` and of halves are what they are without it.
///
/// `Bf16x6` and `Bf16x3` run where tiles exist, and are `F32` elsewhere, which is never less accurate than
/// `Bf16x3`. `Bf16` rounds the operands everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// Products and sums in `f32`.
    #[default]
    F32,
    /// Each value is the sum of three `bf16`, exactly, and six products of these are summed in `f32`: the
    /// two that are left out together with the smallest are below a rounding of the product. Up to about
    /// 4096 steps the error is below that of `F32`, because rows of 32 steps are summed at once.
    Bf16x6,
    /// Each value is nearly the sum of two `bf16`, and three products of these are summed in `f32`: each
    /// product errs by up to 2^-15 of itself, typically by a tenth of that.
    Bf16x3,
    /// Each value is rounded to the nearest `bf16`, ties to even, and products of these are summed in
    /// `f32`: each product errs by up to 2^-8 of itself. On every path the operands are rounded so, and on
    /// `amx` the product is the [`batch_invariant`](Gemm::batch_invariant) one of [`bf16`](crate::bf16)
    /// matrices, bit for bit.
    Bf16,
}

impl Precision {
    /// `f32`, `bf16x6`, `bf16x3` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16x6 => "bf16x6",
            Self::Bf16x3 => "bf16x3",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a, T: Float, E: SumsTo<T>> Gemm<'a, T, E> {
    /// How exactly the product of `f32` matrices is computed; an operand that was packed before brings the
    /// precision that it was packed for. Everything else is as without it: bits do not depend on the number
    /// of threads, and a row of a [`batch_invariant`](Self::batch_invariant) product has the same ones in any batch.
    ///
    /// ```
    /// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, Precision};
    /// let a = MatRef::new(&[1.0_f32, 2.0, 3.0, 4.0], 2, 2)?;
    /// let mut c = [0.0; 4];
    /// let product = Gemm::new(a, a.t())?.precision(Precision::Bf16x6);
    /// product.run(MatMut::new(&mut c, 2, 2)?, Exec::default())?;
    /// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn precision(self, wanted: Precision) -> Self {
        match (self.a, self.b) {
            (Factor::View(_), Factor::View(_)) => Self { precision: wanted, ..self },
            _ => self,
        }
    }
}
