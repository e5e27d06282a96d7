//! First everywhere, then closer and closer around the best, on each parameter's own scale.

use crate::error::{Error, Result};
use crate::search::distribution::Distribution;
use crate::search::history::History;
use crate::search::sampler::{Ask, Sampler, keyed};

/// Coarse to fine: each stage looks in a box a quarter as wide (by default) as that of the stage
/// before, around the best trial so far. Within a stage, every parameter is cut into as many strata as
/// the stage has trials and each stratum is tried once, in an order of its own (a Latin hypercube).
///
/// Choices are not ordered, so all of them stay open in every stage. The last stage goes on for as
/// long as trials are asked for.
#[derive(Debug, Clone, Copy)]
pub struct CoarseToFine {
    trials_per_stage: u64,
    stages: u64,
    zoom: f64,
}

impl CoarseToFine {
    /// `stages` of `trials_per_stage` trials.
    ///
    /// # Errors
    /// If either is 0.
    pub fn new(stages: u64, trials_per_stage: u64) -> Result<Self> {
        if stages == 0 || trials_per_stage == 0 {
            let got = format!("{stages} of {trials_per_stage} trials");
            return Err(Error::argument("coarse-to-fine stages", "at least one of one", got));
        }
        Ok(Self { trials_per_stage, stages, zoom: 0.25 })
    }

    /// Sets how wide the box of a stage is beside that of the stage before.
    ///
    /// # Errors
    /// If `zoom` is not above 0 and at most 1.
    pub fn zoom(self, zoom: f64) -> Result<Self> {
        if zoom > 0.0 && zoom <= 1.0 {
            return Ok(Self { zoom, ..self });
        }
        Err(Error::argument("coarse-to-fine zoom", "above 0 and at most 1", zoom))
    }

    /// The stage of a trial, from 0.
    pub fn stage(&self, trial: u64) -> u64 {
        (trial / self.trials_per_stage).min(self.stages - 1)
    }

    /// The part of the scale that is looked at in a stage: first and last position.
    ///
    /// The best of the trials before is its middle, except where that would leave the scale.
    pub fn window(
        &self,
        stage: u64,
        name: &str,
        distribution: &Distribution,
        history: &History<'_>,
    ) -> (f64, f64) {
        if stage == 0 || matches!(distribution, Distribution::Choice(_)) {
            return (0.0, 1.0);
        }
        let before = stage * self.trials_per_stage;
        let best = history.ranked().find(|trial| trial.number < before);
        let Some(middle) = best.and_then(|trial| Some(trial.param(name)?.kept)) else {
            return (0.0, 1.0);
        };
        let width = self.zoom.powi(stage.min(1000) as i32);
        let start = distribution.position(middle) - 0.5 * width;
        let start = start.clamp(0.0, 1.0 - width);
        (start, start + width)
    }
}

impl Sampler for CoarseToFine {
    fn position(&self, ask: &Ask<'_>, history: &History<'_>) -> Result<f64> {
        let stage = self.stage(ask.trial);
        let (start, end) = self.window(stage, ask.name, ask.distribution, history);
        let strata = self.trials_per_stage as usize;
        let index = (ask.trial - stage * self.trials_per_stage) as usize;
        let round = (index / strata) as u64;
        let mut order: Vec<usize> = (0..strata).collect();
        // Streams of stages and trials must differ: trials count from 0, stages from the other end.
        keyed(ask.seed, ask.name).stream(u64::MAX - stage).stream(round).shuffle(&mut order);
        let within = (order[index % strata] as f64 + ask.random().uniform()) / strata as f64;
        Ok(start + within * (end - start))
    }

    fn waits_for(&self, trial: u64) -> u64 {
        self.stage(trial) * self.trials_per_stage
    }
}
