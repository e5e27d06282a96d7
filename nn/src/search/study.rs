//! A study: what is looked for, how, and what was found.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::search::builder::StudyBuilder;
use crate::search::distribution::{Distribution, Param, Value};
use crate::search::history::History;
use crate::search::pruner::Pruner;
use crate::search::record::{Direction, State, TrialRecord};
use crate::search::sampler::{Ask, Sampler};
use crate::search::storage::worker::WORKER;
use crate::search::storage::{Event, Need, Op, Storage, StudyState, Written, time};
use crate::search::trial::Trial;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) storage: Storage,
    pub(crate) pruner: Option<Box<dyn Pruner>>,
    pub(crate) direction: Direction,
    /// Trials of ours of which something could not be written.
    pub(crate) torn: BTreeSet<u64>,
}

impl Inner {
    /// The study, which may have been deleted by someone else.
    fn study(&self, index: usize) -> Result<&StudyState> {
        let study = self.storage.replay().studies.get(index).and_then(Option::as_ref);
        study.ok_or_else(|| Error::argument("study", "there", "deleted by another process"))
    }

    /// Writes records of the trial with the storage's number `id`.
    fn write_of(&mut self, id: u64, need: Need, ops: Vec<Op>) -> Result<Written> {
        let written = self.storage.write(need, |_| ops);
        written.inspect_err(|error| {
            // What the storage says of the trial itself is no reason to run it again.
            if !matches!(error, Error::Argument(_)) {
                self.torn.insert(id);
            }
        })
    }

    /// Tells the pruner of everything before it came.
    fn catch_up(&mut self, index: usize) {
        let trials = match self.study(index) {
            Ok(study) => study.trials.all.clone(),
            Err(_) => return,
        };
        for trial in trials {
            let number = trial.number;
            let report = |(&step, &value)| (index, Event::Report { trial: number, step, value });
            self.judge(index, trial.reports.iter().map(report).collect(), u64::MAX);
            if trial.state.is_finished() {
                self.judge(index, vec![(index, Event::End { trial: number })], u64::MAX);
            }
        }
    }

    /// Tells the pruner what happened; whether it stops `asking`.
    fn judge(&mut self, index: usize, events: Vec<(usize, Event)>, asking: u64) -> bool {
        let Some(mut pruner) = self.pruner.take() else { return false };
        let mut stop = false;
        for (_, event) in events.into_iter().filter(|&(study, _)| study == index) {
            match event {
                Event::Report { trial, step, value } => {
                    let verdict = pruner.report(trial, step, self.direction.cost(value));
                    stop |= verdict && trial == asking;
                }
                Event::End { trial } => {
                    let all = self.study(index).map(|study| &study.trials.all);
                    let state = all.ok().and_then(|all| Some(all.get(trial as usize)?.state));
                    pruner.end(trial, state == Some(State::Complete));
                }
            }
        }
        self.pruner = Some(pruner);
        stop
    }
}

/// What comes next for a worker.
pub(crate) enum Next<'a> {
    /// To run this trial.
    Run(Box<Trial<'a>>),
    /// To wait for others.
    Wait,
    /// Nothing.
    Done,
}

/// What a worker decides to do.
enum Plan {
    /// To run this trial, which is there already.
    Take(u64),
    /// To run a new one.
    New,
    Wait,
    Done,
}

/// A search for good hyperparameters. Many threads can use it at once.
#[derive(Debug)]
pub struct Study {
    inner: Mutex<Inner>,
    /// Woken whenever a trial of this process has ended.
    ended: Condvar,
    index: usize,
    name: String,
    seed: u64,
    sampler: Arc<dyn Sampler>,
}

impl Study {
    /// A study that looks for small values.
    pub fn minimize(name: impl Into<String>) -> StudyBuilder {
        StudyBuilder::new(name.into(), Direction::Minimize)
    }

    /// A study that looks for large values.
    pub fn maximize(name: impl Into<String>) -> StudyBuilder {
        StudyBuilder::new(name.into(), Direction::Maximize)
    }

