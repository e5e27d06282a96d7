//! The course of a training.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::Result;
use crate::files::write_atomically;
use crate::plot;

/// What one epoch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Mean loss per row over the epoch's minibatches, each before its own step.
    pub train_loss: f64,
    /// Loss on the validation data after the epoch.
    pub valid_loss: f64,
    /// Accuracy on the validation data after the epoch; where targets are values, R².
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
        let path = path.as_ref();
        write_atomically(path, plot::learning_curve(&self.epochs, path)?.as_bytes())
    }

    /// Writes the curve with a table of the epochs as a page that needs nothing else, whole or not at
    /// all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_html(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let curve = plot::learning_curve(&self.epochs, path)?;
        let mut rows = String::new();
        for (index, epoch) in self.epochs.iter().enumerate() {
            let rate = epoch.learning_rate.map_or(String::new(), |rate| format!("{rate:.3e}"));
            rows += &format!(
                "<tr><td>{}<td>{:.5}<td>{:.5}<td>{:.4}<td>{rate}<td>{}<td>{:.2}\n",
                index + 1,
                epoch.train_loss,
                epoch.valid_loss,
                epoch.valid_accuracy,
                epoch.steps,
                epoch.train_time.as_secs_f64()
            );
        }
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Learning curve</title>\n\
             <style>body{{font-family:sans-serif;margin:2em}}td,th{{text-align:right;padding:0 .6em}}\
             </style>\n{curve}\n<table>\n<tr><th>epoch<th>training loss<th>validation loss<th>accuracy\
             <th>learning rate<th>steps<th>seconds\n{rows}</table>\n</html>\n"
        );
        write_atomically(path, page.as_bytes())
    }

    /// Writes a line of JSON for each epoch, whole or not at all. Losses and rates come back from it
    /// with the same bits.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_jsonl(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut text = String::new();
        for (index, epoch) in self.epochs.iter().enumerate() {
            let line = json!({
                "epoch": index + 1,
                "train_loss": epoch.train_loss,
                "valid_loss": epoch.valid_loss,
                "valid_accuracy": epoch.valid_accuracy,
                "steps": epoch.steps,
                "learning_rate": epoch.learning_rate,
                "train_seconds": epoch.train_time.as_secs_f64(),
            });
            text += &format!("{line}\n");
        }
        write_atomically(path.as_ref(), text.as_bytes())
    }
}

/// The course of values as one character each, between the smallest and the largest: `█▅▃▂▁▁`.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let bar = |&value: &f64| match value {
        _ if !value.is_finite() => ' ',
        _ if high == low => BARS[0],
        _ => BARS[((value - low) / (high - low) * 7.0).round() as usize],
    };
    values.iter().map(bar).collect()
}
