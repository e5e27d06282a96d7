//! What each of our own paths gains.

use super::duel::PATHS;
use super::family::{Family, mean};
use crate::record::{Record, Row};

/// Our paths beside each other, family by family.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The paths of the columns; the first is what the others are measured against.
    pub columns: Vec<&'static str>,
    /// Each family with the number of cases that all of its paths ran, and how many times faster than
    /// the first column each is in them.
    pub rows: Vec<(Family, usize, Vec<Option<f64>>)>,
}

/// The times of one case, one for each column.
type Times = Vec<Option<f64>>;

/// The paths of a record; nothing where it holds only one.
pub fn paths(record: &Record) -> Option<Paths> {
    let is_path = |row: &Row, path: &str| {
        let ours = row.ours && row.threads == record.machine.threads || row.is_naive();
        row.who() == path && ours && !row.is_packed()
    };
    let all = ["naive"].into_iter().chain(PATHS);
    let columns: Vec<&str> =
        all.filter(|path| record.rows.iter().any(|row| is_path(row, path))).collect();
    if columns.len() < 2 {
        return None;
    }
    let mut families: Vec<(Family, Vec<(&str, Times)>)> = Vec::new();
    for row in &record.rows {
        let Some(column) = columns.iter().position(|path| is_path(row, path)) else { continue };
        let family = Family::of(row.case());
        let place = families.iter().position(|(known, _)| *known == family);
        let place = place.unwrap_or_else(|| {
            families.push((family, Vec::new()));
            families.len() - 1
        });
        let cases = &mut families[place].1;
        // Rows of a case stand together, so the last one is the one, or there is none yet.
        if cases.last().is_none_or(|(case, _)| *case != row.case()) {
            cases.push((row.case(), vec![None; columns.len()]));
        }
        cases.last_mut().expect("just pushed").1[column] = Some(row.median);
    }
    families.sort_by(|a, b| a.0.cmp(&b.0));
    let rows: Vec<_> =
        families.into_iter().filter_map(|(family, cases)| compared(family, &cases)).collect();
    (!rows.is_empty()).then_some(Paths { columns, rows })
}

/// A family's means over the cases that have all the paths that the family has at all.
fn compared(family: Family, cases: &[(&str, Times)]) -> Option<(Family, usize, Times)> {
    let columns = cases.first()?.1.len();
    let present: Vec<bool> =
        (0..columns).map(|i| cases.iter().any(|(_, times)| times[i].is_some())).collect();
    let whole = |times: &Times| (0..columns).all(|i| times[i].is_some() == present[i]);
    let common: Vec<&Times> = cases.iter().map(|(_, times)| times).filter(|t| whole(t)).collect();
    let first = present.iter().position(|&there| there)?;
    let gain = |i: usize| {
        let ratios = common.iter().filter_map(|times| Some(times[first]? / times[i]?));
        mean(ratios).map(|found| found.0)
    };
    let means: Times = (0..columns).map(gain).collect();
    let several = means.iter().flatten().count() > 1;
    several.then_some((family, common.len(), means))
}
