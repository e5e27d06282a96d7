//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `bytes` beside `path` and moves them there when they are on the disk; directories that
/// are missing are made.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let named = |error| Error::io(path, error);
    let name = path
        .file_name()
        .ok_or_else(|| named(io::Error::new(io::ErrorKind::InvalidInput, "not a file's name")))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(named)?;
    }
    let mut unfinished = name.to_owned();
    // Two processes that write the same file must not write into each other's half.
    unfinished.push(format!(".{}.unfinished", std::process::id()));
    let unfinished: PathBuf = path.with_file_name(unfinished);
    let outcome = write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if outcome.is_err() {
        // The first error matters; the file may not even be there.
        let _ = fs::remove_file(&unfinished);
    }
    outcome.map_err(named)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
