//! What records say: who is faster, by how much, and what the machine would allow.

mod baseline;
mod comparison;
mod duel;
mod family;
pub mod html;
mod paths;
pub mod readme;
mod table;
mod words;

pub use baseline::{comparable, regressions};
pub use comparison::{Cell, Comparison, comparison};
pub use duel::{Duel, Outcome, duels};
pub use family::{Family, Standing, mean, standings};
pub use paths::{Paths, paths};
pub use table::{side_by_side, table};
pub use words::{percent, rate, time, times};

use crate::record::{Record, Row};

/// How noisy the machine was, by what the run saw of other work and by the spread of its samples.
pub fn noise(record: &Record) -> String {
    let apart = |row: &&Row| (row.upper - row.lower) / row.median > 0.1;
    let (noisy, all) = (record.rows.iter().filter(apart).count(), record.rows.len());
    let samples = format!(
        "the quartiles of {noisy} of {} lie more than 10 % apart",
        words::count(all, "row")
    );
    if let Some(why) = record.noise.as_ref().and_then(|noise| noise.warning(record.machine.cpus)) {
        return format!("This was {why}. {samples}.").replace(". the", ". The");
    }
    let verdict = match noisy * 100 / all.max(1) {
        0..5 => "quiet",
        5..20 => "not quite quiet",
        _ => "noisy, so take small differences for none",
    };
    format!("The machine was {verdict}: {samples}.")
}
