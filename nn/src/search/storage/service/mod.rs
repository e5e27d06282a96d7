//! Studies in Optuna's storage service: its gRPC proxy in front of a database, shared by workers in
//! Rust and in Python on any number of machines.
//!
//! The service has neither locks nor signs of life. Decisions that must not be taken twice are taken
//! under a [`ServiceLock`]; a worker counts up an attribute of the trials that it runs, and one whose
//! count stands still while a watcher's goes through a grace period is taken for dead. So a watcher
//! that was stopped itself, alone or with all others, takes nobody for dead on waking up.

mod client;
mod lock;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tonic::{Code, Status};

use super::op::{Op, write_distribution};
use super::replay::{Event, Replay, StudyState};
use super::worker::WORKER;
use super::{json, unique};
use crate::error::Result;
use crate::search::record::{Direction, State, TrialRecord};
use client::Client;
pub(crate) use lock::ServiceLock;

/// The attribute of a trial that its worker counts up, behind its name.
const BEAT: &str = "tilewise:beat";
/// Beats in a grace period: so many would have to be lost in a row.
const BEATS: u32 = 5;
/// How often a service that says that it knows nothing of a trial is asked to look again.
const LOOKS: u32 = 5;

/// What this process runs.
#[derive(Debug, Default)]
struct Active {
    trials: Mutex<BTreeSet<i64>>,
    /// Rounds of beats so far.
    rounds: AtomicU64,
}

impl Active {
    fn trials(&self) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
        // A set is never left half changed.
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

/// One study in the service.
#[derive(Debug)]
pub(crate) struct Service {
    client: Arc<Client>,
    name: String,
    study: Option<i64>,
    worker: String,
    grace: Duration,
    active: Arc<Active>,
    /// In which round of our beats a trial that runs was last seen to change.
    seen: HashMap<u64, u64>,
    outages: u64,
}

/// What became of records that were sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The storage's number of the trial that was made.
    pub(crate) created: Option<u64>,
    /// Somebody else took the trial that was to be begun.
    pub(crate) lost: bool,
}

