//! Where studies are kept: in memory, or in a journal file that Optuna reads and writes as well.

mod journal;
pub(crate) mod json;
mod lock;
pub(crate) mod op;
pub(crate) mod replay;
pub(crate) mod time;
pub(crate) mod worker;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use journal::Journal;
pub(crate) use op::Op;
pub(crate) use replay::{Event, Replay, StudyState};

use crate::error::Result;
use worker::Worker;

/// A name that nobody else has: 128 bits of the system's randomness.
pub(crate) fn unique() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

/// All studies, with where they are written.
#[derive(Debug)]
pub(crate) struct Storage {
    replay: Replay,
    journal: Option<Journal>,
    worker: Worker,
}

impl Storage {
    /// Kept in memory only.
    pub(crate) fn in_memory() -> Self {
        Self { replay: Replay::default(), journal: None, worker: Worker::in_memory() }
    }

    /// Kept in the journal at `path`; other writers are waited for, at most for the grace period
    /// where they do nothing.
    pub(crate) fn open(path: &Path, grace: Option<Duration>) -> Result<Self> {
        let journal = Journal::open(path, grace.unwrap_or(journal::GRACE))?;
        let worker = Worker::beside(path)?;
        Ok(Self { replay: Replay::default(), journal: Some(journal), worker })
    }

    /// Whether others may write, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.journal.is_some()
    }

    /// The name of this worker.
    pub(crate) fn worker(&self) -> &str {
        &self.worker.id
    }

    pub(crate) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Whether a trial of worker `id` will never be finished by it.
    pub(crate) fn is_dead(&self, id: &str) -> bool {
        let dead = |journal: &Journal| Worker::is_dead(journal.path(), id);
        id != self.worker.id && self.journal.as_ref().is_some_and(dead)
    }

    /// Takes in what others wrote; gives what happened and in which study.
    pub(crate) fn sync(&mut self) -> Result<Vec<(usize, Event)>> {
        let mut events = Vec::new();
        if let Some(journal) = &mut self.journal {
            let replay = &mut self.replay;
            journal.read(|op| events.extend(replay.apply(op)))?;
        }
        Ok(events)
    }

    /// Lets `decide` say what to write when it has seen everything that was written before: nobody
    /// else writes in between. Gives what happened since the last look, own records included.
    pub(crate) fn write(
        &mut self,
        sync: bool,
        decide: impl FnOnce(&Self) -> Vec<Op>,
    ) -> Result<Vec<(usize, Event)>> {
        let lock = self.journal.as_ref().map(Journal::lock).transpose()?;
        let mut events = self.sync()?;
        let ops = decide(self);
        if ops.is_empty() {
            return Ok(events);
        }
        match &self.journal {
            Some(journal) => {
                journal.append(&self.worker.id, &ops, sync)?;
                // What the file says is what happened, also to ourselves.
                events.extend(self.sync()?);
            }
            None => events.extend(ops.into_iter().filter_map(|op| self.replay.apply(op))),
        }
        drop(lock);
        Ok(events)
    }
}
