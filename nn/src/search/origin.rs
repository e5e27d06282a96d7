//! When, on what and by what a study was made; when to do it again.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tilewise_kernels::{Float, Isa};

use crate::data::Supervised;
use crate::error::{Error, Result};
use crate::loss::Targets;
use crate::matrix::Matrix;
use crate::search::record::TrialRecord;
use crate::search::storage::time::unix_seconds;
use crate::search::study::Study;
use crate::search::trial::Trial;

/// What results of a study may depend on, apart from its hyperparameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Seconds since 1970.
    pub date: u64,
    /// Of the data, where it was told; see [`fingerprint`].
    pub data: Option<u64>,
    /// This crate's version.
    pub version: String,
    /// The processor's architecture and the instruction sets that are used of it.
    pub cpu: String,
}

impl Origin {
    pub(crate) const ATTR: &str = "tilewise:origin";

    /// Here and now.
    pub fn here(data: Option<u64>) -> Self {
        let isa = Isa::best().map_or_else(|error| error.to_string(), |isa| isa.to_string());
        Self {
            date: unix_seconds(),
            data,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu: format!("{} {isa}", std::env::consts::ARCH),
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        // In words of 16 digits: other readers hold numbers in 53 bits.
        let data = self.data.map(|data| format!("{data:016x}"));
        json!({"date": self.date, "data": data, "version": self.version, "cpu": self.cpu})
    }

    fn from_json(json: &Json) -> Option<Self> {
        let text = |field: &str| json.get(field).and_then(Json::as_str);
        Some(Self {
            date: json.get("date")?.as_u64()?,
            data: text("data").and_then(|data| u64::from_str_radix(data, 16).ok()),
            version: text("version")?.to_owned(),
            cpu: text("cpu")?.to_owned(),
        })
    }
}

/// A reason to tune again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// The study is older than wanted.
    Old {
        /// How old it is.
        age: Duration,
    },
    /// The data is not that of the study.
    Data,
    /// Another version of this crate.
    Version {
        /// The study's.
        was: String,
    },
    /// Another processor or other instruction sets: results differ in the last bits.
    Cpu {
        /// The study's.
        was: String,
    },
    /// Nothing is known about where the study comes from.
    Unknown,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old { age } => write!(f, "it is {} days old", age.as_secs() / 86_400),
            Self::Data => f.write_str("the data has changed"),
            Self::Version { was } => write!(f, "it was made by version {was}"),
            Self::Cpu { was } => write!(f, "it was made on {was}"),
            Self::Unknown => f.write_str("it does not say where it comes from"),
        }
    }
}

/// A trial that was run again.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Retest {
    /// As it was.
    pub trial: TrialRecord,
    /// What the objective gives now, or why it gives nothing.
    pub outcome: Result<f64, String>,
}

impl Retest {
    /// By how much the value has changed; none where there is no value now.
    pub fn drift(&self) -> Option<f64> {
        Some(self.outcome.as_ref().ok()? - self.trial.value?)
    }
}

impl Study {
    /// Where the study comes from; none for a study that other tuners made.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn origin(&self) -> Result<Option<Origin>> {
        Ok(self.attr(Origin::ATTR)?.as_ref().and_then(Origin::from_json))
    }

    /// The reasons to tune again, if there are any: hyperparameters that were best once need not be
    /// best for other data, on another machine or after half a year.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn stale(&self, data: Option<u64>, max_age: Duration) -> Result<Vec<Stale>> {
        let Some(was) = self.origin()? else { return Ok(vec![Stale::Unknown]) };
        let now = Origin::here(data);
        let age = Duration::from_secs(now.date.saturating_sub(was.date));
        let mut reasons = Vec::new();
        if age > max_age {
            reasons.push(Stale::Old { age });
        }
        if data.is_some() && was.data != data {
            reasons.push(Stale::Data);
        }
        if was.version != now.version {
            reasons.push(Stale::Version { was: was.version });
        }
        if was.cpu != now.cpu {
            reasons.push(Stale::Cpu { was: was.cpu });
        }
        Ok(reasons)
    }

    /// Runs the best `k` trials again, with the same hyperparameters, number and seed, and tells how
    /// far they have drifted. The study stays as it is.
    ///
    /// # Errors
    /// If the journal cannot be read, or the objective asks for other parameters than then.
    pub fn retest<F>(&self, k: usize, mut objective: F) -> Result<Vec<Retest>>
    where
        F: FnMut(&mut Trial<'_>) -> Result<f64>,
    {
        let best: Vec<TrialRecord> =
            self.look(|history| history.ranked().take(k).cloned().collect())?;
        let again = best.into_iter().map(|was| {
            let mut trial = Trial::again(self, was.clone());
            let outcome = objective(&mut trial).map_err(|error| error.to_string());
            if let Some(name) = trial.asked_anew() {
                let what = format!("parameter `{name}` of trial {}", was.number);
                return Err(Error::argument(what, "one that it had then", "a new one"));
            }
            Ok(Retest { trial: was, outcome })
        });
        again.collect()
    }
}

/// A number that changes when the data does, row by row and label by label.
pub fn fingerprint<T: Float, D: Supervised<T> + ?Sized>(data: &D) -> u64 {
    fingerprint_of(data.features(), data.targets())
}

pub(crate) fn fingerprint_of<T: Float>(features: &Matrix<T>, targets: Targets<'_, T>) -> u64 {
    let fold = |hash: u64, word: u64| {
        word.to_le_bytes()
            .iter()
            .fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let bits = |values: &Matrix<T>, hash: u64| {
        values.data().iter().map(|value| value.to_f64().to_bits()).fold(hash, fold)
    };
    // FNV-1a by 64 bits over shape, features and targets.
    let shape = [features.rows() as u64, features.cols() as u64];
    let hash = bits(features, shape.into_iter().fold(0xcbf2_9ce4_8422_2325, fold));
    match targets {
        Targets::Classes(labels) => labels.iter().map(|&label| label as u64).fold(hash, fold),
        Targets::Values(values) => bits(values, hash),
    }
}
