//! Operands packed once and used many times: weights at inference, or one matrix against many.

use std::fmt;

use super::blocking::{Blocking, even_pieces};
use super::driver::pack_columns;
use super::plan::Operand;
use super::{TileSize, operand};
use crate::buffer::AlignedVec;
use crate::dispatch::{Isa, caches};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::{Float, Kernel, Simd};
use crate::view::MatRef;

/// A right operand B, `k x n`, packed into panels for one instruction set.
///
/// A product with it gives the same bits as with the matrix it was made from. It takes the memory
/// of B, its columns rounded up to whole vectors.
pub struct PackedB<T> {
    panels: AlignedVec<T>,
    shape: [usize; 2],
    isa: Isa,
    /// Steps per block of k, and columns with padding.
    layout: [usize; 2],
}

impl<T: Float> PackedB<T> {
    /// Packs `b` for the fastest path here. One read of B and one write.
    ///
    /// # Errors
    /// If the panels would not fit the address space, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn new(b: MatRef<'_, T>) -> Result<Self> {
        Self::for_isa(b, Exec::default().path()?)
    }

    /// Packs `b` for a given path.
    ///
    /// # Errors
    /// If the panels would not fit the address space.
    pub fn for_isa(b: MatRef<'_, T>, isa: Isa) -> Result<Self> {
        let [k, n] = [b.rows(), b.cols()];
        let lanes = isa.run::<T, _>(Lanes);
        let overflow = || {
            let got = format!("{k} x {n}");
            Error::new(
                ErrorKind::Overflow,
                "packed matrix",
                "a size that fits the address space",
                got,
            )
        };
        let padded = n.checked_next_multiple_of(lanes).ok_or_else(overflow)?;
        let size = padded.checked_mul(k).ok_or_else(overflow)?;
        let mut panels = AlignedVec::zeroed(size).ok_or_else(overflow)?;
        let tile = isa.run::<T, _>(TileSize);
        let kc = Blocking::new(size_of::<T>(), tile[1], caches()).fitted(k).kc;
        let to = panels.as_mut_ptr();
        if n > 0 {
            isa.run(PackWhole { b: operand(&b), shape: [k, n], layout: [kc, padded], to });
        }
        Ok(Self { panels, shape: [k, n], isa, layout: [kc, padded] })
    }

    /// Number of rows of B.
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Number of columns of B.
    pub fn cols(&self) -> usize {
        self.shape[1]
    }

    /// The path that the panels are made for; products with them run on it.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub(super) fn layout(&self) -> [usize; 2] {
        self.layout
    }

    pub(super) fn operand(&self) -> Operand<T> {
        Operand { start: self.panels.as_ptr(), strides: [0, 0] }
    }
}

impl<T> fmt::Debug for PackedB<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [k, n] = self.shape;
        write!(f, "PackedB({k} x {n}, {})", self.isa)
    }
}

/// Elements per vector of an instruction set.
struct Lanes;

impl<T: Float> Kernel<T> for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd<T>>(self, _simd: S) -> usize {
        S::LANES
    }
}

/// Packs all blocks of k, one after the other.
struct PackWhole<T> {
    b: Operand<T>,
    shape: [usize; 2],
    layout: [usize; 2],
    to: *mut T,
}

impl<T: Float> Kernel<T> for PackWhole<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let [k, n] = self.shape;
        let [kc, padded] = self.layout;
        for (step, steps) in even_pieces(k, kc) {
            let b = Operand { start: self.b.at(step, 0), ..self.b };
            pack_columns(simd, b, [steps, n], self.to.wrapping_add(step * padded));
        }
    }
}
