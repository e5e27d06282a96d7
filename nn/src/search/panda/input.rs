//! Where nudges come from: a file that others add lines to, or lines that are typed.

use std::fs::File;
use std::io::{BufRead, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use crate::error::{Error, Result};

/// A file of which only what is added counts.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    offset: u64,
}

impl Control {
    /// From the present end of the file, which need not be there yet.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let offset = match std::fs::metadata(path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io(path, error)),
        };
        Ok(Self { path: path.to_owned(), offset })
    }

    /// The lines that were added. One without its end is still being written.
    pub(super) fn lines(&mut self) -> Result<Vec<String>> {
        let named = |error| Error::io(&self.path, error);
        let length = match std::fs::metadata(&self.path) {
            Ok(file) => file.len(),
            // Removed, or not made yet.
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(named(error)),
        };
        if length <= self.offset {
            // An editor may have put a shorter file in its place: what comes after that is new.
            self.offset = length;
            return Ok(Vec::new());
        }
        let mut file = File::open(&self.path).map_err(named)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(named)?;
        let mut bytes = Vec::new();
        file.take(length - self.offset).read_to_end(&mut bytes).map_err(named)?;
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        self.offset += complete as u64;
        let text = String::from_utf8_lossy(&bytes[..complete]);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// Lines as somebody types them.
pub(super) fn listen(input: impl BufRead + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    // Ends with its input, or with the program: reading cannot be interrupted.
    std::thread::spawn(move || {
        for line in input.lines().map_while(|line| line.ok()) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
