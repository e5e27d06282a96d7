//! Elementary functions along slices. One read and one write per element.

use super::elementwise::{Unary, map};
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::simd::{Float, Simd, math};

/// An operation of one function: its struct, its checks and its way through the table.
macro_rules! elementary {
    ($(#[$doc:meta])* $op:ident, $name:ident, $of:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// If the lengths differ.
        pub fn $name<T: Float>(x: &[T], y: &mut [T]) -> Result<()> {
            $op::new(x, y)?.run(Exec::default())
        }

        #[doc = concat!("See [`", stringify!($name), "()`].")]
        #[derive(Debug)]
        pub struct $op<'a, T> {
            x: &'a [T],
            y: &'a mut [T],
        }

        impl<'a, T: Float> $op<'a, T> {
            /// Checks the arguments.
            ///
            /// # Errors
            /// If the lengths differ.
            pub fn new(x: &'a [T], y: &'a mut [T]) -> Result<Self> {
                check_len(concat!(stringify!($name), " output"), x.len(), y.len())?;
                Ok(Self { x, y })
            }

            /// Writes `y`.
            ///
            /// # Errors
            /// If `TILEWISE_MAX_ISA` holds an unknown name.
            pub fn run(self, exec: Exec) -> Result<()> {
                (T::compiled().$name)(self, exec)
            }

            pub(crate) fn execute(self, exec: Exec) -> Result<()> {
                map($of, self.x, self.y, exec)
            }
        }

        #[derive(Clone, Copy)]
        struct $of;

        impl<T: Float> Unary<T> for $of {
            #[inline(always)]
            fn apply<S: Simd<T>>(self, simd: S, x: S::V) -> S::V {
                math::$name(simd, x)
            }
        }
    };
}

elementary! {
    /// `y = e^x`, elementwise, within 1 ULP. e^-∞ = 0, overflow gives +∞, NaN stays NaN.
    Exp, exp, ExpOf
}

elementary! {
    /// `y = e^x - 1`, elementwise, within 2 ULP, also where x is small. -1 at -∞, overflow gives +∞, NaN
    /// stays NaN, -0 stays -0.
    Expm1, expm1, Expm1Of
}

elementary! {
    /// `y = ln x`, elementwise, within 1 ULP. ln 0 = -∞; a negative argument and NaN give NaN.
    Ln, ln, LnOf
}

elementary! {
    /// `y = ln(1 + x)`, elementwise, within 2 ULP, also where x is small. -∞ at -1; an argument below -1 and
    /// NaN give NaN; -0 stays -0.
    Log1p, log1p, Log1pOf
}

elementary! {
    /// `y = erf x = 2/√π ∫ e^(-t²) dt` from 0 to x, elementwise, within 2 ULP. ±1 at ±∞, NaN stays NaN, -0
    /// stays -0.
    Erf, erf, ErfOf
}

elementary! {
    /// `y = 1 / √x`, elementwise, within 2 ULP. ±∞ at ±0, 0 at +∞; a negative argument and NaN give NaN.
    Rsqrt, rsqrt, RsqrtOf
}
