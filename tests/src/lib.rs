//! The oracle: every fast path against its naive twin, under bounds derived from error analysis.
//!
//! Each operation has a module in [`checks`] with a `Case` (sizes, strides, offsets, kinds of values,
//! options) and a `check(isa, &case)`. Property tests draw cases from bytes, the fuzzer mutates such
//! bytes, edge lists write cases down, and benchmarks call the same check before they time anything.

pub mod checks;
pub mod compare;
pub mod data;
pub mod field;
pub mod isas;
pub mod laws;
pub mod moments;
pub mod multiplied;
pub mod real;
pub mod scaled;
pub mod source;
pub mod tracked;
