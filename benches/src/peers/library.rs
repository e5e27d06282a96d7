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
        let library = unsafe { Library::open(Some(path), flags) };
        // Never closed, not even if something is missing from it.
        library.map(|library| &*Box::leak(Box::new(library))).map_err(|error| {
            // The loader's own words are in the source.
            error.source().map_or(error.to_string(), |source| source.to_string())
        })
    };
    let broken = |why: String| format!("could not be opened: {why}");
    for directory in directories() {
        let found = names.iter().find(|name| directory.join(name).is_file());
        if let Some(name) = found {
            return open(&directory.join(name)).map(|library| (library, *name)).map_err(broken);
        }
    }
    for name in names {
        match open(Path::new(name)) {
            Ok(library) => return Ok((library, name)),
            // Its own name is the one that the loader has not found; elsewhere something that it needs.
            Err(why) if why.starts_with(name) && why.contains("No such file") => {}
            Err(why) => return Err(broken(why)),
        }
    }
    Err("absent".into())
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
