//! Several records side by side.

use std::fmt::Write as _;

use super::{escape, id};
use crate::record::Record;
use crate::report::comparison::{Comparison, comparison};
use crate::report::duel::duels;
use crate::report::family::Standing;
use crate::report::words::{count, times};

/// What is on the page, and what the records have in common.
pub(super) fn compared(out: &mut String, records: &[Record]) {
    let comparison = comparison(records);
    contents(out, records, &comparison);
    if comparison.common == 0 {
        out.push_str("<p>No workload is in all of them, so nothing can be put side by side.</p>");
        return;
    }
    let _ = write!(
        out,
        "<p>The means over common cases are those of the {} that all records have: the ratio to the best \
         library in each record's own run, and our speed relative to the first record.</p>\
         <details><summary><h3>Side by side, case by case</h3></summary>\
         <div class=\"wide\"><table><thead><tr><th>workload</th>",
        count(comparison.common, "workload")
    );
    for record in records {
        let _ = write!(out, "<th class=\"n\">{}</th>", escape(&record.name));
    }
    out.push_str("</tr></thead><tbody>");
    for (case, cells) in &comparison.rows {
        let _ = write!(out, "<tr><td>{}</td>", id(case));
        let first = cells[0];
        for cell in cells {
            let speed = first.zip(*cell).map(|(first, cell)| first.seconds / cell.seconds);
            let (ratio, speed) = (times(cell.and_then(|cell| cell.ratio)), times(speed));
            let _ = write!(out, "<td class=\"n\">{ratio}<small>speed {speed}</small></td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></details>");
}

fn contents(out: &mut String, records: &[Record], comparison: &Comparison) {
    out.push_str(
        "<h2>Records on this page</h2><div class=\"wide\"><table><thead><tr><th>record</th>\
         <th class=\"n\">cases</th><th class=\"n\">to the best library</th><th class=\"n\">to naive</th>\
         <th class=\"n\">common cases: ratio</th><th class=\"n\">speed</th><th>CPU</th><th>path</th>\
         <th class=\"n\">threads</th><th>date</th><th>commit</th></tr></thead><tbody>",
    );
    for (n, record) in records.iter().enumerate() {
        let (machine, duels) = (&record.machine, duels(record));
        let standing = Standing::of(&duels);
        let mean = |found: Option<(f64, usize)>| times(found.map(|found| found.0));
        let _ = write!(
            out,
            "<tr><td><a href=\"#record-{n}\">{}</a></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td>\
             <td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&record.name),
            duels.len(),
            mean(standing.against_peers()),
            mean(standing.against_naive()),
            times(comparison.ratios[n]),
            times(comparison.speeds[n]),
            escape(&machine.cpu),
            escape(&machine.isa),
            machine.threads,
            escape(&machine.date),
            escape(&machine.commit),
        );
    }
    out.push_str("</tbody></table></div>");
}
