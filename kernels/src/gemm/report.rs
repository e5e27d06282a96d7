//! What a user is told: how a product will be computed, and what is wrong with its operands.

use std::fmt;

use super::blocking::Blocking;
use super::element::Element;
use super::plan::{Method, Multiply, Packing, Source};
use super::tile_table::TileTable;
use crate::dispatch::Isa;
use crate::error::{Error, Result};
use crate::parallel::Split;
use crate::simd::{Kernel, Simd};

/// How a product is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Rows and columns of the largest tile.
    pub(super) tile: [usize; 2],
    pub(super) packing: Packing,
    /// Rectangles of C computed at once.
    pub(super) tasks: usize,
}

/// Tells how [`Multiply`] would run.
pub(super) struct Planning<'a, 'b, E: Element> {
    pub(super) work: &'a Multiply<'b, E>,
}

impl<E: Element> Kernel<E::Sum> for Planning<'_, '_, E> {
    type Output = Steps;

    #[inline(always)]
    fn run<S: Simd<E::Sum>>(self, simd: S) -> Steps {
        let tile = [TileTable::<S, E::Sum>::ROWS, TileTable::<S, E::Sum>::COLS];
        let region = self.work.on(simd);
        let tasks = self.work.par.tasks(region.units(), region.grain());
        Steps { tile, packing: region.packing, tasks }
    }
}

/// How a product will be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GemmPlan {
    pub(super) isa: Isa,
    pub(super) steps: Steps,
}

impl GemmPlan {
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows and columns of the register tile.
    pub fn tile(&self) -> [usize; 2] {
        self.steps.tile
    }

    /// The block sizes.
    pub fn blocking(&self) -> Blocking {
        self.steps.packing.blocking
    }

    /// Whether A and B are copied into panels first.
    pub fn packs(&self) -> [bool; 2] {
        [self.steps.packing.a, self.steps.packing.b].map(|source| source == Source::Pack)
    }

    /// Whether every element is a dot product of contiguous operands, instead of a part of a tile.
    pub fn takes_dot_products(&self) -> bool {
        self.steps.packing.method == Method::Dots
    }

    /// Number of rectangles of C computed at once.
    pub fn tasks(&self) -> usize {
        self.steps.tasks
    }
}

impl fmt::Display for GemmPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Steps { tile: [rows, cols], packing, tasks } = self.steps;
        if self.takes_dot_products() {
            return write!(f, "{} dot products, {tasks} task(s)", self.isa);
        }
        let Blocking { kc, mc, nc } = packing.blocking;
        let [a, b] = [packing.a, packing.b].map(|source| match source {
            Source::InPlace => "in place",
            Source::Pack => "packed",
            Source::Prepacked(_) => "prepacked",
        });
        write!(
            f,
            "{} tile {rows}x{cols}, kc {kc} mc {mc} nc {}, A {a}, B {b}, {} task(s)",
            self.isa,
            if nc == usize::MAX { "all".to_string() } else { nc.to_string() },
            tasks
        )
    }
}

/// Checks that a matrix called `what` has a shape.
#[inline]
pub(super) fn check_shape(what: &str, [m, n]: [usize; 2], [rows, cols]: [usize; 2]) -> Result<()> {
    // One by one: a pair that is written in two and read in one stalls the CPU.
    if rows == m && cols == n { Ok(()) } else { Err(wrong_shape(what, [m, n], [rows, cols])) }
}

#[cold]
fn wrong_shape(what: &str, [m, n]: [usize; 2], [rows, cols]: [usize; 2]) -> Error {
    Error::shape(what, format!("{m} x {n}"), format!("{rows} x {cols}"))
}

#[cold]
pub(super) fn wrong_operand(k: usize, [rows, cols]: [usize; 2]) -> Error {
    let expected = format!("{k} rows, as A has columns");
    Error::shape("gemm operand B", expected, format!("{rows} x {cols}"))
}
