//! What is kept of a trial.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::search::distribution::{Param, Value};

/// What is wanted of the objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small values.
    Minimize,
    /// Large values.
    Maximize,
}

impl Direction {
    /// The value, or its negative: what is to be minimised.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

/// Where a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or its worker was killed.
    Running,
    /// It ended with a value.
    Complete,
    /// It was stopped because others did better.
    Pruned,
    /// It ended with an error, a panic or NaN.
    Failed,
    /// It is asked for and has not begun.
    Waiting,
}

impl State {
    /// Whether it has ended.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Failed)
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Pruned => "pruned",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        }
    }
}

/// What is kept of a trial.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrialRecord {
    /// Its number in the study, from 0.
    pub number: u64,
    /// Where it stands.
    pub state: State,
    /// Its hyperparameters, in the order in which they were asked for.
    pub params: Vec<Param>,
    /// What the objective gave.
    pub value: Option<f64>,
    /// Intermediate values by step.
    pub reports: BTreeMap<i64, f64>,
    /// What the objective and its users noted.
    pub user_attrs: BTreeMap<String, Json>,
    /// What tuners noted.
    pub system_attrs: BTreeMap<String, Json>,
    /// When it began: ISO 8601 with the offset of the time zone.
    pub started: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
}

impl TrialRecord {
    pub(crate) fn new(number: u64, state: State) -> Self {
        Self {
            number,
            state,
            params: Vec::new(),
            value: None,
            reports: BTreeMap::new(),
            user_attrs: BTreeMap::new(),
            system_attrs: BTreeMap::new(),
            started: None,
            ended: None,
        }
    }

    /// The hyperparameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Its value.
    pub fn value_of(&self, name: &str) -> Option<Value> {
        self.param(name).map(Param::value)
    }

    /// Its value as a number; none for text.
    pub fn number_of(&self, name: &str) -> Option<f64> {
        self.value_of(name)?.as_f64()
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<&str> {
        self.user_attrs.get(FAILURE)?.as_str()
    }

    pub(crate) fn set_param(&mut self, param: Param) {
        match self.params.iter_mut().find(|other| other.name == param.name) {
            Some(other) => *other = param,
            None => self.params.push(param),
        }
    }
}

/// The attribute under which the reason of a failure is kept.
pub(crate) const FAILURE: &str = "fail_reason";
