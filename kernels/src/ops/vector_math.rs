//! Elementary functions along slices. One read and one write per element.

use super::elementwise::{Unary, map};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::simd::{Float, Simd, math};

/// `y = e^x`, elementwise, within 1 ULP. e^-∞ = 0, overflow gives +∞, NaN stays NaN.
///
/// # Errors
/// If the lengths differ.
pub fn exp<T: Float>(x: &[T], y: &mut [T]) -> Result<()> {
    Exp::new(x, y)?.run(Exec::default())
}

/// `y = ln x`, elementwise, within 1 ULP. ln 0 = -∞; a negative argument and NaN give NaN.
///
/// # Errors
/// If the lengths differ.
pub fn ln<T: Float>(x: &[T], y: &mut [T]) -> Result<()> {
    Ln::new(x, y)?.run(Exec::default())
}

/// e^x along a slice; see [`exp`].
#[derive(Debug)]
pub struct Exp<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<'a, T: Float> Exp<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(x: &'a [T], y: &'a mut [T]) -> Result<Self> {
        check_len("exp output", x.len(), y.len())?;
        Ok(Self { x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().exp)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        map(ExpOf, self.x, self.y, exec)
    }
}

/// ln x along a slice; see [`ln`].
#[derive(Debug)]
pub struct Ln<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<'a, T: Float> Ln<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(x: &'a [T], y: &'a mut [T]) -> Result<Self> {
        check_len("ln output", x.len(), y.len())?;
        Ok(Self { x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        (T::compiled().ln)(self, exec)
    }

    pub(crate) fn execute(self, exec: Exec) -> Result<()> {
        map(LnOf, self.x, self.y, exec)
    }
}

#[derive(Clone, Copy)]
struct ExpOf;

impl<T: Float> Unary<T> for ExpOf {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::exp(simd, x)
    }
}

#[derive(Clone, Copy)]
struct LnOf;

impl<T: Float> Unary<T> for LnOf {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
        math::ln(simd, x)
    }
}
