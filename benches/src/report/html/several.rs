//! Several records side by side.

use std::fmt::Write as _;

use super::{escape, id};
use crate::record::Record;
use crate::report::comparison::{Cell, comparison};
use crate::report::duel::duels;
use crate::report::family::Standing;
use crate::report::words::{count, times};

/// What is on the page, and what the records have in common.
pub(super) fn compared(out: &mut String, records: &[Record]) {
    contents(out, records);
    let comparison = comparison(records);
    if comparison.common == 0 {
        out.push_str(
            "<p>No workload is in all of them, so there is nothing to put side by side.</p>",
        );
        return;
    }
    let _ = write!(
        out,
        "<details open><summary><h3>Side by side</h3></summary><p>Each record's ratio to the best of the \
         others in its own run, and, smaller, its speed relative to the first record. The means are over \
         the {} that all records have.</p>\
         <div class=\"wide\"><table><thead><tr><th>workload</th>",
        count(comparison.common, "workload")
    );
    for record in records {
        let _ = write!(out, "<th class=\"n\">{}</th>", escape(&record.name));
    }
    out.push_str("</tr></thead><tbody><tr class=\"sum\"><th>geometric mean</th>");
    for (ratio, speed) in comparison.ratios.iter().zip(&comparison.speeds) {
        pair(out, *ratio, *speed);
    }
    out.push_str("</tr>");
    for (case, cells) in &comparison.rows {
        let _ = write!(out, "<tr><td>{}</td>", id(case));
        let first = cells[0];
        for cell in cells {
            let speed = first.zip(*cell).map(|(first, cell)| first.seconds / cell.seconds);
            pair(out, cell.and_then(|cell: Cell| cell.ratio), speed);
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></details>");
}

fn pair(out: &mut String, ratio: Option<f64>, speed: Option<f64>) {
    let (ratio, speed) = (times(ratio), times(speed));
    let _ = write!(out, "<td class=\"n\">{ratio}<small>speed {speed}</small></td>");
}

fn contents(out: &mut String, records: &[Record]) {
    out.push_str(
        "<h2>Records on this page</h2><div class=\"wide\"><table><thead><tr><th>record</th><th>CPU</th>\
         <th>path</th><th class=\"n\">threads</th><th>date</th><th>commit</th><th class=\"n\">cases</th>\
         <th class=\"n\">to the best library</th><th class=\"n\">to naive</th></tr></thead><tbody>",
    );
    for (n, record) in records.iter().enumerate() {
        let (machine, duels) = (&record.machine, duels(record));
        let standing = Standing::of(&duels);
        let mean = |found: Option<(f64, usize)>| times(found.map(|found| found.0));
        let _ = write!(
            out,
            "<tr><td><a href=\"#record-{n}\">{}</a></td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
             <td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&record.name),
            escape(&machine.cpu),
            escape(&machine.isa),
            machine.threads,
            escape(&machine.date),
            escape(&machine.commit),
            duels.len(),
            mean(standing.against_peers()),
            mean(standing.against_naive()),
        );
    }
    out.push_str("</tbody></table></div>");
}
