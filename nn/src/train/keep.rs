//! Callbacks that watch for the best epoch: stopping when it is long ago, and keeping its model.

use std::path::PathBuf;

use tilewise_kernels::Float;

use super::callback::Callback;
use super::history::{Epoch, History};
use super::session::Session;
use crate::error::{Error, Result};
use crate::model::ModelState;

/// By what epochs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Monitor {
    /// The loss on the validation data, which should be small.
    #[default]
    ValidLoss,
    /// The accuracy on the validation data, which should be large.
    ValidAccuracy,
    /// The loss in training, which should be small.
    TrainLoss,
}

impl Monitor {
    /// What should be small.
    fn cost(self, epoch: &Epoch) -> f64 {
        match self {
            Self::ValidLoss => epoch.valid_loss,
            Self::ValidAccuracy => -epoch.valid_accuracy,
            Self::TrainLoss => epoch.train_loss,
        }
    }

    /// The index of the best epoch: a later one counts as better only where it is so by more than
    /// `min_delta`. None in an empty history.
    pub fn best(self, history: &History, min_delta: f64) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (index, cost) in history.epochs.iter().map(|epoch| self.cost(epoch)).enumerate() {
            if best.is_none_or(|(_, least)| cost < least - min_delta) {
                best = Some((index, cost));
            }
        }
        best.map(|(index, _)| index)
    }
}

/// Stops a training when no epoch was better than the best for a number of epochs. It has no state
/// but the history, so that a resumed training stops where an uninterrupted one does.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct EarlyStopping {
    patience: usize,
    min_delta: f64,
    monitor: Monitor,
}

impl EarlyStopping {
    /// Stops after `patience` epochs without a smaller validation loss.
    pub fn new(patience: usize) -> Self {
        Self { patience, min_delta: 0.0, monitor: Monitor::default() }
    }

    /// Sets by what epochs are compared.
    pub fn monitor(self, monitor: Monitor) -> Self {
        Self { monitor, ..self }
    }

    /// Sets by how much an epoch must be better to count.
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta, ..self }
    }
}

impl<T: Float> Callback<T> for EarlyStopping {
    fn epoch(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        let Some(best) = self.monitor.best(session.history(), self.min_delta) else {
            return Ok(());
        };
        let since = session.history().epochs.len() - 1 - best;
        if since >= self.patience.max(1) {
            session.stop(format!("no epoch was better than epoch {} for {since} epochs", best + 1));
        }
        Ok(())
    }
}

/// Keeps the model of the best epoch, in memory or in a file, and puts it back when the training ends.
#[derive(Debug, Clone)]
#[must_use]
pub struct KeepBest<T = f32> {
    monitor: Monitor,
    file: Option<PathBuf>,
    best: Option<ModelState<T>>,
}

impl<T: Float> KeepBest<T> {
    /// Keeps the model of the epoch with the smallest validation loss.
    pub fn new() -> Self {
        Self { monitor: Monitor::default(), file: None, best: None }
    }

    /// Sets by what epochs are compared.
    pub fn monitor(self, monitor: Monitor) -> Self {
        Self { monitor, ..self }
    }

    /// Writes the best model to a safetensors file too, whole or not at all. A training that may be
    /// interrupted and resumed needs one.
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..self }
    }
}

impl<T: Float> Default for KeepBest<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Callback<T> for KeepBest<T> {
    fn begin(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        self.best = None;
        if session.history().epochs.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.file else {
            let expected = "a file, as the training resumes and its best epoch may be over";
            return Err(Error::argument("KeepBest", expected, "none"));
        };
        let now = session.model().state();
        session.model_mut().load(file)?;
        self.best = Some(session.model().state());
        session.model_mut().restore(&now)
    }

    fn epoch(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        let epochs = session.history().epochs.len();
        if self.monitor.best(session.history(), 0.0) == epochs.checked_sub(1) {
            if let Some(file) = &self.file {
                session.model().save(file)?;
            }
            self.best = Some(session.model().state());
        }
        Ok(())
    }

    fn end(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        let Some(best) = &mut self.best else { return Ok(()) };
        // Random layers go on from where they are.
        best.step = session.model().state().step;
        session.model_mut().restore(best)
    }
}
