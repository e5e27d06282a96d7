//! A trial while it runs: it asks for hyperparameters as it needs them and tells how it gets on.

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::search::distribution::{Choice, Distribution, Value};
use crate::search::record::{FAILURE, State, TrialRecord};
use crate::search::sampler::keyed;
use crate::search::space::Space;
use crate::search::storage::op::keep_value;
use crate::search::storage::{Need, Op, time};
use crate::search::study::{FIXED, Study};

/// A trial while it runs.
///
/// Ask for hyperparameters where they are needed: those behind a branch that is not taken do not
/// belong to the trial.
///
/// ```
/// use tilewise_nn::search::Study;
///
/// let study = Study::minimize("branches").open()?;
/// let mut trial = study.ask()?;
/// let momentum = match *trial.choice("optimiser", &["sgd", "momentum"])? {
///     "momentum" => trial.one_minus_log("beta", 0.9, 0.999)?,
///     _ => 0.0,
/// };
/// study.tell(&trial, Ok(1.0 - momentum))?;
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Trial<'a> {
    study: &'a Study,
    id: u64,
    record: TrialRecord,
    asked: Vec<String>,
    threads: usize,
    /// Runs a finished trial again: nothing is written, and nothing is drawn.
    again: bool,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(study: &'a Study, id: u64, record: TrialRecord) -> Self {
        Self { study, id, record, asked: Vec::new(), threads: 1, again: false }
    }

    /// A finished trial once more, which leaves no trace.
    pub(crate) fn again(study: &'a Study, mut record: TrialRecord) -> Self {
        record.reports.clear();
        Self { again: true, ..Self::new(study, 0, record) }
    }

    /// A parameter that a trial that is run again did not have then.
    pub(crate) fn asked_anew(&self) -> Option<&str> {
        self.asked.first().map(String::as_str).filter(|_| self.again)
    }

    /// Its number in the study, from 0.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// A seed of its own, from the study's and its number: for weights and the order of data.
    pub fn seed(&self) -> u64 {
        keyed(self.study.seed(), "").bits_at(self.record.number)
    }

    /// The threads that it may use. What runs in the objective finds a pool of that many already.
    pub fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// What was kept of it so far.
    pub fn record(&self) -> &TrialRecord {
        &self.record
    }

    /// A number, on a linear scale.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn uniform(&mut self, name: &str, low: f64, high: f64) -> Result<f64> {
        self.float(name, Distribution::uniform(low, high))
    }

    /// A number, on a logarithmic scale.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn log(&mut self, name: &str, low: f64, high: f64) -> Result<f64> {
        self.float(name, Distribution::log(low, high))
    }

    /// A number below 1 whose distance from 1 is on a logarithmic scale.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn one_minus_log(&mut self, name: &str, low: f64, high: f64) -> Result<f64> {
        self.float(name, Distribution::one_minus_log(low, high))
    }

    /// `low`, `low + step`, … up to `high`.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn step(&mut self, name: &str, low: f64, high: f64, step: f64) -> Result<f64> {
        self.float(name, Distribution::step(low, high, step))
    }

    /// An integer, both ends included.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn int(&mut self, name: &str, low: i64, high: i64) -> Result<i64> {
        self.kept(name, &Distribution::int(low, high)).map(|kept| kept as i64)
    }

    /// An integer on a logarithmic scale.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn log_int(&mut self, name: &str, low: i64, high: i64) -> Result<i64> {
        self.kept(name, &Distribution::log_int(low, high)).map(|kept| kept as i64)
    }

    /// One of `choices`.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn choice<'c, C>(&mut self, name: &str, choices: &'c [C]) -> Result<&'c C>
    where
        C: Clone + Into<Choice>,
    {
        let kept = self.kept(name, &Distribution::choice(choices.iter().cloned()))?;
        Ok(&choices[kept as usize])
    }

    /// Values for a whole space, in its order.
    ///
    /// # Errors
    /// As [`suggest`](Self::suggest).
    pub fn sample(&mut self, space: &Space) -> Result<Vec<Value>> {
        let all = space.dimensions().iter();
        all.map(|dimension| self.suggest(&dimension.name, &dimension.distribution)).collect()
    }

    /// A value for the parameter `name`. Asking again gives the same.
    ///
    /// # Errors
    /// Names the parameter: if its range is wrong, its kind is another than before in this study or
    /// this trial, or the sampler does not know it. Also if the journal cannot be written.
    pub fn suggest(&mut self, name: &str, distribution: &Distribution) -> Result<Value> {
        self.kept(name, distribution).map(|kept| distribution.value(kept))
    }

    /// That in the storage and that in the study.
    fn numbers(&self) -> (u64, u64) {
        (self.id, self.record.number)
    }

    fn float(&mut self, name: &str, distribution: Distribution) -> Result<f64> {
        let value = self.suggest(name, &distribution)?;
        Ok(value.as_f64().unwrap_or(f64::NAN))
    }

    fn kept(&mut self, name: &str, distribution: &Distribution) -> Result<f64> {
        distribution.check(name)?;
        let fits = |kept: &f64| distribution.contains(*kept);
        let mut fixed = None;
        if let Some(param) = self.record.param(name) {
            let same = param.distribution.compatible(distribution);
            match Some(param.kept).filter(|kept| same && fits(kept)) {
                Some(kept) => return Ok(kept),
                None if self.asked.iter().any(|asked| asked == name) => {
                    let what = format!("parameter `{name}`: range");
                    let expected = format!("that of the first time, {:?}", param.distribution);
                    return Err(Error::argument(what, expected, format!("{distribution:?}")));
                }
                // Left by a worker that was killed and had another range.
                None => {}
            }
        } else if let Some(wish) = self.record.system_attrs.get(FIXED).and_then(|w| w.get(name)) {
            fixed = keep_value(wish, distribution).filter(fits);
            if fixed.is_none() {
                let what = format!("parameter `{name}`: value that was asked for");
                return Err(Error::argument(what, format!("within {distribution:?}"), wish));
            }
        }
        if self.again {
            self.asked.push(name.to_owned());
            let what = format!("parameter `{name}`: value");
            return Err(Error::argument(what, "one within its range then", "none"));
        }
        let kept = self.study.draw(self.numbers(), name, distribution, fixed)?;
        let (name, distribution) = (name.to_owned(), distribution.clone());
        self.asked.push(name.clone());
        self.record.set_param(crate::search::Param { name, distribution, kept });
        Ok(kept)
    }

    /// Tells how the objective stands after `step`.
    ///
    /// # Errors
    /// [`Error::Pruned`] if the trial should stop here: hand it on with `?`. Also if the journal cannot
    /// be written.
    pub fn report(&mut self, step: i64, value: f64) -> Result<()> {
        let op = Op::Report { trial: self.id, step, value };
        self.record.reports.insert(step, value);
        if self.again {
            return Ok(());
        }
        match self.study.note(self.numbers(), Need::Note, vec![op])? {
            true => Err(Error::Pruned { step }),
            false => Ok(()),
        }
    }

    /// Notes something about the trial.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn note(&mut self, key: &str, value: impl Into<Json>) -> Result<()> {
        let value = value.into();
        self.record.user_attrs.insert(key.to_owned(), value.clone());
        if self.again {
            return Ok(());
        }
        let op = Op::TrialAttr { trial: self.id, user: true, key: key.to_owned(), value };
        self.study.note(self.numbers(), Need::Note, vec![op]).map(drop)
    }

    /// Writes down how it ended; the next flush brings it to the disk. One that ended because something
    /// of it could not be written has not failed: it stays as it is, to be run again.
    pub(crate) fn end(&self, outcome: Result<f64>) -> Result<()> {
        let outcome = match outcome {
            Err(error)
                if !matches!(error, Error::Pruned { .. }) && self.study.leave_torn(self.id) =>
            {
                return Err(error);
            }
            other => other,
        };
        let last = self.record.reports.last_key_value();
        let (state, value, reason) = match outcome {
            Ok(value) if !value.is_nan() => (State::Complete, Some(value), None),
            Ok(value) => (State::Failed, None, Some(format!("the objective is {value}"))),
            Err(Error::Pruned { .. }) => {
                (State::Pruned, last.map(|(_, &value)| value).filter(|value| !value.is_nan()), None)
            }
            Err(error) => (State::Failed, None, Some(error.to_string())),
        };
        let mut ops = Vec::new();
        if let Some(reason) = reason {
            let after = last.map_or(String::new(), |(step, _)| format!(" (after step {step})"));
            let (key, value) = (FAILURE.to_owned(), Json::from(format!("{reason}{after}")));
            ops.push(Op::TrialAttr { trial: self.id, user: true, key, value });
        }
        ops.push(Op::State { trial: self.id, state, value, time: Some(time::now()) });
        self.study.note(self.numbers(), Need::End, ops).map(drop)
    }
}
