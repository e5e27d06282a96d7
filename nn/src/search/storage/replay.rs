//! The studies that the records of a journal describe.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::op::Op;
use crate::search::history::Trials;
use crate::search::record::{Direction, State, TrialRecord};

/// A study and its trials.
#[derive(Debug, Clone)]
pub(crate) struct StudyState {
    pub(crate) name: String,
    pub(crate) directions: Vec<Direction>,
    pub(crate) user_attrs: BTreeMap<String, Json>,
    pub(crate) system_attrs: BTreeMap<String, Json>,
    pub(crate) trials: Trials,
    /// The storage's number of each trial.
    pub(crate) ids: Vec<u64>,
}

impl StudyState {
    /// Without trials.
    pub(crate) fn new(name: String, directions: Vec<Direction>) -> Self {
        let first = directions.first().copied().unwrap_or(Direction::Minimize);
        let (user_attrs, system_attrs) = (BTreeMap::new(), BTreeMap::new());
        Self { name, directions, user_attrs, system_attrs, trials: Trials::new(first), ids: vec![] }
    }
}

/// Something a pruner wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event {
    Report { trial: u64, step: i64, value: f64 },
    End { trial: u64 },
}

/// What all records together mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    /// By number; deleted ones leave a gap.
    pub(crate) studies: Vec<Option<StudyState>>,
    /// Study and number there, by the storage's number.
    trials: Vec<(usize, u64)>,
}

impl Replay {
    /// The study of that name and its number.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &StudyState)> {
        let mut all = self.studies.iter().enumerate();
        all.find_map(|(id, study)| Some((id, study.as_ref().filter(|study| study.name == name)?)))
    }

    /// The number that the storage gives to the next trial.
    pub(crate) fn trial_count(&self) -> u64 {
        self.trials.len() as u64
    }

    /// Applies a record. One that does not fit what came before has no effect: whoever wrote it lost a
    /// race, and all readers agree on that. Gives what happened and in which study.
    pub(crate) fn apply(&mut self, op: Op) -> Option<(usize, Event)> {
        match op {
            Op::CreateStudy { name, directions } => {
                if self.find(&name).is_none() {
                    self.studies.push(Some(StudyState::new(name, directions)));
                }
                None
            }
            Op::DeleteStudy { study } => {
                if let Some(study) = self.studies.get_mut(study as usize) {
                    *study = None;
                }
                None
            }
            Op::StudyAttr { study, user, key, value } => {
                let study = self.studies.get_mut(study as usize)?.as_mut()?;
                let attrs = if user { &mut study.user_attrs } else { &mut study.system_attrs };
                attrs.insert(key, value);
                None
            }
            Op::CreateTrial { study, trial } => self.create(study as usize, *trial),
            Op::Param { trial, param } => {
                let (_, trials, number) = self.running(trial)?;
                let known = trials.distributions.get(&param.name);
                if known.is_none_or(|known| known.compatible(&param.distribution)) {
                    if known.is_none() {
                        let first = param.distribution.clone();
                        trials.distributions.insert(param.name.clone(), first);
                    }
                    trials.all[number].set_param(param);
                }
                None
            }
            Op::State { trial, state, value, time } => self.state(trial, state, value, time),
            Op::Report { trial, step, value } => {
                let (study, trials, number) = self.running(trial)?;
                trials.all[number].reports.insert(step, value);
                Some((study, Event::Report { trial: number as u64, step, value }))
            }
            Op::TrialAttr { trial, user, key, value } => {
                let (_, trials, number) = self.running(trial)?;
                let trial = &mut trials.all[number];
                let attrs = if user { &mut trial.user_attrs } else { &mut trial.system_attrs };
                attrs.insert(key, value);
                None
            }
            Op::Discard => None,
        }
    }

    fn create(&mut self, study: usize, mut trial: TrialRecord) -> Option<(usize, Event)> {
        let id = self.trials.len() as u64;
        let state = self.studies.get_mut(study)?.as_mut()?;
        let number = state.ids.len() as u64;
        state.ids.push(id);
        trial.number = number;
        for param in &trial.params {
            let known = state.trials.distributions.entry(param.name.clone());
            known.or_insert_with(|| param.distribution.clone());
        }
        let finished = trial.state.is_finished();
        state.trials.all.push(trial);
        state.trials.unfinished.insert(number);
        self.trials.push((study, number));
        finished.then(|| {
            state.trials.note_end(number);
            (study, Event::End { trial: number })
        })
    }

    fn state(
        &mut self,
        trial: u64,
        state: State,
        value: Option<f64>,
        time: Option<String>,
    ) -> Option<(usize, Event)> {
        let (study, trials, number) = self.running(trial)?;
        let trial = &mut trials.all[number];
        if state == State::Running && trial.state == State::Running {
            return None;
        }
        trial.state = state;
        trial.value = value.or(trial.value);
        match state {
            State::Running => trial.started = time,
            state if state.is_finished() => {
                trial.ended = time;
                trials.note_end(number as u64);
                return Some((study, Event::End { trial: number as u64 }));
            }
            _ => {}
        }
        None
    }

    /// Whether this differs from what is known of the trial of that number.
    #[cfg(feature = "grpc")]
    pub(crate) fn differs(&self, study: usize, trial: &TrialRecord) -> bool {
        let state = self.studies.get(study).and_then(Option::as_ref);
        let known = state.and_then(|state| state.trials.all.get(trial.number as usize));
        known.is_none_or(|known| known != trial)
    }

    /// Takes in a trial as a service knows it now. One that leaves a gap behind those before comes
    /// again with the next look; one that has ended changes no more.
    #[cfg(feature = "grpc")]
    pub(crate) fn absorb(
        &mut self,
        study: usize,
        id: u64,
        trial: TrialRecord,
    ) -> Vec<(usize, Event)> {
        let Some(state) = self.studies.get_mut(study).and_then(Option::as_mut) else {
            return Vec::new();
        };
        let (number, known) = (trial.number, state.trials.all.len() as u64);
        if number == known {
            state.ids.push(id);
            state.trials.all.push(TrialRecord::new(number, State::Waiting));
            state.trials.unfinished.insert(number);
        }
        let Some(old) = state.trials.all.get_mut(number as usize) else { return Vec::new() };
        if old.state.is_finished() {
            return Vec::new();
        }
        let is_new = |(step, value): &(&i64, &f64)| {
            old.reports.get(step).is_none_or(|old| old.to_bits() != value.to_bits())
        };
        let report = |(&step, &value)| (study, Event::Report { trial: number, step, value });
        let mut events: Vec<_> = trial.reports.iter().filter(is_new).map(report).collect();
        for param in &trial.params {
            let known = state.trials.distributions.entry(param.name.clone());
            known.or_insert_with(|| param.distribution.clone());
        }
        let finished = trial.state.is_finished();
        *old = trial;
        if finished {
            state.trials.note_end(number);
            events.push((study, Event::End { trial: number }));
        }
        events
    }

    /// The trial with the storage's number `id`, if it has not ended and its study is still there.
    fn running(&mut self, id: u64) -> Option<(usize, &mut Trials, usize)> {
        let &(study, number) = self.trials.get(id as usize)?;
        let trials = &mut self.studies.get_mut(study)?.as_mut()?.trials;
        let ended = trials.all.get(number as usize)?.state.is_finished();
        (!ended).then_some((study, trials, number as usize))
    }
}