impl Service {
    /// The study `name` of the service at `url`.
    pub(crate) fn new(url: &str, name: &str, grace: Duration) -> Result<Self> {
        let client = Arc::new(Client::new(url)?);
        let (name, worker) = (name.to_owned(), unique());
        let active = Arc::<Active>::default();
        let (beating, who) = (active.clone(), worker.clone());
        client.spawn(|line| async move {
            for beat in 1_u64.. {
                tokio::time::sleep(grace / BEATS).await;
                let all = beating.trials().clone();
                for id in all {
                    let request = attribute(id, BEAT, &Json::from(format!("{who} {beat}")));
                    // The trial may just have ended, and an outage is counted by the line.
                    let _: Result<wire::Nothing, _> =
                        line.call("SetTrialSystemAttribute", request).await;
                }
                beating.rounds.store(beat, Ordering::Relaxed);
            }
        });
        let (study, seen, outages) = (None, HashMap::new(), 0);
        Ok(Self { client, name, study, worker, grace, active, seen, outages })
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    /// The lock for decisions.
    pub(crate) fn lock(&self) -> Result<ServiceLock> {
        ServiceLock::acquire(&self.client, &self.name, self.grace)
    }

    /// Who runs a trial, if that is one of ours. Whoever was slow may have put another name in its place,
    /// and taken that away again; but only the one who runs it counts.
    pub(crate) fn owner(trial: &TrialRecord) -> Option<&str> {
        let text = |key| trial.system_attrs.get(key).and_then(Json::as_str);
        text(WORKER).or_else(|| text(BEAT)?.split(' ').next())
    }

    /// Whether nobody will finish that trial: its worker has been silent for the grace period, or it
    /// is our own and nobody here knows of it, because an answer was lost.
    pub(crate) fn is_abandoned(&self, id: u64, trial: &TrialRecord) -> bool {
        match Self::owner(trial) {
            Some(owner) if owner == self.worker => !self.active.trials().contains(&(id as i64)),
            Some(_) => {
                // The round in which it was seen had begun already.
                let seen = self.seen.get(&id);
                seen.is_some_and(|seen| self.active.rounds() - seen > u64::from(BEATS))
            }
            None => false,
        }
    }

    /// Gives a trial up that we run.
    pub(crate) fn abandon(&self, id: u64) {
        self.active.trials().remove(&(id as i64));
    }

    /// Takes in what has changed.
    pub(crate) fn sync(&mut self, replay: &mut Replay) -> Result<Vec<(usize, Event)>> {
        if self.study.is_none() && !self.find(replay)? {
            return Ok(Vec::new());
        }
        let Some(Some(state)) = replay.studies.first() else {
            return Ok(Vec::new());
        };
        let unfinished = state.trials.unfinished.iter();
        let included = unfinished.map(|&number| state.ids[number as usize] as i64).collect();
        let after = state.ids.last().map_or(-1, |&id| id as i64);
        let trials = match self.trials(included, after) {
            Err(status) if status.code() == Code::NotFound => {
                replay.studies[0] = None;
                return Ok(Vec::new());
            }
            answer => answer.map_err(|status| self.client.error(&status))?,
        };
        self.take_in(replay, trials)
    }

    /// Those trials and all with larger numbers than `after`.
    fn trials(&self, included: Vec<i64>, after: i64) -> Result<Vec<wire::Trial>, Status> {
        let request = wire::GetTrials { study: self.study.unwrap_or(-1), included, after };
        let answer = self.client.call("GetTrials", request);
        answer.map(|trials: wire::Trials| trials.trials)
    }

    fn take_in(
        &mut self,
        replay: &mut Replay,
        mut trials: Vec<wire::Trial>,
    ) -> Result<Vec<(usize, Event)>> {
        let now = self.active.rounds();
        if self.client.outages() != self.outages {
            // Workers that could not be heard were not silent.
            self.outages = self.client.outages();
            self.seen.values_mut().for_each(|seen| *seen = now);
        }
        trials.sort_by_key(|trial| trial.number);
        let mut events = Vec::new();
        for trial in trials {
            let record = trial.read().map_err(|got| {
                self.client.wrong(&format!("trial {} of `{}`", trial.number, self.name), got)
            })?;
            let id = trial.id as u64;
            if record.state.is_finished() {
                self.seen.remove(&id);
            } else if !self.seen.contains_key(&id) || replay.differs(0, &record) {
                self.seen.insert(id, now);
            }
            events.extend(replay.absorb(0, id, record));
        }
        Ok(events)
    }

    /// Looks for the study by its name.
    fn find(&mut self, replay: &mut Replay) -> Result<bool> {
        let request = wire::Name { name: self.name.clone() };
        let id = match self.client.call("GetStudyIdFromName", request) {
            Ok(wire::Id { id }) => id,
            Err(status) if status.code() == Code::NotFound => return Ok(false),
            Err(status) => return Err(self.client.error(&status)),
        };
        let answer = self.client.call("GetStudyDirections", wire::Id { id });
        let wire::Directions { directions } =
            answer.map_err(|status| self.client.error(&status))?;
        let direction = |&code| if code == 0 { Direction::Minimize } else { Direction::Maximize };
        let directions: Vec<Direction> = directions.iter().map(direction).collect();
        self.study = Some(id);
        replay.studies = vec![Some(StudyState::new(self.name.clone(), directions))];
        self.refresh(replay)?;
        Ok(true)
    }

    /// Reads the attributes of the study anew.
    pub(crate) fn refresh(&self, replay: &mut Replay) -> Result<()> {
        let (Some(id), Some(Some(state))) = (self.study, replay.studies.first_mut()) else {
            return Ok(());
        };
        let request = wire::Id { id };
        let answer = self.client.call("GetStudyUserAttributes", request);
        let all: wire::Attributes = answer.map_err(|status| self.client.error(&status))?;
        let read = wire::read_attributes(&all.attributes);
        state.user_attrs = read.map_err(|got| self.client.wrong("attributes of a study", got))?;
        Ok(())
    }

    /// Sends records, up to one that somebody else was faster with.
    pub(crate) fn send(&mut self, replay: &mut Replay, ops: &[Op]) -> Result<Sent> {
        let (mut sent, mut ours) = (Sent::default(), None);
        for op in ops {
            match op {
                Op::CreateStudy { name, directions } => {
                    let code = |&direction| i32::from(direction == Direction::Maximize);
                    let directions = directions.iter().map(code).collect();
                    let request = wire::NewStudy { directions, name: name.clone() };
                    let made: Result<wire::Id, _> = self.client.call("CreateNewStudy", request);
                    self.check(made.map(drop), Code::AlreadyExists)?;
                    self.find(replay)?;
                }
                Op::StudyAttr { key, value, .. } => {
                    let id = self.study.unwrap_or(-1);
                    let request = attribute(id, key, value);
                    self.check(self.tell("SetStudyUserAttribute", request), Code::Ok)?;
                    replay.apply(op.clone());
                }
                Op::CreateTrial { trial, .. } => {
                    let after = replay.studies.first().and_then(Option::as_ref);
                    let after = after.and_then(|state| state.ids.last());
                    let id = self.create(trial, after.map_or(-1, |&id| id as i64))?;
                    sent.created = Some(id as u64);
                    if trial.state == State::Running {
                        (sent.lost, ours) = (!self.begin(id)?, Some(id));
                    }
                }
                Op::TrialAttr { trial, key, value, .. } if key == WORKER => {
                    let request = attribute(*trial as i64, key, value);
                    // Ended meanwhile, though nobody seemed to run it.
                    let answer = self.tell("SetTrialSystemAttribute", request);
                    sent.lost = is_over(&answer);
                    self.check(answer, Code::FailedPrecondition)?;
                    ours = Some(*trial as i64);
                }
                Op::State { trial, state: State::Running, .. } => {
                    sent.lost = !self.begin(*trial as i64)?;
                }
                _ => self.change(op)?,
            }
            if sent.lost {
                return Ok(sent);
            }
        }
        // Only now: a beat tells all others that it is ours.
        self.active.trials().extend(ours);
        Ok(sent)
    }

    /// Makes a trial, behind those with numbers up to `after`.
    fn create(&self, trial: &TrialRecord, after: i64) -> Result<i64> {
        let study = self.study.unwrap_or(-1);
        let template = Some(wire::Trial::waiting(trial));
        let request = wire::NewTrial { study, template, without_template: false };
        // One that is to be run waits under our name, if it was made and the answer was lost.
        let made = || {
            let trials = self.trials(Vec::new(), after).ok()?;
            let mut waiting =
                trials.iter().filter_map(|trial| Some((trial.id, trial.read().ok()?)));
            let ours = |trial: &TrialRecord| {
                trial.state == State::Waiting && Self::owner(trial) == Some(&self.worker)
            };
            waiting.find(|(_, trial)| ours(trial)).map(|(id, _)| wire::Id { id })
        };
        let made = self.client.call_unless("CreateNewTrial", request, made);
        Ok(made.map_err(|status| self.client.error(&status))?.id)
    }

    /// Begins a trial that waits and bears our name; whether nobody else was faster, which only those
    /// can be who know nothing of our lock, or passed it over.
    fn begin(&self, trial: i64) -> Result<bool> {
        let (state, mut again) = (wire::state_code(State::Running), false);
        let request = wire::SetState { trial, state, values: Vec::new() };
        let answer = self.client.call_unless("SetTrialStateValues", request, || {
            again = true;
            None
        });
        let ours = match answer {
            // Refused after an outage: by our own first call, whose answer was lost.
            Ok(wire::Updated { updated }) => updated || again,
            Err(status) if status.code() == Code::FailedPrecondition => false,
            Err(status) => return Err(self.client.error(&status)),
        };
        if !ours {
            let nobody = attribute(trial, WORKER, &Json::Null);
            let answer = self.tell("SetTrialSystemAttribute", nobody);
            self.check(answer, Code::FailedPrecondition)?;
        }
        Ok(ours)
    }

    /// Changes a trial. If it has ended already, others took us for dead and were faster, or an answer
    /// was lost: nothing is left to do.
    fn change(&self, op: &Op) -> Result<()> {
        let answer: Result<(), Status> = match op {
            Op::Param { trial, param } => {
                let (name, distribution) = write_distribution(param);
                let trial = *trial as i64;
                self.set(wire::SetParameter { trial, name, kept: param.kept, distribution })
            }
            Op::Report { trial, step, value } => {
                let request = wire::SetReport { trial: *trial as i64, step: *step, value: *value };
                self.tell("SetTrialIntermediateValue", request)
            }
            Op::TrialAttr { trial, user, key, value } => {
                let method =
                    if *user { "SetTrialUserAttribute" } else { "SetTrialSystemAttribute" };
                self.tell(method, attribute(*trial as i64, key, value))
            }
            Op::State { trial, state, value, .. } => {
                let (id, state) = (*trial as i64, wire::state_code(*state));
                let values = value.iter().copied().collect();
                let answer =
                    self.tell("SetTrialStateValues", wire::SetState { trial: id, state, values });
                self.abandon(*trial);
                answer
            }
            _ => Ok(()),
        };
        self.check(answer, Code::FailedPrecondition)
    }

    /// Sets a parameter. A service that was started anew knows no trial of which nobody has asked yet,
    /// and of all changes refuses this one; so it is asked.
    fn set(&self, request: wire::SetParameter) -> Result<(), Status> {
        let mut answer = self.tell("SetTrialParameter", request.clone());
        for _ in 0..LOOKS {
            if answer.as_ref().is_err_and(|status| status.code() == Code::NotFound) {
                self.trials(Vec::new(), i64::MAX)?;
                answer = self.tell("SetTrialParameter", request.clone());
            }
        }
        answer
    }

    fn tell<Q: prost::Message + Clone + 'static>(
        &self,
        method: &'static str,
        request: Q,
    ) -> Result<(), Status> {
        self.client.call(method, request).map(|_: wire::Nothing| ())
    }

    /// An error, but for the one that is expected.
    fn check(&self, answer: Result<(), Status>, expected: Code) -> Result<()> {
        match answer {
            Err(status) if status.code() != expected => Err(self.client.error(&status)),
            _ => Ok(()),
        }
    }
}

fn attribute(id: i64, key: &str, value: &Json) -> wire::SetAttribute {
    wire::SetAttribute { id, key: key.to_owned(), value: json::write(value) }
}

/// Whether a trial has ended already.
fn is_over(answer: &Result<(), Status>) -> bool {
    answer.as_ref().is_err_and(|status| status.code() == Code::FailedPrecondition)
}
