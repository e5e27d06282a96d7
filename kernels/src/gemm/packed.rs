//! Operands packed once and used many times: weights at inference, or one matrix against many.

use std::fmt;
use std::marker::PhantomData;

use super::blocking::{Blocking, even_pieces};
use super::driver::pack_columns;
use super::element::Element;
use super::microkernel::TileTable;
use super::operand;
use super::plan::Operand;
use crate::buffer::AlignedVec;
use crate::dispatch::{Isa, caches};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::{Kernel, Simd};
use crate::view::MatRef;

/// A right operand B, `k x n`, packed into panels for one instruction set.
///
/// A product with it gives the same bits as with the matrix it was made from. It takes the memory
/// of B, its columns rounded up to whole vectors; halves for vector paths take that of `f32`, and
/// for `amx` their own with columns rounded up to 16 and rows to 32.
pub struct PackedB<E> {
    panels: AlignedVec<E>,
    shape: [usize; 2],
    isa: Isa,
    /// Steps per block of k, and columns with padding.
    layout: [usize; 2],
}

impl<E: Element> PackedB<E> {
    /// Packs `b` for the fastest path here. One read of B and one write.
    ///
    /// # Errors
    /// If the panels would not fit the address space, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn new(b: MatRef<'_, E>) -> Result<Self> {
        Self::for_isa(b, Exec::default().path_for_halves()?)
    }

    /// Packs `b` for a given path, or the one that takes its type there.
    ///
    /// # Errors
    /// If the panels would not fit the address space.
    pub fn for_isa(b: MatRef<'_, E>, isa: Isa) -> Result<Self> {
        let isa = E::path_on(isa);
        let shape = [b.rows(), b.cols()];
        let overflow = || {
            let got = format!("{} x {}", b.rows(), b.cols());
            Error::new(
                ErrorKind::Overflow,
                "packed matrix",
                "a size that fits the address space",
                got,
            )
        };
        let (layout, size) = E::packed_layout(isa, shape).ok_or_else(overflow)?;
        let mut panels = AlignedVec::<E>::zeroed(size).ok_or_else(overflow)?;
        let to = panels.as_mut_ptr().cast();
        if b.cols() > 0 {
            E::pack(isa, PackWhole { b: operand(&b), shape, layout, to });
        }
        Ok(Self { panels, shape, isa, layout })
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

    pub(super) fn operand(&self) -> Operand<E> {
        Operand { start: self.panels.as_ptr(), strides: [0, 0] }
    }
}

impl<E> fmt::Debug for PackedB<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [k, n] = self.shape;
        write!(f, "PackedB({k} x {n}, {})", self.isa)
    }
}

/// Steps per block of k and padded columns of a `shape` packed for vector tiles, and the elements
/// that it takes the room of.
pub(super) fn layout<E: Element>(isa: Isa, shape: [usize; 2]) -> Option<([usize; 2], usize)> {
    let [k, n] = shape;
    let [lanes, cols] = isa.run(VectorAndTile::<E>(PhantomData));
    let padded = n.checked_next_multiple_of(lanes)?;
    let size = padded.checked_mul(k)?.checked_mul(size_of::<E::Sum>() / size_of::<E>())?;
    let kc = Blocking::new(size_of::<E::Sum>(), cols, caches()).fitted(k).kc;
    Some(([kc, padded], size))
}

/// Elements per vector and columns per tile of an instruction set.
struct VectorAndTile<E>(PhantomData<E>);

impl<E: Element> Kernel<E::Sum> for VectorAndTile<E> {
    type Output = [usize; 2];

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, _simd: S) -> [usize; 2] {
        [S::LANES, TileTable::<S, E::Sum>::COLS]
    }
}

/// Packs all blocks of k, one after the other.
pub struct PackWhole<E: Element> {
    pub(super) b: Operand<E>,
    pub(super) shape: [usize; 2],
    pub(super) layout: [usize; 2],
    pub(super) to: *mut E::Sum,
}

impl<E: Element> Kernel<E::Sum> for PackWhole<E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let [k, n] = self.shape;
        let [kc, padded] = self.layout;
        for (step, steps) in even_pieces(k, kc) {
            let b = Operand { start: self.b.at(step, 0), ..self.b };
            pack_columns(simd, b, [steps, n], self.to.wrapping_add(step * padded));
        }
    }
}
