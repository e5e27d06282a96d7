//! A journal file: records are only ever added at its end, under a lock.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::lock::Lock;
use super::op::Op;
use crate::error::{Error, Result};

/// Ends of trials that come faster than this share a call that brings them to the disk.
const BURST: Duration = Duration::from_millis(100);

/// When records must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Together with whatever comes to the disk after them.
    Later,
    /// That, and no later than [`BURST`] after the last one that was, if anything is written then.
    Soon,
    /// When the call returns.
    Now,
}

/// A journal and how far it was read.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    grace: Duration,
    /// Bytes of complete lines that were read.
    offset: u64,
    lines: u64,
    /// When records were last brought to the disk, and whether some wait for that.
    synced: Instant,
    due: bool,
}

impl Journal {
    /// The journal at `path`, which is made, with its directory, when it is not there.
    pub(crate) fn open(path: &Path, grace: Duration) -> Result<Self> {
        let named = |error| Error::io(path, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(named)?;
        }
        OpenOptions::new().append(true).create(true).open(path).map_err(named)?;
        let synced = Instant::now();
        Ok(Self { path: path.to_owned(), grace, offset: 0, lines: 0, synced, due: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock that writers hold.
    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::acquire(&self.path, self.grace).map_err(|error| Error::io(&self.path, error))
    }

    /// Hands all complete lines that are new to `each`. A last line without its end is left for
    /// later: someone is writing it, or died while doing so.
    pub(crate) fn read(&mut self, mut each: impl FnMut(Op)) -> Result<()> {
        let named = |error| Error::io(&self.path, error);
        let mut file = File::open(&self.path).map_err(named)?;
        let length = file.metadata().map_err(named)?.len();
        if length <= self.offset {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(named)?;
        let mut bytes = Vec::with_capacity((length - self.offset) as usize);
        file.take(length - self.offset).read_to_end(&mut bytes).map_err(named)?;
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let mut lines = bytes[..complete].split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            let text = String::from_utf8_lossy(line);
            match Op::read(text.trim_end()) {
                Ok(op) => each(op),
                // Like a line without an end: wrong only if somebody writes on behind it.
                Err(_) if lines.peek().is_none() && complete == bytes.len() => break,
                Err(what) => {
                    let file = self.path.display().to_string();
                    let line = format!("line {}", self.lines + 1);
                    return Err(Error::format(&file, line, "a record of a journal", what));
                }
            }
            self.lines += 1;
            self.offset += line.len() as u64;
        }
        Ok(())
    }

    /// Adds records. The caller holds the lock and has read everything before. What a dead writer left
    /// of a line is cut off first; nobody has read it.
    pub(crate) fn append(&mut self, worker: &str, ops: &[Op], flush: Flush) -> Result<()> {
        let named = |error| Error::io(&self.path, error);
        let mut lines = String::new();
        for op in ops {
            lines.push_str(&op.write(worker));
            lines.push('\n');
        }
        let mut file = OpenOptions::new().append(true).open(&self.path).map_err(named)?;
        if file.metadata().map_err(named)?.len() > self.offset {
            file.set_len(self.offset).map_err(named)?;
        }
        file.write_all(lines.as_bytes()).map_err(named)?;
        self.due |= flush == Flush::Soon;
        if flush == Flush::Now || (self.due && self.synced.elapsed() >= BURST) {
            self.settle(&file)?;
        }
        Ok(())
    }

    /// Brings to the disk what waits for it.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.due {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).open(&self.path);
        self.settle(&file.map_err(|error| Error::io(&self.path, error))?)
    }

    fn settle(&mut self, file: &File) -> Result<()> {
        file.sync_data().map_err(|error| Error::io(&self.path, error))?;
        (self.synced, self.due) = (Instant::now(), false);
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // The system does it later where this fails, and nobody is left to be told.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a17_ends_that_come_fast_share_a_flush_and_none_is_left_out() {
        let path = std::env::temp_dir().join(format!("tilewise-flush-{}", std::process::id()));
        let mut journal = Journal::open(&path, Duration::from_secs(1)).unwrap();
        // The clock is put where it is wanted: a busy machine may stop anywhere.
        let (early, late) = (Instant::now() + 36_000 * BURST, Instant::now() - BURST);
        let mut add = |synced: Instant, flush| {
            journal.synced = synced;
            journal.append("w", &[Op::Discard], flush).unwrap();
            journal.read(|_| ()).unwrap();
            journal.due
        };
        assert!(!add(late, Flush::Later), "nothing waits for a beginning");
        assert!(
            add(early, Flush::Soon) && add(early, Flush::Later),
            "within the burst an end waits"
        );
        assert!(!add(late, Flush::Later), "after it, any record takes it along");
        assert!(!add(late, Flush::Soon), "and an end that comes alone waits for nothing");
        assert!(add(early, Flush::Soon) && !add(early, Flush::Now));
        assert!(add(early, Flush::Soon));
        journal.flush().unwrap();
        assert!(!journal.due);
        drop(journal);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 8);
        std::fs::remove_file(path).unwrap();
    }
}
