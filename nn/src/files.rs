//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How the names of files end that are not whole yet.
const UNFINISHED: &str = ".unfinished";

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
    unfinished.push(format!(".{}{UNFINISHED}", std::process::id()));
    let unfinished: PathBuf = path.with_file_name(unfinished);
    let outcome = write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if outcome.is_err() {
        // The first error matters; the file may not even be there.
        let _ = fs::remove_file(&unfinished);
    }
    outcome.map_err(named)
}

/// Removes the halves that killed processes left of `path`, a file that one process writes at a time.
pub(crate) fn remove_unfinished(path: &Path) -> Result<()> {
    let named = |error| Error::io(path, error);
    let Some(name) = path.file_name() else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.try_exists().map_err(named)? {
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(named)? {
        let entry = entry.map_err(named)?;
        let name = entry.file_name();
        let middle = name.to_str().and_then(|n| n.strip_prefix(&prefix)?.strip_suffix(UNFINISHED));
        if middle.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())) {
            fs::remove_file(entry.path()).map_err(named)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
