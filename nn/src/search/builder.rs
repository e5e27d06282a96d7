//! How a study is opened: made anew or continued.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::search::origin::Origin;
use crate::search::pruner::Pruner;
use crate::search::record::Direction;
use crate::search::sampler::{RandomSearch, Sampler};
use crate::search::storage::{Need, Op, Storage};
use crate::search::study::{Inner, Study};

/// The attribute of a study that keeps its seed.
const SEED: &str = "tilewise:seed";

/// Where the study is kept.
#[derive(Debug)]
enum Place {
    Memory,
    Journal(PathBuf),
    #[cfg(feature = "grpc")]
    Service(String),
}

/// A study about to be opened.
#[derive(Debug)]
#[must_use]
pub struct StudyBuilder {
    name: String,
    direction: Direction,
    seed: Option<u64>,
    sampler: Arc<dyn Sampler>,
    pruner: Option<Box<dyn Pruner>>,
    place: Place,
    grace: Option<Duration>,
    data: Option<u64>,
}

impl StudyBuilder {
    pub(crate) fn new(name: String, direction: Direction) -> Self {
        let sampler = Arc::new(RandomSearch);
        let (seed, pruner, place, grace, data) = (None, None, Place::Memory, None, None);
        Self { name, direction, seed, sampler, pruner, place, grace, data }
    }

    /// Sets the seed of all draws. A study that is continued has one already: none or the same will
    /// do then.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Sets where values come from (random search).
    pub fn sampler(self, sampler: impl Sampler + 'static) -> Self {
        Self { sampler: Arc::new(sampler), ..self }
    }

    /// Sets what stops trials before their end (nothing).
    pub fn pruner(self, pruner: impl Pruner + 'static) -> Self {
        Self { pruner: Some(Box::new(pruner)), ..self }
    }

    /// Keeps the study in a journal file, which Optuna reads and writes as well, and continues the
    /// study of that name if the file has it.
    pub fn journal(self, path: impl AsRef<Path>) -> Self {
        Self { place: Place::Journal(path.as_ref().to_owned()), ..self }
    }

    /// Keeps the study in Optuna's storage service at `url`, such as `http://host:13000`: its proxy in
    /// front of a database, where workers on many machines and Optuna itself share it. A service that
    /// cannot be reached is tried again for a minute.
    #[cfg(feature = "grpc")]
    pub fn service(self, url: impl Into<String>) -> Self {
        Self { place: Place::Service(url.into()), ..self }
    }

    /// Sets how long a writer of the journal may hold its lock and do nothing before it is taken for
    /// dead (30 seconds, as for Optuna). In a service, the same holds for whoever runs a trial.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
    }

    /// Notes which data the study is about, for [`Study::stale`]; see
    /// [`fingerprint`](crate::search::fingerprint).
    pub fn data(self, fingerprint: u64) -> Self {
        Self { data: Some(fingerprint), ..self }
    }

    /// Opens the study.
    ///
    /// # Errors
    /// If the journal or the service cannot be read or written, or its study of that name has another direction, or
    /// several, or another seed.
    pub fn open(self) -> Result<Study> {
        let mut storage = match &self.place {
            Place::Memory => Storage::in_memory(),
            Place::Journal(path) => Storage::open(path, self.grace)?,
            #[cfg(feature = "grpc")]
            Place::Service(url) => Storage::at(url, &self.name, self.grace)?,
        };
        let (name, directions) = (self.name.clone(), vec![self.direction]);
        let (wanted, origin) = (self.seed.unwrap_or(0), Origin::here(self.data).to_json());
        storage.write(Need::Decide, |storage| {
            let mut ops = Vec::new();
            let found = storage.replay().find(&name);
            let study = found.map_or(storage.replay().studies.len(), |(study, _)| study) as u64;
            if found.is_none() {
                ops.push(Op::CreateStudy { name: name.clone(), directions });
            }
            let attrs = found.map(|(_, study)| &study.user_attrs);
            for (key, value) in [(SEED, Json::from(wanted)), (Origin::ATTR, origin)] {
                if attrs.is_none_or(|attrs| !attrs.contains_key(key)) {
                    ops.push(Op::StudyAttr { study, user: true, key: key.into(), value });
                }
            }
            ops
        })?;
        let missing = || Error::argument(format!("study `{name}`"), "there", "deleted");
        let (index, study) = storage.replay().find(&name).ok_or_else(missing)?;
        if study.directions != [self.direction] {
            let (expected, got) = (format!("{:?}", self.direction), &study.directions);
            let what = format!("study `{name}`: direction");
            return Err(Error::argument(what, expected, format!("{got:?}")));
        }
        let kept = study.user_attrs.get(SEED).and_then(Json::as_u64);
        if let (Some(seed), Some(kept)) = (self.seed, kept.filter(|&kept| kept != wanted)) {
            return Err(Error::argument(format!("study `{name}`: seed"), kept, seed));
        }
        let (pruner, direction, torn) = (self.pruner, self.direction, BTreeSet::new());
        let inner = Inner { storage, pruner, direction, torn };
        Ok(Study::new(inner, index, name, kept.unwrap_or(wanted), self.sampler))
    }
}
