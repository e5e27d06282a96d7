//! Operands packed once and used many times: weights at inference, or one matrix against many.

use std::fmt;
use std::marker::PhantomData;

use super::blocking::{Blocking, even_pieces};
use super::element::Element;
use super::pack::{pack_columns, pack_rows};
use super::plan::Operand;
use super::precision::Precision;
use super::tile_table::TileTable;
use crate::buffer::AlignedVec;
use crate::dispatch::{Isa, caches};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Exec;
use crate::simd::{Kernel, Simd};
use crate::view::MatRef;

/// A left operand A, `m x k`, packed into panels for one instruction set.
///
/// A product with it gives the same bits as a [`batch_invariant`](super::Gemm::batch_invariant) one with the
/// matrix it was made from. It takes the memory of
/// A; halves for vector paths take that of `f32`, and for `amx` their own with rows rounded up to 16
/// and columns to 32.
pub struct PackedA<E>(Panels<E>);

/// A right operand B, `k x n`, packed into panels for one instruction set.
///
/// A product with it gives the same bits as a [`batch_invariant`](super::Gemm::batch_invariant) one with the
/// matrix it was made from. It takes the memory
/// of B, its columns rounded up to whole vectors; halves for vector paths take that of `f32`, and
/// for `amx` their own with columns rounded up to 16 and rows to 32.
pub struct PackedB<E>(Panels<E>);

impl<E: Element> PackedA<E> {
    /// Packs `a` for the fastest path here. One read of it and one write.
    ///
    /// # Errors
    /// If the panels would not fit the address space, or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn new(a: MatRef<'_, E>) -> Result<Self> {
        Self::for_isa(a, Exec::default().path_for_halves()?)
    }

    /// Packs `a` for a given path, or the one that takes its type there.
    ///
    /// # Errors
    /// If the panels would not fit the address space.
    pub fn for_isa(a: MatRef<'_, E>, isa: Isa) -> Result<Self> {
        Self::for_precision(a, Precision::F32, isa)
    }

    /// Packs `a` for products of a precision on a given path, or the one that takes its type there.
    ///
    /// # Errors
    /// If the panels would not fit the address space.
    pub fn for_precision(a: MatRef<'_, E>, precision: Precision, isa: Isa) -> Result<Self> {
        Panels::new(Side::A, a, precision, isa).map(Self)
    }

    /// Number of rows of A.
    pub fn rows(&self) -> usize {
        self.0.shape[0]
    }

    /// Number of columns of A.
    pub fn cols(&self) -> usize {
        self.0.shape[1]
    }

    /// The path that the panels are made for; products with them run on it.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// The precision that the panels are made for.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }
}

impl<E> fmt::Debug for PackedA<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedA({})", self.0)
    }
}

impl<E: Element> PackedB<E> {
    /// Packs `b` for the fastest path here. One read of it and one write.
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
        Self::for_precision(b, Precision::F32, isa)
    }

    /// Packs `b` for products of a precision on a given path, or the one that takes its type there.
    ///
    /// # Errors
    /// If the panels would not fit the address space.
    pub fn for_precision(b: MatRef<'_, E>, precision: Precision, isa: Isa) -> Result<Self> {
        Panels::new(Side::B, b, precision, isa).map(Self)
    }

    /// Number of rows of B.
    pub fn rows(&self) -> usize {
        self.0.shape[0]
    }

    /// Number of columns of B.
    pub fn cols(&self) -> usize {
        self.0.shape[1]
    }

    /// The path that the panels are made for; products with them run on it.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// The precision that the panels are made for.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }
}

impl<E> fmt::Debug for PackedB<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedB({})", self.0)
    }
}

/// A packed operand.
pub(super) struct Panels<E> {
    elements: AlignedVec<E>,
    /// Rows and columns of the matrix.
    shape: [usize; 2],
    isa: Isa,
    precision: Precision,
    /// Steps per block of k, and rows of A or columns of B with padding.
    layout: [usize; 2],
}

