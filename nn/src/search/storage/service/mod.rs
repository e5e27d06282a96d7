//! Studies in Optuna's storage service: its gRPC proxy in front of a database, shared by workers in
//! Rust and in Python on any number of machines.
//!
//! The service has neither locks nor signs of life. Decisions that must not be taken twice are taken
//! under a [`ServiceLock`]; a worker counts up an attribute of the trials that it runs, and one whose
//! count stands still for the grace period is taken for dead, by the clock of whoever watches.

mod client;
mod lock;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// The attribute of a trial that its worker counts up.
const BEAT: &str = "tilewise:beat";
/// Beats in a grace period: so many would have to be lost in a row.
const BEATS: u32 = 5;

/// Trials that this process runs.
type Active = Arc<Mutex<BTreeSet<i64>>>;

/// One study in the service.
#[derive(Debug)]
pub(crate) struct Service {
    client: Arc<Client>,
    name: String,
    study: Option<i64>,
    worker: String,
    grace: Duration,
    active: Active,
    /// When a trial that runs was last seen to change.
    seen: HashMap<u64, Instant>,
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
        let active = Active::default();
        let beating = active.clone();
        client.spawn(|line| async move {
            for beat in 1.. {
                tokio::time::sleep(grace / BEATS).await;
                let all = lock_set(&beating).clone();
                for id in all {
                    let value = u64::to_string(&beat);
                    let request = wire::SetAttribute { id, key: BEAT.into(), value };
                    // The trial may just have ended, and an outage is counted by the line.
                    let _: Result<wire::Nothing, _> =
                        line.call("/optuna.StorageService/SetTrialSystemAttribute", request).await;
                }
            }
        });
        let (name, worker) = (name.to_owned(), unique());
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

    /// Whether nobody will finish that trial: its worker has been silent for the grace period, or it
    /// is our own and nobody here knows of it, because an answer was lost.
    pub(crate) fn is_abandoned(&self, id: u64, trial: &TrialRecord) -> bool {
        match trial.system_attrs.get(WORKER).and_then(Json::as_str) {
            Some(owner) if owner == self.worker => !lock_set(&self.active).contains(&(id as i64)),
            Some(_) => self.seen.get(&id).is_some_and(|seen| seen.elapsed() > self.grace),
            None => false,
        }
    }

    /// Takes in what has changed.
    pub(crate) fn sync(&mut self, replay: &mut Replay) -> Result<Vec<(usize, Event)>> {
        if self.study.is_none() && !self.find(replay)? {
            return Ok(Vec::new());
        }
        let (Some(study), Some(Some(state))) = (self.study, replay.studies.first()) else {
            return Ok(Vec::new());
        };
        let unfinished = state.trials.unfinished.iter();
        let included = unfinished.map(|&number| state.ids[number as usize] as i64).collect();
        let after = state.ids.last().map_or(-1, |&id| id as i64);
        let request = wire::GetTrials { study, included, after };
        let answer = self.client.call("/optuna.StorageService/GetTrials", request);
        let trials: wire::Trials = match answer {
            Err(status) if status.code() == Code::NotFound => {
                replay.studies[0] = None;
                return Ok(Vec::new());
            }
            answer => answer.map_err(|status| self.client.error(&status))?,
        };
        self.take_in(replay, trials.trials)
    }

    fn take_in(
        &mut self,
        replay: &mut Replay,
        mut trials: Vec<wire::Trial>,
    ) -> Result<Vec<(usize, Event)>> {
        let now = Instant::now();
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
        let id = match self.client.call("/optuna.StorageService/GetStudyIdFromName", request) {
            Ok(wire::Id { id }) => id,
            Err(status) if status.code() == Code::NotFound => return Ok(false),
            Err(status) => return Err(self.client.error(&status)),
        };
        let answer = self.client.call("/optuna.StorageService/GetStudyDirections", wire::Id { id });
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
        let answer = self.client.call("/optuna.StorageService/GetStudyUserAttributes", request);
        let all: wire::Attributes = answer.map_err(|status| self.client.error(&status))?;
        let read = wire::read_attributes(&all.attributes);
        state.user_attrs = read.map_err(|got| self.client.wrong("attributes of a study", got))?;
        Ok(())
    }

