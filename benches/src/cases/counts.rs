//! How floating-point operations are counted: by what the operation needs, the same for everybody who
//! runs it.
//!
//! Additions, subtractions, multiplications, divisions, square roots and comparisons (a maximum, a
//! choice) count one each, a multiply-add two. An elementary function counts what our polynomial takes
//! for it, argument reduction included. What happens once per row, channel or call, and conversions, do
//! not count. Of a training step only the matrix products do.

use tilewise_kernels::Float;

/// e^x of an x that is at most 0: six operations for x = n ln2 + r, a polynomial of 5 (`f64`: 10)
/// coefficients and what makes e^r of it, the power of two, and the zero far below.
pub(super) fn exp<T: Float>() -> usize {
    22 + 2 * (coefficients::<T>(5, 10) - 5)
}

/// ln x of a normal x: exponent and mantissa, a polynomial of 9 (`f64`: 20) coefficients and what joins
/// the two.
pub(super) fn ln<T: Float>() -> usize {
    32 + 2 * (coefficients::<T>(9, 20) - 9)
}

/// erf x: beyond 1 a polynomial of 8 (`f64`: 24) coefficients, e^x of it and what is left of 1.
pub(super) fn erf<T: Float>() -> usize {
    exp::<T>() + 1 + 2 * coefficients::<T>(8, 24)
}

/// GELU: a quotient, a polynomial of 10 (`f64`: 23) coefficients, e^x of a square in two parts, and what joins
/// them.
pub(super) fn gelu<T: Float>() -> usize {
    exp::<T>() + 14 + 2 * coefficients::<T>(10, 23)
}

fn coefficients<T: Float>(single: usize, double: usize) -> usize {
    if size_of::<T>() == 4 { single } else { double }
}
