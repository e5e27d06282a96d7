//! Tables for a terminal.

use std::fmt::Write as _;

use super::comparison::{Cell, comparison};
use super::duel::{Duel, Outcome, duels};
use super::family::{Standing, standings};
use super::paths::paths;
use super::words::{count, percent, rate, time, times};
use crate::record::Record;

/// The tables of one record.
pub fn table(record: &Record) -> String {
    let machine = &record.machine;
    let mut out = format!(
        "{}: {} on {}, {}, path {}, {}, commit {}\n",
        record.name,
        machine.what,
        machine.cpu,
        count(machine.threads, "thread"),
        machine.isa,
        machine.clock,
        machine.commit
    );
    let duels = duels(record);
    cases(&mut out, &duels);
    families(&mut out, &duels);
    our_paths(&mut out, record);
    let _ = writeln!(out, "{}", super::noise(record));
    out
}

fn cases(out: &mut String, duels: &[Duel]) {
    let wide = duels.iter().map(|duel| duel.case.len()).max().unwrap_or_default().max(30);
    let _ = writeln!(
        out,
        "{:<wide$} {:>10} {:>14} {:>8} {:>8}  {:<16} {:>10} {:>6}",
        "case", "ours", "rate", "of roof", "of peak", "best other", "its time", "ratio"
    );
    for duel in duels {
        let other = duel.other();
        let warning = duel.warning().map_or(String::new(), |warning| format!("  ! {warning}"));
        let _ = writeln!(
            out,
            "{:<wide$} {:>10} {:>14} {:>8} {:>8}  {:<16} {:>10} {:>6}{warning}",
            duel.case,
            time(duel.ours.median),
            rate(duel.ours),
            percent(duel.ours.roofline),
            percent(duel.ours.of_peak),
            other.map_or("-", |other| other.implementation()),
            other.map_or("-".into(), |other| time(other.median)),
            times(duel.ratio()),
        );
    }
}

fn families(out: &mut String, duels: &[Duel]) {
    let _ = writeln!(
        out,
        "\n{:<30} {:>5} {:>12} {:>6} {:>6} {:>22} {:>12}",
        "geometric means",
        "cases",
        "best library",
        "worst",
        "best",
        "faster, level, slower",
        "naive twin"
    );
    let mut line = |name: &str, standing: &Standing| {
        let peers = standing.with_peers();
        let extreme = peers.extremes().map(|(worst, best)| (worst.ratio(), best.ratio()));
        let (worst, best) = extreme.unwrap_or_default();
        let outcomes = [Outcome::Faster, Outcome::Level, Outcome::Slower];
        let outcomes = outcomes.map(|outcome| peers.count(outcome).to_string()).join(", ");
        let _ = writeln!(
            out,
            "{name:<30} {:>5} {:>12} {:>6} {:>6} {:>22} {:>12}",
            standing.duels.len(),
            times(standing.against_peers().map(|found| found.0)),
            times(worst),
            times(best),
            if peers.duels.is_empty() { "-" } else { &outcomes },
            times(standing.against_naive().map(|found| found.0)),
        );
    };
    for (family, standing) in standings(duels) {
        line(&family.name, &standing);
    }
    line("all", &Standing::of(duels));
}

fn our_paths(out: &mut String, record: &Record) {
    let Some(paths) = paths(record) else { return };
    let _ = write!(out, "\n{:<30} {:>5}", "speed of our paths", "cases");
    for path in &paths.columns {
        let _ = write!(out, " {path:>9}");
    }
    out.push('\n');
    for (family, cases, gains) in &paths.rows {
        let _ = write!(out, "{:<30} {cases:>5}", family.name);
        for gain in gains {
            let _ = write!(out, " {:>9}", times(*gain));
        }
        out.push('\n');
    }
}

/// Several records side by side: the ratio to the best library, and our speed relative to the first.
pub fn side_by_side(records: &[Record]) -> String {
    let comparison = comparison(records);
    let wide = comparison.rows.iter().map(|(case, _)| case.len()).max().unwrap_or_default().max(30);
    let mut out = format!("{:<wide$}", "ratio, speed");
    for record in records {
        let _ = write!(out, "  {:>14}", record.name);
    }
    out.push('\n');
    let mut line = |name: &str, cells: &[(Option<f64>, Option<f64>)]| {
        let _ = write!(out, "{name:<wide$}");
        for ((ratio, speed), record) in cells.iter().zip(records) {
            let text = format!("{:>6}  {:>6}", times(*ratio), times(*speed));
            let _ = write!(out, "  {text:>width$}", width = record.name.len().max(14));
        }
        out.push('\n');
    };
    for (case, cells) in &comparison.rows {
        let first = cells[0].map(|cell| cell.seconds);
        let text = |cell: &Option<Cell>| {
            let speed = first.zip(*cell).map(|(first, cell)| first / cell.seconds);
            (cell.and_then(|cell| cell.ratio), speed)
        };
        line(case, &cells.iter().map(text).collect::<Vec<_>>());
    }
    let means: Vec<_> =
        comparison.ratios.iter().copied().zip(comparison.speeds.iter().copied()).collect();
    line(&format!("mean of {}", count(comparison.common, "common case")), &means);
    out
}
