//! How an operation runs: on which instruction set and on how many threads.

use crate::dispatch::Isa;
use crate::error::Result;
use crate::parallel::Par;

/// Where an operation runs. The default is the fastest path and all threads that pay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exec {
    isa: Option<Isa>,
    par: Par,
}

impl Exec {
    /// The fastest path on the calling thread only.
    #[inline]
    pub fn serial() -> Self {
        Self::default().par(Par::Serial)
    }

    /// The same on a given path.
    #[must_use]
    #[inline]
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// The same with a given threading.
    #[must_use]
    #[inline]
    pub fn par(self, par: Par) -> Self {
        Self { par, ..self }
    }

    /// The path that will run.
    ///
    /// # Errors
    /// If none was given and `TILEWISE_MAX_ISA` holds an unknown name.
    #[inline]
    pub fn path(&self) -> Result<Isa> {
        match self.isa {
            Some(isa) => Ok(isa.without_tiles()),
            None => Isa::best(),
        }
    }

    /// The path that will run for products of half-precision matrices.
    ///
    /// # Errors
    /// If none was given and `TILEWISE_MAX_ISA` holds an unknown name.
    #[inline]
    pub fn path_for_halves(&self) -> Result<Isa> {
        match self.isa {
            Some(isa) => Ok(isa),
            None => Isa::best_for_halves(),
        }
    }

    /// The threading that will be used.
    #[inline]
    pub fn threads(&self) -> Par {
        self.par
    }
}
