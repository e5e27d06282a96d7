//! The lock beside a journal, as Optuna takes it: a symbolic link that only one can create.
//!
//! Making a link is atomic even on network file systems that know no other locks. Whoever finds the
//! link there waits; if for the grace period neither the link nor the journal changes, its owner is
//! taken for dead and the link is removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::unique;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock of `journal`, and breaks it when nothing happens for `grace`.
    pub(crate) fn acquire(journal: &Path, grace: Duration) -> io::Result<Self> {
        let path = with_suffix(journal, ".lock");
        let (mut pause, mut last, mut since) = (Duration::from_millis(1), None, Instant::now());
        loop {
            match create(journal, &path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let seen = signs_of_life(&path);
            if seen.is_none() || seen != last {
                (last, since) = (seen, Instant::now());
            } else if since.elapsed() > grace {
                // Another may have broken it and a third taken it meanwhile: then it looks different.
                if signs_of_life(&path) == last {
                    let _ = release(&path);
                }
                (last, since) = (None, Instant::now());
                pause = Duration::from_millis(1);
            }
            sleep(pause);
            // Waiting longer would starve the patient beside one who comes back at once.
            pause = (2 * pause).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Fails if another took us for dead and removed it; nothing is left to do then.
        let _ = release(&self.path);
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// When the link was made and when the journal was last written.
fn signs_of_life(path: &Path) -> Option<(SystemTime, Option<SystemTime>)> {
    let made = fs::symlink_metadata(path).and_then(|link| link.modified()).ok()?;
    Some((made, fs::metadata(path).and_then(|journal| journal.modified()).ok()))
}

#[cfg(unix)]
fn create(journal: &Path, path: &Path) -> io::Result<()> {
    // Relative to its own directory, so that it can be followed from anywhere.
    let name = journal.file_name().ok_or(ErrorKind::InvalidInput)?;
    std::os::unix::fs::symlink(name, path)
}

/// Where links need privileges: the file that Optuna's other lock creates.
#[cfg(not(unix))]
fn create(_: &Path, path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

/// Moved away before it is removed: of several who break a lock only one succeeds.
fn release(path: &Path) -> io::Result<()> {
    let away = with_suffix(path, &format!("{}.rename", unique()));
    fs::rename(path, &away)?;
    fs::remove_file(away)
}
