//! What a user is told of how a product will be computed.

use std::fmt;

use super::blocking::Blocking;
use super::plan::{Method, Source, Steps};
use crate::dispatch::Isa;

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
