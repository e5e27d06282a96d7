//! A journal file: records are only ever added at its end, under a lock.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lock::Lock;
use super::op::Op;
use crate::error::{Error, Result};

/// A journal and how far it was read.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    grace: Duration,
    /// Bytes of complete lines that were read.
    offset: u64,
    lines: u64,
}

impl Journal {
    /// The journal at `path`, which is made, with its directory, when it is not there.
    pub(crate) fn open(path: &Path, grace: Duration) -> Result<Self> {
        let named = |error| Error::io(path, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(named)?;
        }
        OpenOptions::new().append(true).create(true).open(path).map_err(named)?;
        Ok(Self { path: path.to_owned(), grace, offset: 0, lines: 0 })
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
    /// of a line is cut off first; nobody has read it. With `sync`, they are on the disk afterwards.
    pub(crate) fn append(&self, worker: &str, ops: &[Op], sync: bool) -> Result<()> {
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
        if sync { file.sync_data().map_err(named) } else { Ok(()) }
    }
}