impl<E: Element> Panels<E> {
    fn new(side: Side, matrix: MatRef<'_, E>, precision: Precision, isa: Isa) -> Result<Self> {
        let isa = E::path_on(isa, precision);
        let shape = [matrix.rows(), matrix.cols()];
        let overflow = || {
            let got = format!("{} x {}", shape[0], shape[1]);
            let expected = "a size that fits the address space";
            Error::new(ErrorKind::Overflow, "packed matrix", expected, got)
        };
        let along_k = match side {
            Side::A => matrix.t(),
            Side::B => matrix,
        };
        let steps_and_lanes = [along_k.rows(), along_k.cols()];
        let (layout, size) =
            E::packed_layout(isa, precision, side, steps_and_lanes).ok_or_else(overflow)?;
        let mut elements = AlignedVec::<E>::zeroed(size).ok_or_else(overflow)?;
        if along_k.cols() > 0 {
            let (from, to) = (Operand::of(&along_k), elements.as_mut_ptr().cast());
            let work = PackWhole { side, from, shape: steps_and_lanes, layout, to };
            E::pack(isa, precision, work);
        }
        Ok(Self { elements, shape, isa, precision, layout })
    }
}

impl<E> fmt::Display for Panels<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, cols] = self.shape;
        write!(f, "{rows} x {cols}, {} for {}", self.isa, self.precision)
    }
}

/// One of the two operands of a product.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a, E> {
    View(MatRef<'a, E>),
    Packed(&'a Panels<E>),
}

impl<'a, E: Element> Factor<'a, E> {
    #[inline]
    pub(super) fn packed_a(a: &'a PackedA<E>) -> Self {
        Self::Packed(&a.0)
    }

    #[inline]
    pub(super) fn packed_b(b: &'a PackedB<E>) -> Self {
        Self::Packed(&b.0)
    }

    #[inline]
    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Self::View(matrix) => [matrix.rows(), matrix.cols()],
            Self::Packed(panels) => panels.shape,
        }
    }

    /// The path that it was packed for, if it was.
    #[inline]
    pub(super) fn isa(&self) -> Option<Isa> {
        match self {
            Self::View(_) => None,
            Self::Packed(panels) => Some(panels.isa),
        }
    }

    /// The precision that it was packed for, if it was.
    #[inline]
    pub(super) fn precision(&self) -> Option<Precision> {
        match self {
            Self::View(_) => None,
            Self::Packed(panels) => Some(panels.precision),
        }
    }

    /// The layout of its panels, if it is packed.
    #[inline]
    pub(super) fn layout(&self) -> Option<[usize; 2]> {
        match self {
            Self::View(_) => None,
            Self::Packed(panels) => Some(panels.layout),
        }
    }

    /// Its elements or panels.
    #[inline]
    pub(super) fn operand(&self) -> Operand<E> {
        match self {
            Self::View(matrix) => Operand::of(matrix),
            Self::Packed(panels) => Operand { start: panels.elements.as_ptr(), strides: [0, 0] },
        }
    }
}

impl<E> fmt::Debug for Factor<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(matrix) => write!(f, "View({} x {})", matrix.rows(), matrix.cols()),
            Self::Packed(panels) => write!(f, "Packed({panels})"),
        }
    }
}

/// Which operand it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// Steps per block of k and padded lanes (rows of A or columns of B) of an operand packed for vector
/// tiles, `shape[0]` steps of `shape[1]` lanes, and the elements that it takes the room of.
pub(super) fn layout<E: Element>(
    isa: Isa,
    side: Side,
    shape: [usize; 2],
) -> Option<([usize; 2], usize)> {
    let [k, lanes] = shape;
    let [vector, cols] = isa.run(VectorAndTile::<E>(PhantomData));
    let padded = match side {
        Side::A => lanes,
        Side::B => lanes.checked_next_multiple_of(vector)?,
    };
    let size = padded.checked_mul(k)?.checked_mul(size_of::<E::Sum>() / size_of::<E>())?;
    let kc = Blocking::new(size_of::<E::Sum>(), cols, k, caches()).kc;
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
    pub(super) side: Side,
    /// Steps down, rows of A or columns of B across.
    pub(super) from: Operand<E>,
    pub(super) shape: [usize; 2],
    pub(super) layout: [usize; 2],
    pub(super) to: *mut E::Sum,
}

impl<E: Element> Kernel<E::Sum> for PackWhole<E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) {
        let [k, lanes] = self.shape;
        let [kc, padded] = self.layout;
        for (step, steps) in even_pieces(k, kc) {
            let from = Operand { start: self.from.at(step, 0), ..self.from };
            let to = self.to.wrapping_add(step * padded);
            match self.side {
                Side::A => pack_rows(simd, from.t(), [lanes, steps], to, false),
                // Threads may take any strip, so none depends on what comes after it.
                Side::B => pack_columns(simd, from, [steps, lanes], to, [false; 2]),
            };
        }
    }
}
