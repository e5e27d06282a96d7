//! A training under way, as callbacks see it.

use std::time::Duration;

use serde_json::Value as Json;
use tilewise_kernels::Float;

use super::history::History;
use crate::error::{Error, Result};
use crate::layers::{Parameter, ParameterKind};
use crate::model::{ModelState, Sequential};
use crate::optim::{Dials, Optimizer, OptimizerState};

/// Where in the data a training stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Position {
    /// Epochs completed.
    pub(super) epoch: u64,
    /// Steps taken in the current one.
    pub(super) step: usize,
    /// Sum of the losses of its rows, and their number.
    pub(super) loss_sum: f64,
    pub(super) rows: usize,
    pub(super) time: Duration,
}

/// A training under way.
pub struct Session<'a, T: Float = f32> {
    pub(super) model: &'a mut Sequential<T>,
    pub(super) optimizer: &'a mut dyn Optimizer<T>,
    pub(super) state: OptimizerState<T>,
    pub(super) history: History,
    pub(super) position: Position,
    pub(super) steps_per_epoch: usize,
    pub(super) loss: f64,
    /// The schedule's factor of the last step.
    pub(super) rate: f64,
    /// Whether a callback went back to a snapshot since this was last looked at.
    pub(super) restored: bool,
    /// Of data and settings, where checkpoints are written.
    pub(super) course: Json,
}

/// The whole state of a training: what was trained, what the optimiser keeps and is set to, where in
/// the data it stands, and its history. Training on from a snapshot gives the same bits again.
#[derive(Debug, Clone)]
pub struct Snapshot<T = f32> {
    pub(super) model: ModelState<T>,
    pub(super) optimizer: OptimizerState<T>,
    pub(super) dials: Dials,
    pub(super) position: Position,
    /// The schedule's factor of the last step.
    pub(super) rate: f64,
    pub(super) history: History,
    /// What the training is of, where it is written to a file.
    pub(super) course: Json,
}

impl<T: Float> Snapshot<T> {
    /// Number of steps that had been taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// What had been trained.
    pub fn model(&self) -> &ModelState<T> {
        &self.model
    }
}

impl<'a, T: Float> Session<'a, T> {
    /// Before the first step.
    pub(super) fn new(model: &'a mut Sequential<T>, optimizer: &'a mut dyn Optimizer<T>) -> Self {
        Self {
            model,
            optimizer,
            state: OptimizerState::new(),
            history: History::default(),
            position: Position::default(),
            steps_per_epoch: 0,
            loss: f64::NAN,
            rate: 1.0,
            restored: false,
            course: Json::Null,
        }
    }

    /// The model.
    pub fn model(&self) -> &Sequential<T> {
        self.model
    }

    /// The model, to be changed.
    pub fn model_mut(&mut self) -> &mut Sequential<T> {
        self.model
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.state.steps()
    }

    /// Number of steps that an epoch takes.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Number of epochs completed. After the last step of an epoch it still counts the ones before.
    pub fn epochs(&self) -> u64 {
        self.position.epoch
    }

    /// The loss of the last minibatch, before its step; NaN before the first one.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// The epochs so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The optimiser's settings that can be turned. A schedule is a factor on this learning rate.
    pub fn dials(&self) -> Dials {
        self.optimizer.dials()
    }

    /// Turns those settings of the optimiser that are given.
    ///
    /// # Errors
    /// If the optimiser does not have one of them or cannot work with its value; then all are as before.
    pub fn turn(&mut self, dials: Dials) -> Result<()> {
        let before = self.optimizer.dials();
        self.optimizer.turn(dials)?;
        if let Err(error) = self.check_optimizer() {
            self.optimizer.turn(before)?;
            return Err(error);
        }
        Ok(())
    }

    /// Sets the learning rate.
    ///
    /// # Errors
    /// As for [`turn`](Self::turn).
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.turn(Dials { learning_rate: Some(learning_rate), ..Dials::default() })
    }

    /// Ends the training before the next step, without an error.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.history.stopped = Some(reason.into());
    }

    /// The whole state, to go back to.
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot {
            model: self.model.state(),
            optimizer: self.state.clone(),
            dials: self.optimizer.dials(),
            position: self.position,
            rate: self.rate,
            history: self.history.clone(),
            course: self.course.clone(),
        }
    }

    /// Goes back to a snapshot of this training: the next step is the one that followed it, with the
    /// optimiser set as it was. The history goes back too.
    ///
    /// # Errors
    /// If it is of a training of another model or optimiser; nothing changes then.
    pub fn restore(&mut self, snapshot: &Snapshot<T>) -> Result<()> {
        if !snapshot.optimizer.fits(self.optimizer.slots(), self.model) {
            let expected = "what this optimizer keeps for this model";
            return Err(Error::shape("state of the optimizer", expected, "something else"));
        }
        let before = self.optimizer.dials();
        self.optimizer.turn(snapshot.dials)?;
        if let Err(error) = self.model.restore(&snapshot.model) {
            self.optimizer.turn(before)?;
            return Err(error);
        }
        self.state.clone_from(&snapshot.optimizer);
        self.position = snapshot.position;
        self.rate = snapshot.rate;
        self.history.clone_from(&snapshot.history);
        self.restored = true;
        Ok(())
    }

    /// Checks the optimiser's settings by a step on nothing.
    pub(super) fn check_optimizer(&self) -> Result<()> {
        let mut nothing = Parameter::new("nothing", ParameterKind::Weight, &[0], T::ZERO);
        let mut state = vec![Vec::new(); self.optimizer.slots()];
        Ok(self.optimizer.update(&mut nothing, &mut state, 1, self.model.exec())?)
    }

    pub(super) fn diverged(&self, place: impl Into<String>, got: f64) -> Error {
        Error::Diverged { step: self.state.steps(), place: place.into(), got }
    }
}
