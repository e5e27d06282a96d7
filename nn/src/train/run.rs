//! One training from its first step to its last.

use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::{Value as Json, json};
use tilewise_kernels::Float;

use super::callback::Callback;
use super::history::{Epoch, History};
use super::minibatch::{Data, Minibatch};
use super::session::{Position, Session};
use super::{Plan, progress};
use crate::data::{Minibatches, check_finite};
use crate::error::{Error, Result};
use crate::loss::{Loss, Targets};
use crate::model::{Sequential, StepRule, score};
use crate::optim::schedule::Clock;
use crate::search::fingerprint_of;

/// What is called, and how.
type Callbacks<'c, 'd, T> = &'c mut [&'d mut dyn Callback<T>];

/// A training with the data and the memory that it works on.
pub(super) struct Run<'a, T: Float, L> {
    plan: &'a Plan,
    loss: &'a L,
    train: Data<'a, T>,
    valid: Data<'a, T>,
    session: Session<'a, T>,
    batches: Minibatches,
    /// The epoch that the minibatches are shuffled for.
    shuffled: Option<u64>,
    /// The step after which the state was written last.
    saved: u64,
    batch: Minibatch<T>,
    /// Sums of gradients, by parameter; empty unless they are accumulated.
    sums: Vec<Vec<T>>,
    bar: ProgressBar,
}

