//! The lock beside a journal, as Optuna takes it: a symbolic link that only one can create.
//!
//! Making a link is atomic even on network file systems that know no other locks. Whoever finds the
//! link there waits; if for the grace period neither the link nor the journal changes, its owner is
//! taken for dead and the link is removed.
//!
//! An owner who was only stopped for so long, as a machine is that is suspended, would go on and write
//! over what others wrote meanwhile. So ours hold the system's lock of the journal as well, which ends
//! with a process and not before, and look again whether the link is theirs.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::unique;

/// How long one has been silent, by the clock of whoever looks again and again. A pause much longer than
/// was meant to be is one in which nobody looked: the process was stopped, or the machine.
#[derive(Debug)]
pub(crate) struct Silence {
    looked: Instant,
    length: Duration,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self { looked: Instant::now(), length: Duration::ZERO }
    }

    /// Its length at a look after a pause of `meant`.
    pub(crate) fn after(&mut self, meant: Duration) -> Duration {
        let now = Instant::now();
        self.length += (now - self.looked).min(5 * meant);
        self.looked = now;
        self.length
    }
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    made: Option<SystemTime>,
    journal: File,
}

impl Lock {
    /// Waits for the lock of `journal`, and breaks it when nothing happens for `grace`.
    pub(crate) fn acquire(journal: &Path, grace: Duration) -> io::Result<Self> {
        let (path, file) = (with_suffix(journal, ".lock"), File::open(journal)?);
        let (mut pause, mut last, mut silence) = (Duration::from_millis(1), None, Silence::new());
        loop {
            match create(journal, &path) {
                Ok(()) => return Ok(Self::complete(file, path, grace)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let (seen, length) = (signs_of_life(&path), silence.after(pause));
            if seen.is_none() || seen != last {
                (last, silence) = (seen, Silence::new());
            } else if length > grace {
                // Another may have broken it and a third taken it meanwhile: then it looks different.
                if signs_of_life(&path) == last {
                    let _ = release(&path);
                }
                (last, silence) = (None, Silence::new());
                pause = Duration::from_millis(1);
            }
            sleep(pause);
            // Waiting longer would starve the patient beside one who comes back at once.
            pause = (2 * pause).min(Duration::from_millis(10));
        }
    }

    /// With the link made, waits for one of ours whose link was broken while it lived; at most for
    /// `grace` once more, as nobody can tell from here whether its machine will ever come back.
    fn complete(journal: File, path: PathBuf, grace: Duration) -> Self {
        let lock = Self { made: when_made(&path), path, journal };
        let (pause, mut silence) = (Duration::from_millis(1), Silence::new());
        // Where the system has no locks, or keeps others from reading what is locked, the link must do.
        while cfg!(unix)
            && matches!(lock.journal.try_lock(), Err(TryLockError::WouldBlock))
            && silence.after(pause) <= grace
        {
            sleep(pause);
        }
        lock
    }

    /// Whether nobody has broken it.
    pub(crate) fn is_held(&self) -> bool {
        self.made.is_some() && when_made(&self.path) == self.made
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the link, so that the next one finds both free.
        let _ = self.journal.unlock();
        // If another took us for dead and removed it, nothing is left to do.
        if self.is_held() {
            let _ = release(&self.path);
        }
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// When the link was made and when the journal was last written.
fn signs_of_life(path: &Path) -> Option<(SystemTime, Option<SystemTime>)> {
    Some((when_made(path)?, fs::metadata(path).and_then(|journal| journal.modified()).ok()))
}

fn when_made(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|link| link.modified()).ok()
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

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a17_a_broken_lock_is_waited_for_while_its_owner_lives_and_not_for_ever() {
        let journal = std::env::temp_dir().join(format!("tilewise-lock-{}", std::process::id()));
        File::create(&journal).unwrap();
        let (long, short) = (Duration::from_secs(600), Duration::from_millis(20));
        let first = Lock::acquire(&journal, long).unwrap();
        assert!(first.is_held());
        // As somebody does who takes the first for dead.
        release(&first.path).unwrap();
        let (taken, second) = channel();
        let path = journal.clone();
        let waits = std::thread::spawn(move || {
            taken.send(Lock::acquire(&path, long).unwrap()).unwrap();
        });
        assert!(second.recv_timeout(Duration::from_millis(50)).is_err(), "the first one lives");
        assert!(!first.is_held());
        drop(first);
        let second = second.recv().unwrap();
        waits.join().unwrap();
        assert!(second.is_held(), "the first has left its link alone");

        let third = Lock::acquire(&journal, short).unwrap();
        assert!(third.is_held() && !second.is_held());
        drop(second);
        assert!(third.is_held());
        drop(third);
        assert!(!with_suffix(&journal, ".lock").is_symlink());
        fs::remove_file(journal).unwrap();
    }

    #[test]
    fn a17_time_in_which_nobody_looked_is_no_silence() {
        let (meant, long) = (Duration::from_millis(10), Duration::from_secs(60));
        let mut silence = Silence::new();
        silence.looked -= long;
        assert_eq!(silence.after(meant), 5 * meant);
        silence.looked -= meant;
        assert!((6 * meant..=10 * meant).contains(&silence.after(meant)));
    }
}
