//! What has become slower since another run.

use std::collections::HashMap;

use crate::record::{Record, Row};

/// A loss of speed that is not worth a line.
const TOLERATED: f64 = 0.95;

type Cases<'a> = HashMap<&'a str, Vec<&'a Row>>;

/// The rows of others, unpacked, by case.
fn others(record: &Record) -> Cases<'_> {
    let mut cases = Cases::new();
    for row in record.rows.iter().filter(|row| !row.ours && !row.is_packed()) {
        cases.entry(row.case()).or_default().push(row);
    }
    cases
}

/// The best of those others of a case that both records have: `[in record, in baseline]`.
fn common_best<'a>(new: &[&'a Row], old: &[&'a Row]) -> Option<[&'a Row; 2]> {
    let pair = |now: &&'a Row| {
        let before = old.iter().find(|before| before.id == now.id)?;
        Some([*now, *before])
    };
    let quicker = |a: &'a Row, b: &'a Row| if b.median < a.median { b } else { a };
    let pairs = new.iter().filter_map(pair);
    pairs.reduce(|best, next| [quicker(best[0], next[0]), quicker(best[1], next[1])])
}

/// Ours in `record` where it is slower than in `baseline`: by more than a twentieth and by more than
/// the quartiles of all times in the quotient explain. What counts is the ratio to the best of the
/// others that both runs timed, since machines drift; the time itself where there are none.
pub fn regressions(record: &Record, baseline: &Record) -> Vec<String> {
    let before: HashMap<&str, &Row> = baseline.rows.iter().map(|row| (&*row.id, row)).collect();
    let (new_others, old_others) = (others(record), others(baseline));
    let mut found = Vec::new();
    for new in record.rows.iter().filter(|row| row.ours) {
        let Some(old) = before.get(&*new.id) else { continue };
        let beside = |cases: &Cases<'_>| cases.get(new.case()).is_some();
        let pair = if beside(&new_others) && beside(&old_others) {
            common_best(&new_others[new.case()], &old_others[new.case()])
        } else {
            None
        };
        let half_spread = |row: &Row| (row.upper - row.lower) / row.median / 2.0;
        let mut noise = half_spread(new) + half_spread(old);
        let mut change = old.median / new.median;
        let mut by = "by time".to_owned();
        if let Some([now, then]) = pair {
            change *= now.median / then.median;
            noise += half_spread(now) + half_spread(then);
            by = format!("beside {}", now.implementation());
        }
        if change < TOLERATED.min(1.0 - noise) {
            found.push(format!("{}: {change:.2} of its former speed, {by}", new.id));
        }
    }
    found
}

/// How many of our rows both records have, which is what [`regressions`] could look at.
pub fn comparable(record: &Record, baseline: &Record) -> usize {
    let before: std::collections::HashSet<&str> =
        baseline.rows.iter().map(|row| &*row.id).collect();
    record.rows.iter().filter(|row| row.ours && before.contains(&*row.id)).count()
}