    pub(crate) fn new(
        mut inner: Inner,
        index: usize,
        name: String,
        seed: u64,
        sampler: Arc<dyn Sampler>,
    ) -> Self {
        inner.catch_up(index);
        Self { inner: Mutex::new(inner), ended: Condvar::new(), index, name, seed, sampler }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A look at all trials, after taking in what other processes wrote.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn look<R>(&self, look: impl FnOnce(History<'_>) -> R) -> Result<R> {
        let mut inner = self.lock();
        let events = inner.storage.sync()?;
        inner.judge(self.index, events, u64::MAX);
        Ok(look(inner.study(self.index)?.trials.history()))
    }

    /// All trials, by number.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn trials(&self) -> Result<Vec<TrialRecord>> {
        self.look(|history| history.trials().to_vec())
    }

    /// The best complete trial, the earliest where several are; none before the first.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn best(&self) -> Result<Option<TrialRecord>> {
        self.look(|history| history.ranked().next().cloned())
    }

    /// Asks for a trial with these values, where it asks for those names, before all others.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn enqueue(&self, params: &[(&str, Value)]) -> Result<()> {
        use crate::search::storage::op::write_value;
        let fixed = params.iter().map(|(name, value)| ((*name).to_owned(), write_value(value)));
        let mut trial = TrialRecord::new(0, State::Waiting);
        trial.system_attrs.insert(FIXED.to_owned(), Json::Object(fixed.collect()));
        self.write(Need::Keep, |_, study| {
            let op = Op::CreateTrial { study, trial: Box::new(trial) };
            vec![op]
        })?;
        Ok(())
    }

    /// Begins a trial, for loops of one's own; [`tell`](Self::tell) ends it.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn ask(&self) -> Result<Trial<'_>> {
        loop {
            match self.next(u64::MAX)? {
                Next::Run(trial) => return Ok(*trial),
                Next::Wait | Next::Done => self.wait(),
            }
        }
    }

    /// Ends a trial with what its objective gave.
    ///
    /// # Errors
    /// If the journal cannot be written. If that is why the objective gave an error, it is given back, and
    /// the trial is left to be run again.
    pub fn tell(&self, trial: &Trial<'_>, outcome: Result<f64>) -> Result<()> {
        trial.end(outcome)?;
        self.flush()
    }

    /// Brings to the disk what waits for it.
    pub(crate) fn flush(&self) -> Result<()> {
        self.lock().storage.flush()
    }

    /// A trial of a dead worker, one that was asked for, or a new one below `limit`.
    pub(crate) fn next(&self, limit: u64) -> Result<Next<'_>> {
        loop {
            let mut plan = Plan::Done;
            let (created, lost) = self.write(Need::Decide, |storage, study| {
                let (planned, ops) = self.plan(storage, study, limit);
                plan = planned;
                ops
            })?;
            let id = match plan {
                // Somebody took it who knows nothing of our lock: there may be others.
                _ if lost => continue,
                Plan::Take(id) => Some(id),
                Plan::New => created,
                Plan::Wait => return Ok(Next::Wait),
                Plan::Done => return Ok(Next::Done),
            };
            let mut inner = self.lock();
            inner.torn.retain(|&torn| Some(torn) != id);
            let state = inner.study(self.index)?;
            let number = id.and_then(|id| state.ids.binary_search(&id).ok());
            let record = number.and_then(|number| Some((id?, state.trials.all.get(number)?)));
            let (id, record) =
                record.ok_or_else(|| Error::argument("new trial", "kept", "lost"))?;
            return Ok(Next::Run(Box::new(Trial::new(self, id, record.clone()))));
        }
    }

    /// What to do next, and what to write for it.
    fn plan(&self, storage: &Storage, study: u64, limit: u64) -> (Plan, Vec<Op>) {
        let Some(Some(state)) = storage.replay().studies.get(self.index) else {
            return (Plan::Done, Vec::new());
        };
        let trials = &state.trials;
        let worker = || Json::from(storage.worker());
        for &number in &trials.unfinished {
            let trial = &trials.all[number as usize];
            let id = state.ids[number as usize];
            let (key, value) = (WORKER.to_owned(), worker());
            let claim = Op::TrialAttr { trial: id, user: false, key, value };
            if trial.state == State::Waiting {
                let (state, time) = (State::Running, Some(time::now()));
                let begin = Op::State { trial: id, state, value: None, time };
                return (Plan::Take(id), vec![claim, begin]);
            }
            if storage.is_abandoned(id, trial) {
                return (Plan::Take(id), vec![claim]);
            }
        }
        let number = trials.all.len() as u64;
        if number >= limit {
            // Those of other processes may have to be taken over yet; ours end without us.
            let unfinished = trials.unfinished.iter().map(|&n| &trials.all[n as usize]);
            let mut owners = unfinished.filter_map(|trial| storage.owner(trial));
            let wait = owners.any(|owner| owner != storage.worker());
            return (if wait { Plan::Wait } else { Plan::Done }, Vec::new());
        }
        let needed = self.sampler.waits_for(number);
        if trials.unfinished.range(..needed).next().is_some() {
            return (Plan::Wait, Vec::new());
        }
        let mut trial = TrialRecord::new(number, State::Running);
        trial.started = Some(time::now());
        trial.system_attrs.insert(WORKER.to_owned(), worker());
        (Plan::New, vec![Op::CreateTrial { study, trial: Box::new(trial) }])
    }

    /// Waits until a trial may have ended, in this process or another.
    pub(crate) fn wait(&self) {
        let inner = self.lock();
        let patience = Duration::from_millis(if inner.storage.is_shared() { 50 } else { 1000 });
        drop(self.ended.wait_timeout(inner, patience));
    }

    /// The position that the sampler gives, as a value to keep; written down for the trial.
    pub(crate) fn draw(
        &self,
        (id, number): (u64, u64),
        name: &str,
        distribution: &Distribution,
        fixed: Option<f64>,
    ) -> Result<f64> {
        let mut inner = self.lock();
        let trials = &inner.study(self.index)?.trials;
        let known = trials.distributions.get(name);
        if let Some(known) = known.filter(|known| !known.compatible(distribution)) {
            let what = format!("parameter `{name}`: distribution");
            let expected = format!("the kind it has in study `{}`, {known:?}", self.name);
            return Err(Error::argument(what, expected, format!("{distribution:?}")));
        }
        let kept = match fixed {
            Some(kept) => kept,
            None => {
                let ask = Ask::new(self.seed, number, name, distribution);
                distribution.at(self.sampler.position(&ask, &trials.history())?)
            }
        };
        let param = Param { name: name.to_owned(), distribution: distribution.clone(), kept };
        let mut ops = vec![Op::Param { trial: id, param }];
        if let Distribution::OneMinus { .. } = distribution {
            let value = distribution.value(kept).as_f64().into();
            ops.push(Op::TrialAttr { trial: id, user: true, key: name.to_owned(), value });
        }
        let written = inner.write_of(id, Need::Note, ops)?;
        inner.judge(self.index, written.events, u64::MAX);
        Ok(kept)
    }

    /// Leaves a trial to others, or to a later process, if it was cut short because something of it
    /// could not be written: that says nothing about the trial. Whether it was.
    pub(crate) fn leave_torn(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let torn = inner.torn.remove(&id);
        if torn {
            inner.storage.abandon(id);
            self.ended.notify_all();
        }
        torn
    }

    /// Writes records of a trial, which has these numbers in the storage and the study; whether the
    /// pruner wants it to stop.
    pub(crate) fn note(&self, (id, number): (u64, u64), need: Need, ops: Vec<Op>) -> Result<bool> {
        let mut inner = self.lock();
        let written = inner.write_of(id, need, ops)?;
        let stop = inner.judge(self.index, written.events, number);
        self.ended.notify_all();
        Ok(stop)
    }

    /// Notes something about the study.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn note_attr(&self, key: &str, value: Json) -> Result<()> {
        let key = key.to_owned();
        self.write(Need::Keep, |_, study| vec![Op::StudyAttr { study, user: true, key, value }])
            .map(drop)
    }

    /// What was noted about the study.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn attr(&self, key: &str) -> Result<Option<Json>> {
        self.look(|_| ())?;
        self.lock().storage.refresh()?;
        Ok(self.lock().study(self.index)?.user_attrs.get(key).cloned())
    }

    /// Writes what `decide` says; gives the storage's number of a trial that was made, and whether
    /// someone else was faster.
    fn write(
        &self,
        need: Need,
        decide: impl FnOnce(&Storage, u64) -> Vec<Op>,
    ) -> Result<(Option<u64>, bool)> {
        let mut inner = self.lock();
        let written = inner.storage.write(need, |storage| decide(storage, self.index as u64))?;
        inner.judge(self.index, written.events, u64::MAX);
        inner.study(self.index)?;
        Ok((written.created, written.lost))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock leaves it half done when it panics.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attribute in which Optuna keeps the values of a trial that was asked for.
pub(crate) const FIXED: &str = "fixed_params";
