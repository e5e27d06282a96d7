//! Where the next value comes from.
//!
//! A sampler draws positions in `[0, 1]` along a parameter's scale. Draws are functions of (study's
//! seed, trial's number, parameter's name): they do not depend on the order in which trials run, on
//! the number of workers or on what else a trial asks for.

mod coarse_to_fine;
mod grid;
mod sobol;
mod tpe;

use std::fmt;

pub use coarse_to_fine::CoarseToFine;
pub use grid::Grid;
pub use sobol::Sobol;
pub use tpe::Tpe;

use crate::error::Result;
use crate::random::Random;
use crate::search::distribution::Distribution;
use crate::search::history::History;

/// A request for the value of one parameter in one trial.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// The study's seed.
    pub seed: u64,
    /// The trial's number, from 0.
    pub trial: u64,
    /// The parameter's name.
    pub name: &'a str,
    /// Its range and scale.
    pub distribution: &'a Distribution,
}

impl<'a> Ask<'a> {
    /// A request outside a study.
    pub fn new(seed: u64, trial: u64, name: &'a str, distribution: &'a Distribution) -> Self {
        Self { seed, trial, name, distribution }
    }

    /// The random numbers that belong to this request alone.
    pub fn random(&self) -> Random {
        keyed(self.seed, self.name).stream(self.trial)
    }
}

/// The random numbers of a study's seed and a parameter's name.
pub(crate) fn keyed(seed: u64, name: &str) -> Random {
    // FNV-1a by 64 bits: names to numbers, the same on every machine.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Random::new(seed).stream(hash)
}

/// Draws positions for parameters.
pub trait Sampler: Send + Sync + fmt::Debug {
    /// A position in `[0, 1]` for the parameter asked for.
    ///
    /// # Errors
    /// If this sampler cannot serve that parameter.
    fn position(&self, ask: &Ask<'_>, history: &History<'_>) -> Result<f64>;

    /// All trials below this number must have ended before `trial` begins: what is drawn for it
    /// depends on them and on no others, so that results are the same for any number of workers.
    fn waits_for(&self, trial: u64) -> u64 {
        let _ = trial;
        0
    }
}

/// Uniform along every scale, independent: the strong and simple one.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomSearch;

impl Sampler for RandomSearch {
    fn position(&self, ask: &Ask<'_>, _: &History<'_>) -> Result<f64> {
        Ok(ask.random().uniform())
    }
}
