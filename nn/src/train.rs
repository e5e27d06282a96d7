//! The training loop: epochs of shuffled minibatches, with a progress bar and a history.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tilewise_kernels::Float;

use crate::data::{Dataset, Minibatches, check_finite};
use crate::error::{Error, Result};
use crate::layers::{Parameter, ParameterKind};
use crate::loss::{Loss, SoftmaxCrossEntropy};
use crate::matrix::Matrix;
use crate::model::{Sequential, accuracy};
use crate::optim::schedule::{Clock, Schedule};
use crate::optim::{Optimizer, OptimizerState};
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

/// How to train: an optimiser, a loss and the size of things.
#[derive(Debug, Clone)]
#[must_use]
pub struct Trainer<O, L = SoftmaxCrossEntropy> {
    optimizer: O,
    loss: L,
    schedule: Schedule,
    epochs: u64,
    batch_size: usize,
    drop_last: bool,
    seed: u64,
    progress: bool,
}

impl<O> Trainer<O> {
    /// 10 epochs of minibatches of 64 with softmax cross-entropy.
    pub fn new(optimizer: O) -> Self {
        Self {
            optimizer,
            loss: SoftmaxCrossEntropy::default(),
            schedule: Schedule::default(),
            epochs: 10,
            batch_size: 64,
            drop_last: false,
            seed: 0,
            progress: true,
        }
    }
}

impl<O, L> Trainer<O, L> {
    /// Sets the loss.
    pub fn loss<M>(self, loss: M) -> Trainer<O, M> {
        let Self { optimizer, schedule, epochs, batch_size, drop_last, seed, progress, .. } = self;
        Trainer { optimizer, loss, schedule, epochs, batch_size, drop_last, seed, progress }
    }

    /// Sets how the learning rate changes over time; it does not at first.
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// Sets how often the training data is gone through.
    pub fn epochs(self, epochs: u64) -> Self {
        Self { epochs, ..self }
    }

    /// Sets the number of rows per step.
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Leaves out the last minibatch of an epoch where it is smaller than the others.
    pub fn drop_last(self, drop_last: bool) -> Self {
        Self { drop_last, ..self }
    }

    /// Sets the seed of the order of rows.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Turns the progress bar on (the default) or off. It shows on a terminal only.
    pub fn progress(self, progress: bool) -> Self {
        Self { progress, ..self }
    }

    /// Trains `model` on `train` and measures it on `valid` after every epoch.
    ///
    /// # Errors
    /// Before anything changes: if the data does not fit the model, a feature is not finite, or a
    /// minibatch would be too small for a layer. Later: if a loss is not finite; the error names
    /// the step and the layer, and the model stays as it then is.
    pub fn fit<T: Float>(
        &self,
        model: &mut Sequential<T>,
        train: &Dataset<T>,
        valid: &Dataset<T>,
    ) -> Result<History>
    where
        O: Optimizer<T>,
        L: Loss<T>,
    {
        let mut batches = Minibatches::new(train.len(), self.batch_size, self.drop_last)?;
        self.check(model, train, "training")?;
        self.check(model, valid, "validation")?;
        check_batches(model, &batches)?;
        self.check_settings(model, valid)?;
        let bar = self.progress_bar(batches.len() as u64);
        let mut run = Run {
            model,
            state: OptimizerState::new(),
            history: History::default(),
            x: Matrix::default(),
            labels: Vec::new(),
        };
        for epoch in 0..self.epochs {
            batches.shuffle(self.seed, epoch);
            bar.set_position(0);
            bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
            let start = Instant::now();
            let train_loss = self.epoch(&mut run, train, (epoch, &batches), &bar)?;
            let train_time = start.elapsed();
            let (loss, logits) = run.model.measure(valid, &self.loss)?;
            if !loss.is_finite() {
                let place = run.model.first_not_finite_on(valid.features());
                return Err(run.diverged(place, "validation loss", loss));
            }
            let accuracy = accuracy(&logits, valid.labels())?;
            bar.println(format!(
                "epoch {:3}  training loss {train_loss:.4}  validation loss {loss:.4}  accuracy \
                 {accuracy:.4}",
                epoch + 1
            ));
            run.history.epochs.push(Epoch {
                train_loss,
                valid_loss: loss,
                valid_accuracy: accuracy,
                steps: batches.len() as u64,
                train_time,
            });
        }
        bar.finish_and_clear();
        Ok(run.history)
    }

