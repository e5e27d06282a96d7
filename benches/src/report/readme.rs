//! The headline table of a text such as the README, between two marks. The first mark names the records
//! that the table is made of, so that the text itself says how to check it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::duel::{Duel, Outcome, duels};
use super::family::{Family, Standing, standings};
use super::words::{count, list, times};
use crate::record::Record;

const BEGIN: &str = "<!-- benchmark table of ";
const BEGIN_ENDS: &str = " -->\n";
const END: &str = "<!-- end of the benchmark table -->";

/// The three parts of a text: what goes before the first mark, the records' names in it, and what
/// follows the table, with the second mark.
fn parts(text: &str) -> Result<(&str, &str, &str), String> {
    let begin = format!("expected a line `{BEGIN}RECORD…{}`", BEGIN_ENDS.trim_end());
    let (before, rest) = text.split_once(BEGIN).ok_or(begin.clone())?;
    let (names, rest) = rest.split_once(BEGIN_ENDS).ok_or(begin)?;
    let end = rest.find(END).ok_or_else(|| format!("expected a line `{END}` after the table"))?;
    Ok((before, names, &rest[end..]))
}

/// The records that a text's table is made of, as its first mark names them.
///
/// # Errors
/// If a mark is missing.
pub fn records(text: &str) -> Result<Vec<PathBuf>, String> {
    Ok(parts(text)?.1.split_whitespace().map(PathBuf::from).collect())
}

/// The text with its table made of these records anew, which it names by these paths.
///
/// # Errors
/// If a mark is missing.
pub fn rewritten(text: &str, paths: &[PathBuf], records: &[Record]) -> Result<String, String> {
    let (before, _, after) = parts(text)?;
    let names: Vec<String> = paths.iter().map(|path| slashed(path)).collect();
    let (names, table) = (names.join(" "), headline(records));
    Ok(format!("{before}{BEGIN}{names}{BEGIN_ENDS}\n{table}\n{after}"))
}

fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// One table for each machine: CPU, path and threads.
fn headline(records: &[Record]) -> String {
    let mut groups: Vec<(String, Vec<&Record>)> = Vec::new();
    for record in records {
        let machine = &record.machine;
        let threads = if machine.threads == 1 {
            "one thread".into()
        } else {
            count(machine.threads, "thread")
        };
        let key = format!("{}, path `{}`, {threads}", cell(&machine.cpu), cell(&machine.isa));
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(record),
            None => groups.push((key, vec![record])),
        }
    }
    let tables: Vec<String> = groups.iter().map(|(key, group)| one(key, group)).collect();
    tables.join("\n")
}

fn one(key: &str, records: &[&Record]) -> String {
    let mut days: Vec<&str> = records.iter().map(|record| &*record.machine.date).collect();
    days.sort_unstable();
    days.dedup();
    let mut all: Vec<Duel> = Vec::new();
    for duel in records.iter().flat_map(|record| duels(record)) {
        // What was measured again counts once, as measured last.
        match all.iter_mut().find(|known| known.case == duel.case) {
            Some(known) => *known = duel,
            None => all.push(duel),
        }
    }
    let mut out = format!(
        "{key}, measured on {}. The ratio is the time of the best of the others in the same run over \
         ours: above 1 we are faster.\n\n\
         | operations | cases | ratio, geometric mean | worst case | best case | faster, level, slower | beside |\n\
         |---|---|---|---|---|---|---|\n",
        list(&days)
    );
    for (family, standing) in standings(&all) {
        for standing in [standing.with_peers(), standing.with_naive()] {
            line(&mut out, &family, &standing);
        }
    }
    out
}

fn line(out: &mut String, family: &Family, standing: &Standing) {
    let Some((worst, best)) = standing.extremes() else { return };
    let peers: Vec<&str> = standing.peers().into_iter().collect();
    let (mean, beside) = if peers.is_empty() {
        (standing.against_naive(), "only our naive twin, the plain loop".to_owned())
    } else {
        (standing.against_peers(), format!("{}: {}", peers.len(), cell(&list(&peers))))
    };
    let at = |duel: &Duel| format!("{} `{}`", times(duel.ratio()), short(duel.case));
    let outcomes = [Outcome::Faster, Outcome::Level, Outcome::Slower];
    let outcomes = outcomes.map(|outcome| standing.count(outcome).to_string()).join(", ");
    let _ = writeln!(
        out,
        "| {} | {} | **{}** | {} | {} | {outcomes} | {beside} |",
        cell(&family.name),
        standing.duels.len(),
        times(mean.map(|found| found.0)),
        cell(&at(worst)),
        cell(&at(best)),
    );
}

/// A case without its element type, which its family names.
fn short(case: &str) -> String {
    let mut parts = case.split('/');
    match (parts.next(), parts.nth(1)) {
        (Some(op), Some(shape)) => format!("{op} {shape}"),
        _ => case.to_owned(),
    }
}

/// Text that cannot end a table's cell: records are input.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
