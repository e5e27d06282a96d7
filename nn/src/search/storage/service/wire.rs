//! The messages of Optuna's storage service that are used here, version 3 of protocol buffers.
//!
//! Written down from the service's descriptor instead of generated: they are few and change rarely,
//! and no compiler of protocols is needed. Calls of the same shape share a message.

use std::collections::BTreeMap;

use crate::search::record::{State, TrialRecord};
use crate::search::storage::json;
use crate::search::storage::op::{code, read_param, state_of, write_distribution};

/// The states of trials have the same numbers here and in journals.
pub(super) fn state_code(state: State) -> i32 {
    code(state) as i32
}

/// Something by its number: a study or a trial.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Id {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

/// A study by its name.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Name {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Nothing {}

/// What to minimise (0) and maximise (1).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Directions {
    #[prost(int32, repeated, tag = "1")]
    pub(super) directions: Vec<i32>,
}

/// Attributes by name, as JSON.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attributes {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(super) attributes: BTreeMap<String, String>,
}

/// A study to be made.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewStudy {
    #[prost(int32, repeated, tag = "1")]
    pub(super) directions: Vec<i32>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// An attribute, as JSON, of a study or a trial.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetAttribute {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(string, tag = "2")]
    pub(super) key: String,
    #[prost(string, tag = "3")]
    pub(super) value: String,
}

/// A study in the list of all.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Study {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) system_attributes: BTreeMap<String, String>,
}

/// The list of all studies.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Studies {
    #[prost(message, repeated, tag = "1")]
    pub(super) studies: Vec<Study>,
}

/// A trial to be made.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewTrial {
    #[prost(int64, tag = "1")]
    pub(super) study: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) template: Option<Trial>,
    #[prost(bool, tag = "3")]
    pub(super) without_template: bool,
}

/// A hyperparameter of a trial.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetParameter {
    #[prost(int64, tag = "1")]
    pub(super) trial: i64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(double, tag = "3")]
    pub(super) kept: f64,
    #[prost(string, tag = "4")]
    pub(super) distribution: String,
}

/// The state of a trial and its value.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetState {
    #[prost(int64, tag = "1")]
    pub(super) trial: i64,
    #[prost(int32, tag = "2")]
    pub(super) state: i32,
    #[prost(double, repeated, tag = "3")]
    pub(super) values: Vec<f64>,
}

/// Whether that changed anything.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Updated {
    #[prost(bool, tag = "1")]
    pub(super) updated: bool,
}

/// An intermediate value.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetReport {
    #[prost(int64, tag = "1")]
    pub(super) trial: i64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(double, tag = "3")]
    pub(super) value: f64,
}

/// Asks for the trials with these numbers and for all after another.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetTrials {
    #[prost(int64, tag = "1")]
    pub(super) study: i64,
    #[prost(int64, repeated, tag = "2")]
    pub(super) included: Vec<i64>,
    #[prost(int64, tag = "3")]
    pub(super) after: i64,
}

/// Trials.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Trials {
    #[prost(message, repeated, tag = "1")]
    pub(super) trials: Vec<Trial>,
}

/// A trial.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Trial {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) number: i64,
    #[prost(int32, tag = "3")]
    pub(super) state: i32,
    #[prost(double, repeated, tag = "4")]
    pub(super) values: Vec<f64>,
    #[prost(string, tag = "5")]
    pub(super) started: String,
    #[prost(string, tag = "6")]
    pub(super) ended: String,
    #[prost(btree_map = "string, double", tag = "7")]
    pub(super) params: BTreeMap<String, f64>,
    #[prost(btree_map = "string, string", tag = "8")]
    pub(super) distributions: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(super) user_attributes: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub(super) system_attributes: BTreeMap<String, String>,
    #[prost(btree_map = "int64, double", tag = "11")]
    pub(super) reports: BTreeMap<i64, f64>,
}

impl Trial {
    /// A trial that waits to be begun: only then does the service's clock set when that was.
    pub(super) fn waiting(record: &TrialRecord) -> Self {
        let written = |(key, value): (&String, _)| (key.clone(), json::write(value));
        let mut trial = Self {
            state: state_code(State::Waiting),
            user_attributes: record.user_attrs.iter().map(written).collect(),
            system_attributes: record.system_attrs.iter().map(written).collect(),
            ..Self::default()
        };
        for param in &record.params {
            let (name, distribution) = write_distribution(param);
            trial.params.insert(name.clone(), param.kept);
            trial.distributions.insert(name, distribution);
        }
        trial
    }

    /// The trial as studies keep it. Parameters come in the order of their names.
    pub(super) fn read(&self) -> Result<TrialRecord, String> {
        let state = state_of(self.state as u64)?;
        let number = u64::try_from(self.number).map_err(|_| format!("number {}", self.number))?;
        let mut record = TrialRecord::new(number, state);
        for (name, &kept) in &self.params {
            let distribution = self.distributions.get(name);
            let distribution =
                distribution.ok_or_else(|| format!("no distribution of `{name}`"))?;
            record.set_param(read_param(name, distribution, kept)?);
        }
        record.value = self.values.first().copied();
        record.user_attrs = read_attributes(&self.user_attributes)?;
        record.system_attrs = read_attributes(&self.system_attributes)?;
        record.reports = self.reports.clone();
        // The service's local time, without its zone: `2026-01-31 12:00:00.000001`.
        let time = |text: &String| (!text.is_empty()).then(|| text.replacen(' ', "T", 1));
        (record.started, record.ended) = (time(&self.started), time(&self.ended));
        Ok(record)
    }
}

/// Attributes as JSON values.
pub(super) fn read_attributes(
    all: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, serde_json::Value>, String> {
    let read = |(key, text): (&String, &String)| {
        let value = json::read(text).map_err(|error| format!("attribute `{key}`: {error}"))?;
        Ok((key.clone(), json::plain(&value)))
    };
    all.iter().map(read).collect()
}