    /// Steps through all minibatches; gives the mean loss per row.
    fn epoch<T: Float>(
        &self,
        run: &mut Run<'_, T>,
        train: &Dataset<T>,
        (epoch, batches): (u64, &Minibatches),
        bar: &ProgressBar,
    ) -> Result<f64>
    where
        O: Optimizer<T>,
        L: Loss<T>,
    {
        let (mut sum, mut rows) = (0.0, 0);
        let steps_per_epoch = batches.len() as u64;
        for (step, picked) in batches.iter().enumerate() {
            run.x.gather(train.features(), picked)?;
            run.labels.clear();
            run.labels.extend(picked.iter().map(|&row| train.labels()[row]));
            let loss = run.model.loss_and_gradients(&run.x, &run.labels, &self.loss)?;
            if !loss.is_finite() {
                return Err(run.diverged(run.model.first_not_finite(), "loss", loss));
            }
            let clock = Clock { epoch, step: step as u64, steps_per_epoch };
            run.state.step_at(self.schedule.factor_at(clock), &self.optimizer, run.model)?;
            run.history.first_step.get_or_insert_with(Instant::now);
            sum += loss * picked.len() as f64;
            rows += picked.len();
            bar.inc(1);
        }
        Ok(sum / rows as f64)
    }

    /// Checks a data set against the model before anything changes.
    fn check<T: Float>(&self, model: &Sequential<T>, data: &Dataset<T>, name: &str) -> Result<()> {
        let (features, columns) = (data.features(), |n| format!("{n} columns"));
        if data.is_empty() {
            return Err(Error::shape(format!("{name} data"), "at least one row", "none"));
        }
        if features.cols() != model.inputs() {
            let what = format!("{}: {name} features", model.layer_name(0));
            return Err(Error::shape(what, columns(model.inputs()), columns(features.cols())));
        }
        // A single logit tells two classes apart.
        let classes = model.outputs().max(2);
        if let Some(row) = data.labels().iter().position(|&label| label >= classes) {
            return Err(Error::argument(
                format!("{name} label of row {row}"),
                format!("a class below {classes}"),
                data.labels()[row],
            ));
        }
        check_finite(features, &format!("{name} features"))
    }

    /// Checks the settings of optimiser and loss by a step on nothing and the loss of one row.
    fn check_settings<T: Float>(&self, model: &Sequential<T>, data: &Dataset<T>) -> Result<()>
    where
        O: Optimizer<T>,
        L: Loss<T>,
    {
        self.schedule.check()?;
        let mut nothing = Parameter::new("nothing", ParameterKind::Weight, &[0], T::ZERO);
        let mut state = vec![Vec::new(); self.optimizer.slots()];
        self.optimizer.update(&mut nothing, &mut state, 1, model.exec())?;
        model.measure(&data.select(&[0])?, &self.loss)?;
        Ok(())
    }

    fn progress_bar(&self, steps: u64) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        // Draws to stderr, and nothing where that is not a terminal.
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}");
        let bar = ProgressBar::new(steps);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// Checks that no minibatch is too small for a layer.
fn check_batches<T: Float>(model: &Sequential<T>, batches: &Minibatches) -> Result<()> {
    let Some(smallest) = batches.iter().map(<[usize]>::len).min() else {
        return Err(Error::shape("minibatches", "at least one full one per epoch", "none"));
    };
    for (index, layer) in model.layers().enumerate() {
        let needed = layer.min_training_rows();
        if smallest < needed {
            return Err(Error::shape(
                format!("{}: smallest minibatch", model.layer_name(index)),
                format!("at least {needed} rows in training (see batch_size and drop_last)"),
                smallest,
            ));
        }
    }
    Ok(())
}

/// A training under way, with the memory of its minibatch.
struct Run<'a, T: Float> {
    model: &'a mut Sequential<T>,
    state: OptimizerState<T>,
    history: History,
    x: Matrix<T>,
    labels: Vec<usize>,
}

impl<T: Float> Run<'_, T> {
    fn diverged(&self, layer: Option<&str>, otherwise: &str, got: f64) -> Error {
        let place = layer.unwrap_or(otherwise).to_owned();
        Error::Diverged { step: self.state.steps(), place, got }
    }
}
