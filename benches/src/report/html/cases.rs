//! Every workload, with everybody's times folded under it.

use std::fmt::Write as _;

use super::families::class;
use super::{escape, id, sweeps};
use crate::record::{Record, Row};
use crate::report::duel::Duel;
use crate::report::family::{Family, Standing, standings};
use crate::report::words::{count, percent, rate, time, times};

/// A ratio of that much fills half a bar at least: small differences stay small.
const SMALLEST_FULL: f64 = 1.5;

/// A section for each family.
pub(super) fn families(out: &mut String, record: &Record, duels: &[Duel]) {
    out.push_str(
        "<h3>Workloads</h3><p>Bars are logarithmic and begin at the same speed. Grey means that the \
         quartiles overlap: no difference was seen. Open a line for everybody's times.</p>",
    );
    let all = standings(duels);
    for (family, standing) in &all {
        section(out, record, family, standing);
    }
}

fn section(out: &mut String, record: &Record, family: &Family, standing: &Standing) {
    let cases = count(standing.duels.len(), "workload");
    let mut said = vec![cases];
    if let Some((mean, _)) = standing.against_peers() {
        said.push(format!("{} beside the best library", times(Some(mean))));
    }
    if let Some((mean, _)) = standing.against_naive() {
        said.push(format!("{} beside the naive twin", times(Some(mean))));
    }
    // Only products have a peak beside them, and only in newer records.
    let peaks = standing.duels.iter().any(|duel| duel.ours.of_peak.is_some());
    let (with, head) =
        if peaks { (" peaks", "<span class=\"n\">of peak</span>") } else { Default::default() };
    let _ = write!(
        out,
        "<details class=\"family\" open><summary><h4>{}</h4> <small>{}</small></summary>\
         <div class=\"cases{with}\"><div class=\"case head\"><span>workload</span><span class=\"n\">ratio</span>\
         <span class=\"halves\"><span>slower</span><span>faster</span></span>\
         <span class=\"n\">ours</span><span class=\"n\">rate</span><span class=\"n\">of roof</span>\
         {head}<span class=\"n\">best of the others</span></div>",
        escape(&family.name),
        said.join(", ")
    );
    let ratios = standing.duels.iter().filter_map(|duel| duel.ratio());
    let longest = ratios.map(|ratio| ratio.ln().abs()).fold(SMALLEST_FULL.ln(), f64::max);
    for duel in &standing.duels {
        case(out, duel, longest, peaks);
    }
    out.push_str("</div>");
    let plots = sweeps::plots(record, family);
    if !plots.is_empty() {
        out.push_str("<div class=\"plots\">");
        plots.iter().for_each(|plot| out.push_str(&plot.figure()));
        out.push_str("</div>");
    }
    out.push_str("</details>");
}

/// One line, with a bar whose half is `longest`, and where wanted the share of the peak.
fn case(out: &mut String, duel: &Duel, longest: f64, peaks: bool) {
    let share = duel.ratio().map_or(0.0, |ratio| ratio.ln() / longest * 50.0);
    let left = if share < 0.0 { 50.0 + share } else { 50.0 };
    let outcome = duel.outcome().map_or("level", class);
    let warning = duel.warning().map_or(String::new(), |warning| {
        format!(" <abbr title=\"{}\">noisy</abbr>", escape(&warning))
    });
    let other = duel.other().map_or("nobody".into(), |other| {
        format!("{} <span>{}</span>", escape(other.implementation()), time(other.median))
    });
    let peak = || format!("<span class=\"n peak\">{}</span>", percent(duel.ours.of_peak));
    let peak = if peaks { peak() } else { String::new() };
    let naive = if duel.is_with_naive() { " naive" } else { "" };
    let _ = write!(
        out,
        "<details><summary class=\"case{naive}\"><span class=\"id\">{}{warning}</span>\
         <b class=\"n {outcome}\">{}</b>\
         <span class=\"bar\"><i class=\"{outcome}\" style=\"left:{left:.1}%;width:{:.1}%\"></i></span>\
         <span class=\"n\">{}</span><span class=\"n\">{}</span><span class=\"n\">{}</span>\
         {peak}<span class=\"n other\">{other}</span></summary>",
        id(duel.case),
        times(duel.ratio()),
        share.abs(),
        time(duel.ours.median),
        rate(duel.ours),
        percent(duel.ours.roofline),
    );
    everybody(out, duel);
    out.push_str("</details>");
}

/// Everybody's times, the fastest first.
fn everybody(out: &mut String, duel: &Duel) {
    let peaks = duel.rows.iter().any(|row| row.of_peak.is_some());
    let head = if peaks { "<th class=\"n\">of peak</th>" } else { "" };
    let _ = write!(
        out,
        "<div class=\"wide\"><table><thead><tr><th>implementation</th><th class=\"n\">median</th>\
         <th class=\"n\">middle half of the samples</th><th class=\"n\">samples</th><th class=\"n\">rate</th>\
         <th class=\"n\">of roof</th>{head}<th class=\"n\">its time to ours</th><th></th></tr></thead><tbody>",
    );
    let mut rows: Vec<&Row> = duel.rows.clone();
    rows.sort_by(|a, b| a.median.total_cmp(&b.median));
    for row in rows {
        let mut remarks = Vec::new();
        if std::ptr::eq(row, duel.ours) {
            remarks.push("ours, what the ratio is about".to_owned());
        }
        if duel.other().is_some_and(|other| std::ptr::eq(row, other)) {
            let naive = "the naive twin, for want of a library";
            remarks.push(if row.is_naive() { naive } else { "the best of the others" }.to_owned());
        }
        if row.is_packed() {
            remarks.push("packed before, does not count".to_owned());
        }
        remarks.extend(row.warning.as_deref().map(escape));
        let peak = || format!("<td class=\"n\">{}</td>", percent(row.of_peak));
        let peak = if peaks { peak() } else { String::new() };
        let own = if row.ours { " class=\"own\"" } else { "" };
        let _ = write!(
            out,
            "<tr{own}><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{} to {}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td>{peak}<td class=\"n\">{}</td><td>{}</td></tr>",
            escape(row.implementation()),
            time(row.median),
            time(row.lower),
            time(row.upper),
            row.rounds,
            rate(row),
            percent(row.roofline),
            times(Some(row.median / duel.ours.median)),
            remarks.join("; ")
        );
    }
    out.push_str("</tbody></table></div>");
}
