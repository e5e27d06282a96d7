//! What holds for every operation: the same bits on any number of threads and at any alignment.

use tilewise_kernels::{Exec, Isa, Par};

use crate::compare::same_bits;
use crate::real::Real;

/// The threadings that must not show in a result.
pub const THREADINGS: [Par; 4] = [Par::Serial, Par::Threads(2), Par::Threads(3), Par::Threads(7)];

/// Runs an operation on every threading, and once with all its buffers moved by `shift` elements,
/// and returns the one result there is. `run` gets the execution and how far to move the buffers.
///
/// # Errors
/// What `run` reports, or the first place where two results differ.
pub fn one_result<T: Real>(
    isa: Isa,
    shift: usize,
    run: impl Fn(Exec, usize) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, String> {
    let serial = run(Exec::serial().isa(isa), 0)?;
    for par in &THREADINGS[1..] {
        let other = run(Exec::default().isa(isa).par(*par), 0)?;
        same_bits(&format!("{par:?} against serial"), &other, &serial)?;
    }
    if shift > 0 {
        let moved = run(Exec::serial().isa(isa), shift)?;
        same_bits(&format!("moved by {shift}"), &moved, &serial)?;
    }
    Ok(serial)
}

/// An error of the library where none was due, as a finding.
pub fn unexpected(error: tilewise_kernels::Error) -> String {
    format!("refused a valid case: {error}")
}
