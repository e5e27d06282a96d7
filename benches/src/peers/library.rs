//! Native libraries, opened when the program runs if they are there: nothing of them is needed to
//! build, and where one is missing the others still run.
//!
//! They are looked for in the directories of [`PEERS_VARIABLE`], then where the system's loader looks,
//! and never unloaded, since their threads may outlive any handle.

use std::error::Error;
use std::ffi::c_int;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::PEERS_VARIABLE;

/// The directories of [`PEERS_VARIABLE`].
fn directories() -> Vec<PathBuf> {
    let listed = std::env::var_os(PEERS_VARIABLE).unwrap_or_default();
    std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Binds a library's calls to itself and what it names as its needs, not to a namesake that was opened
/// before: the `cblas_sgemm` of one must not end in the `sgemm_` of another. Without this flag of
/// glibc's loader only one library per process can be trusted.
const OWN_SYMBOLS: c_int = if cfg!(all(target_os = "linux", target_env = "gnu")) { 0x8 } else { 0 };

/// A library that stays open, and the name of its file.
pub(super) type Opened = (&'static Library, &'static str);

/// Opens the first of `names` that is there, shut off from the others.
pub(super) fn open_first(names: &[&'static str]) -> Result<Opened, String> {
    open_with(names, RTLD_NOW | RTLD_LOCAL | OWN_SYMBOLS)
}

/// The same with the loader's `flags`.
pub(super) fn open_with(names: &[&'static str], flags: c_int) -> Result<Opened, String> {
    let open = |path: &Path| {
        // SAFETY: opening runs the library's initialisers. These libraries' do nothing but detect
        // the CPU, read the environment and start threads.
        unsafe { Library::open(Some(path), flags) }
    };
    // Never closed, not even if something is missing from it.
    let keep = |library| &*Box::leak(Box::new(library));
    for directory in directories() {
        for name in names {
            let path = directory.join(name);
            if path.is_file() {
                return open(&path).map(|library| (keep(library), *name)).map_err(|error| {
                    // The loader's own words are in the source.
                    let why = error.source().map_or(error.to_string(), |source| source.to_string());
                    format!("could not be opened: {why}")
                });
            }
        }
    }
    let found = names.iter().find_map(|name| Some((open(Path::new(name)).ok()?, *name)));
    found.map(|(library, name)| (keep(library), name)).ok_or_else(|| "absent".into())
}

/// A function of `library`.
///
/// # Safety
/// `F` must be the type of a pointer to that function.
pub(super) unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: as promised by the caller. The pointer stays valid: libraries are never closed.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|_| format!("has no {name}"))
}