impl<'a, T: Float, L: Loss<T>> Run<'a, T, L> {
    /// Checks everything that can be checked before anything changes.
    pub(super) fn new(
        plan: &'a Plan,
        loss: &'a L,
        [train, valid]: [Data<'a, T>; 2],
        mut session: Session<'a, T>,
    ) -> Result<Self> {
        if plan.accumulate == 0 {
            return Err(Error::argument("minibatches per step", "at least 1", plan.accumulate));
        }
        let batches = Minibatches::new(train.features.rows(), plan.batch_size, plan.drop_last)?;
        check(session.model, train, "training")?;
        check(session.model, valid, "validation")?;
        check_batches(session.model, &batches)?;
        plan.schedule.check()?;
        session.check_optimizer()?;
        let mut batch = Minibatch::default();
        batch.load(valid, &[0])?;
        session.model.measure(&batch.x, batch.targets(), loss)?;
        session.steps_per_epoch = batches.len().div_ceil(plan.accumulate);
        if let Some(checkpoints) = &plan.checkpoints {
            checkpoints.prepare()?;
            session.course = course(plan, train, valid);
            if let Some(snapshot) = checkpoints.resume(&session.course)? {
                let file = |error: Error| error.within(checkpoints.path.display());
                session.restore(&snapshot).map_err(file)?;
            }
        }
        let bar = progress::bar(plan.progress, session.steps_per_epoch);
        let saved = session.steps();
        Ok(Self {
            plan,
            loss,
            train,
            valid,
            session,
            batches,
            shuffled: None,
            saved,
            batch,
            sums: Vec::new(),
            bar,
        })
    }

    /// Trains to the end.
    pub(super) fn all(mut self, callbacks: Callbacks<'_, '_, T>) -> Result<History> {
        callbacks.iter_mut().try_for_each(|callback| callback.begin(&mut self.session))?;
        while self.session.position.epoch < self.plan.epochs
            && self.session.history.stopped.is_none()
        {
            let outcome = if self.session.position.step < self.session.steps_per_epoch {
                self.step(callbacks)
            } else {
                self.epoch(callbacks)
            };
            self.recover(outcome, callbacks)?;
            self.checkpoint(false)?;
        }
        self.checkpoint(true)?;
        callbacks.iter_mut().try_for_each(|callback| callback.end(&mut self.session))?;
        self.bar.finish_and_clear();
        Ok(self.session.history)
    }

    /// Lets callbacks mend a training that diverged.
    fn recover(&mut self, outcome: Result<()>, callbacks: Callbacks<'_, '_, T>) -> Result<()> {
        let Err(error @ Error::Diverged { .. }) = outcome else { return outcome };
        self.session.restored = false;
        for callback in callbacks {
            callback.diverged(&mut self.session, &error)?;
        }
        if self.session.restored { Ok(()) } else { Err(error) }
    }

    /// Writes the state where it is time to, or at the end.
    fn checkpoint(&mut self, end: bool) -> Result<()> {
        let Some(checkpoints) = &self.plan.checkpoints else { return Ok(()) };
        let steps = self.session.steps();
        let due = steps.abs_diff(self.saved) >= checkpoints.every;
        if due || end {
            self.session.snapshot().save(&checkpoints.path)?;
            self.saved = steps;
        }
        Ok(())
    }

    fn step(&mut self, callbacks: Callbacks<'_, '_, T>) -> Result<()> {
        let start = Instant::now();
        let Position { epoch, step, .. } = self.session.position;
        if self.shuffled != Some(epoch) {
            self.batches.shuffle(self.plan.seed, epoch);
            self.shuffled = Some(epoch);
        }
        let rate = self.plan.schedule.factor_at(Clock {
            epoch,
            step: step as u64,
            steps_per_epoch: self.session.steps_per_epoch as u64,
        });
        let (loss, rows) = self.learn(step, rate)?;
        let session = &mut self.session;
        session.rate = rate;
        session.history.first_step.get_or_insert_with(Instant::now);
        session.loss = loss;
        session.position.step += 1;
        session.position.loss_sum += loss * rows as f64;
        session.position.rows += rows;
        session.position.time += start.elapsed();
        progress::show(&self.bar, self.plan, session);
        callbacks.iter_mut().try_for_each(|callback| callback.step(session))
    }

    /// Takes step `step` of the epoch: its mean loss and its rows.
    fn learn(&mut self, step: usize, rate: f64) -> Result<(f64, usize)> {
        if self.plan.accumulate > 1 {
            return self.learn_from_several(step, rate);
        }
        let rows = self.load(step)?;
        let Session { model, optimizer, state, .. } = &mut self.session;
        let rule = StepRule { loss: self.loss, optimizer: &**optimizer, rate };
        let loss = model.train_step(&self.batch.x, self.batch.targets(), &rule, state)?;
        Ok((loss, rows))
    }

    /// Brings minibatch `index` of the epoch in: its rows.
    fn load(&mut self, index: usize) -> Result<usize> {
        let picked = self.batches.get(index);
        self.batch.load(self.train, picked)?;
        Ok(picked.len())
    }

    /// A step by the gradients of several minibatches, each weighed by its rows.
    fn learn_from_several(&mut self, step: usize, rate: f64) -> Result<(f64, usize)> {
        let group = self.plan.accumulate;
        let indices = step * group..self.batches.len().min((step + 1) * group);
        let all: usize = indices.clone().map(|index| self.batches.get(index).len()).sum();
        let mut mean = 0.0;
        for index in indices.clone() {
            let share = self.load(index)? as f64 / all as f64;
            let (model, steps) = (&mut *self.session.model, self.session.state.steps());
            let Minibatch { x, .. } = &self.batch;
            let loss = model.loss_and_gradients(x, self.batch.targets(), self.loss)?;
            if !loss.is_finite() {
                let place = model.first_not_finite().unwrap_or("loss").to_owned();
                return Err(self.session.diverged(place, loss));
            }
            model.check_gradients(steps)?;
            mean += loss * share;
            add(&mut self.sums, model, T::from_f64(share), index == indices.start);
        }
        let Session { model, optimizer, state, .. } = &mut self.session;
        for (parameter, sum) in model.parameters_mut().zip(&self.sums) {
            parameter.gradient.copy_from_slice(sum);
        }
        state.step_at(rate, &**optimizer, model)?;
        Ok((mean, all))
    }

    fn epoch(&mut self, callbacks: Callbacks<'_, '_, T>) -> Result<()> {
        let session = &mut self.session;
        let (loss, logits) =
            session.model.measure(self.valid.features, self.valid.targets, self.loss)?;
        if !loss.is_finite() {
            let place = session.model.first_not_finite_on(self.valid.features);
            let place = place.unwrap_or("validation loss").to_owned();
            return Err(session.diverged(place, loss));
        }
        let position = session.position;
        let epoch = Epoch {
            train_loss: position.loss_sum / position.rows as f64,
            valid_loss: loss,
            valid_accuracy: score(&logits, self.valid.targets)?,
            steps: position.step as u64,
            learning_rate: session
                .optimizer
                .dials()
                .learning_rate
                .map(|alpha| alpha * session.rate),
            train_time: position.time,
        };
        session.history.epochs.push(epoch);
        session.position = Position { epoch: position.epoch + 1, ..Position::default() };
        self.bar.println(format!(
            "epoch {:3}  training loss {:.4}  validation loss {loss:.4}  accuracy {:.4}",
            position.epoch + 1,
            epoch.train_loss,
            epoch.valid_accuracy
        ));
        callbacks.iter_mut().try_for_each(|callback| callback.epoch(session))
    }
}

/// Adds `share` times the model's gradients to the sums, or begins them.
fn add<T: Float>(sums: &mut Vec<Vec<T>>, model: &mut Sequential<T>, share: T, begin: bool) {
    for (index, parameter) in model.parameters_mut().enumerate() {
        if sums.len() == index {
            sums.push(vec![T::ZERO; parameter.gradient.len()]);
        }
        for (sum, &gradient) in sums[index].iter_mut().zip(&parameter.gradient) {
            let before = if begin { T::ZERO } else { *sum };
            *sum = before + gradient * share;
        }
    }
}

/// Checks data against the model before anything changes.
fn check<T: Float>(model: &Sequential<T>, data: Data<'_, T>, name: &str) -> Result<()> {
    let (features, columns) = (data.features, |n| format!("{n} columns"));
    if features.rows() == 0 {
        return Err(Error::shape(format!("{name} data"), "at least one row", "none"));
    }
    if features.cols() != model.inputs() {
        let what = format!("{}: {name} features", model.layer_name(0));
        return Err(Error::shape(what, columns(model.inputs()), columns(features.cols())));
    }
    let rows = |rows: usize| {
        let of = |n| format!("{n} rows");
        let (expected, got) = (of(features.rows()), of(rows));
        let error = || Error::shape(format!("{name} targets"), expected, got);
        if rows == features.rows() { Ok(()) } else { Err(error()) }
    };
    match data.targets {
        Targets::Classes(labels) => {
            rows(labels.len())?;
            // A single logit tells two classes apart.
            let classes = model.outputs().max(2);
            if let Some(row) = labels.iter().position(|&label| label >= classes) {
                let expected = format!("a class below {classes} for {} outputs", model.outputs());
                let what = format!("{name} label of row {row}");
                return Err(Error::argument(what, expected, labels[row]));
            }
        }
        Targets::Values(values) => {
            rows(values.rows())?;
            if values.cols() != model.outputs() {
                let (expected, got) = (columns(model.outputs()), columns(values.cols()));
                return Err(Error::shape(format!("{name} values"), expected, got));
            }
            check_finite(values, &format!("{name} values"))?;
        }
    }
    check_finite(features, &format!("{name} features"))
}

/// Checks that no minibatch is too small for a layer.
fn check_batches<T: Float>(model: &Sequential<T>, batches: &Minibatches) -> Result<()> {
    let Some(smallest) = batches.iter().map(<[usize]>::len).min() else {
        let expected = "at least one full one per epoch (see batch_size and drop_last)";
        return Err(Error::shape("minibatches", expected, "none"));
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

/// What a checkpoint must agree with to go on from it.
fn course<T: Float>(plan: &Plan, train: Data<'_, T>, valid: Data<'_, T>) -> Json {
    // In words of 16 digits: other readers hold numbers in 53 bits.
    let print = |data: Data<'_, T>| format!("{:016x}", fingerprint_of(data.features, data.targets));
    json!({
        "training data": print(train),
        "validation data": print(valid),
        "seed": format!("{:016x}", plan.seed),
        "batch size": plan.batch_size,
        "minibatches per step": plan.accumulate,
        "drop_last": plan.drop_last,
    })
}
