//! Which workers live.
//!
//! A worker holds the system's lock of a file of its own beside the journal for as long as it lives.
//! The system releases it when the process ends, in whatever way, so that others can tell a trial that
//! runs from one whose worker was killed: without heartbeats, and without process numbers, which come
//! back and mean nothing on another host.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::lock::with_suffix;
use super::unique;
use crate::error::{Error, Result};

/// The attribute of a trial that names its worker.
pub(crate) const WORKER: &str = "tilewise:worker";

/// A sign of life.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: String,
    /// With its file, which is locked while it is open.
    alive: Option<(PathBuf, File)>,
}

impl Worker {
    /// A worker of studies in memory, which die with it.
    pub(crate) fn in_memory() -> Self {
        Self { id: unique(), alive: None }
    }

    /// A worker on a journal.
    pub(crate) fn beside(journal: &Path) -> Result<Self> {
        let id = unique();
        let path = sign(journal, &id);
        let file = File::create(&path).map_err(|error| Error::io(&path, error))?;
        // Where the system has no locks, no trial is ever taken over.
        let _ = file.lock();
        Ok(Self { id, alive: Some((path, file)) })
    }

    /// Whether the worker `id` of that journal has ended.
    pub(crate) fn is_dead(journal: &Path, id: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric();
        if id.is_empty() || !id.chars().all(plain) {
            // Not one of ours, and not to become part of a path.
            return false;
        }
        let path = sign(journal, id);
        match File::open(&path).map(|file| file.try_lock()) {
            Ok(Ok(())) => {
                let _ = fs::remove_file(path);
                true
            }
            Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => false,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.alive {
            let _ = fs::remove_file(path);
        }
    }
}

fn sign(journal: &Path, id: &str) -> PathBuf {
    with_suffix(journal, &format!(".alive-{id}"))
}
