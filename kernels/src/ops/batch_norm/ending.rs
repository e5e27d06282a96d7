//! What follows the normalisation in the same pass: nothing, a ReLU, or a residual and perhaps a ReLU.

use super::BatchNormDims;
use crate::error::Result;
use crate::simd::Float;

/// What the body of a pass does behind the normalisation.
pub(super) trait After: Copy + Send + Sync + 'static {
    /// Whether a residual is added.
    const ADDS: bool;
    /// Whether outputs below a floor are cut off, and their gradients with them.
    const CUTS: bool;
}

/// Nothing.
#[derive(Clone, Copy)]
pub(super) struct Nothing;

impl After for Nothing {
    const ADDS: bool = false;
    const CUTS: bool = false;
}

/// A ReLU.
#[derive(Clone, Copy)]
pub(super) struct Relu;

impl After for Relu {
    const ADDS: bool = false;
    const CUTS: bool = true;
}

/// A residual, then what the floor says: one body with and without a ReLU.
#[derive(Clone, Copy)]
pub(super) struct Added;

impl After for Added {
    const ADDS: bool = true;
    const CUTS: bool = true;
}

/// Which body a pass runs.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Nothing,
    Relu,
    Added,
}

/// How a pass ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending<'a, E> {
    pub(super) relu: bool,
    pub(super) residual: Option<&'a [E]>,
}

impl<'a, E> Ending<'a, E> {
    /// With the normalised values.
    pub(super) fn plain() -> Self {
        Self { relu: false, residual: None }
    }

    pub(super) fn check(&self, dims: BatchNormDims) -> Result<()> {
        self.residual.map_or(Ok(()), |r| dims.check("batch norm residual", r.len()))
    }

    pub(super) fn kind(&self) -> Kind {
        match (self.residual, self.relu) {
            (Some(_), _) => Kind::Added,
            (None, true) => Kind::Relu,
            (None, false) => Kind::Nothing,
        }
    }

    /// Below what outputs are cut off: nothing is below NaN.
    pub(super) fn floor<T: Float>(&self) -> T {
        if self.relu { T::ZERO } else { T::NAN }
    }

    /// The input and the residual; the input again, not to be read, where there is none.
    pub(super) fn with(&self, x: &'a [E]) -> [&'a [E]; 2] {
        [x, self.residual.unwrap_or(x)]
    }
}
