//! The course of a training.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::plot;

/// What one epoch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Mean loss per row over the epoch's minibatches, each before its own step.
    pub train_loss: f64,
    /// Loss on the validation data after the epoch.
    pub valid_loss: f64,
    /// Accuracy on the validation data after the epoch.
    pub valid_accuracy: f64,
    /// Number of steps.
    pub steps: u64,
    /// The learning rate of the last step, where the optimiser tells.
    pub learning_rate: Option<f64>,
    /// Time that the steps took.
    pub train_time: Duration,
}

/// The course of a training.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct History {
    /// First to last.
    pub epochs: Vec<Epoch>,
    /// When the very first step was finished.
    pub first_step: Option<Instant>,
    /// Why the training ended before its last epoch, where it did.
    pub stopped: Option<String>,
}

impl History {
    /// Steps per second, validation not counted; 0 before the first one.
    pub fn steps_per_second(&self) -> f64 {
        let steps: u64 = self.epochs.iter().map(|epoch| epoch.steps).sum();
        let time: Duration = self.epochs.iter().map(|epoch| epoch.train_time).sum();
        if time.is_zero() { 0.0 } else { steps as f64 / time.as_secs_f64() }
    }

    /// Draws losses and accuracy over the epochs as an SVG file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        plot::learning_curve(&self.epochs, path.as_ref())
    }
}