    /// Sends records, up to one that somebody else was faster with.
    pub(crate) fn send(&mut self, replay: &mut Replay, ops: &[Op]) -> Result<Sent> {
        let mut sent = Sent::default();
        for op in ops {
            match op {
                Op::CreateStudy { name, directions } => {
                    let code = |&direction| i32::from(direction == Direction::Maximize);
                    let directions = directions.iter().map(code).collect();
                    let request = wire::NewStudy { directions, name: name.clone() };
                    let made: Result<wire::Id, _> =
                        self.client.call("/optuna.StorageService/CreateNewStudy", request);
                    self.check(made.map(drop), Code::AlreadyExists)?;
                    self.find(replay)?;
                }
                Op::StudyAttr { key, value, .. } => {
                    let id = self.study.unwrap_or(-1);
                    let request = attribute(id, key, value);
                    let answer: Result<wire::Nothing, _> =
                        self.client.call("/optuna.StorageService/SetStudyUserAttribute", request);
                    self.check(answer.map(drop), Code::Ok)?;
                    replay.apply(op.clone());
                }
                Op::CreateTrial { trial, .. } => {
                    let id = self.create(trial)?;
                    sent.created = Some(id as u64);
                    sent.lost = trial.state == State::Running && !self.begin(id)?;
                }
                Op::State { trial, state: State::Running, .. } => {
                    sent.lost = !self.begin(*trial as i64)?;
                }
                _ => self.change(op)?,
            }
            if sent.lost {
                break;
            }
        }
        Ok(sent)
    }

    fn create(&self, trial: &TrialRecord) -> Result<i64> {
        let request = wire::NewTrial {
            study: self.study.unwrap_or(-1),
            template: Some(wire::Trial::waiting(trial)),
            without_template: false,
        };
        let made = self.client.call("/optuna.StorageService/CreateNewTrial", request);
        let made: wire::Id = made.map_err(|status| self.client.error(&status))?;
        Ok(made.id)
    }

    /// Begins a trial that waits and bears our name; whether nobody else was faster, which only those
    /// who know nothing of our lock can be.
    fn begin(&self, trial: i64) -> Result<bool> {
        let outages = self.client.outages();
        let state = wire::state_code(State::Running);
        let request = wire::SetState { trial, state, values: Vec::new() };
        let answer = self.client.call("/optuna.StorageService/SetTrialStateValues", request);
        let ours = match answer {
            // Refused after an outage: by our own first call, whose answer was lost.
            Ok(wire::Updated { updated }) => updated || self.client.outages() != outages,
            Err(status) if status.code() == Code::FailedPrecondition => false,
            Err(status) => return Err(self.client.error(&status)),
        };
        if ours {
            lock_set(&self.active).insert(trial);
        } else {
            let nobody = attribute(trial, WORKER, &Json::Null);
            let answer: Result<wire::Nothing, _> =
                self.client.call("/optuna.StorageService/SetTrialSystemAttribute", nobody);
            self.check(answer.map(drop), Code::FailedPrecondition)?;
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
                let request = wire::SetParameter { trial, name, kept: param.kept, distribution };
                self.tell("/optuna.StorageService/SetTrialParameter", request)
            }
            Op::Report { trial, step, value } => {
                let request = wire::SetReport { trial: *trial as i64, step: *step, value: *value };
                self.tell("/optuna.StorageService/SetTrialIntermediateValue", request)
            }
            Op::TrialAttr { trial, user, key, value } => {
                let method = if *user {
                    "/optuna.StorageService/SetTrialUserAttribute"
                } else {
                    "/optuna.StorageService/SetTrialSystemAttribute"
                };
                let answer = self.tell(method, attribute(*trial as i64, key, value));
                if key == WORKER {
                    lock_set(&self.active).insert(*trial as i64);
                }
                answer
            }
            Op::State { trial, state, value, .. } => {
                let (trial, state) = (*trial as i64, wire::state_code(*state));
                let request =
                    wire::SetState { trial, state, values: value.iter().copied().collect() };
                let answer =
                    self.client.call("/optuna.StorageService/SetTrialStateValues", request);
                lock_set(&self.active).remove(&trial);
                answer.map(|_: wire::Updated| ())
            }
            _ => Ok(()),
        };
        self.check(answer, Code::FailedPrecondition)
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

fn lock_set(active: &Active) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
    // A set is never left half changed.
    active.lock().unwrap_or_else(PoisonError::into_inner)
}
