//! One self-contained page: no scripts, no fonts, nothing fetched.

use std::fmt::Write as _;

use super::page::STYLE;
use super::plot::{Plot, Series, Style};
use super::{Duel, comparison, duels, headlines, percent, rate, time, times};
use crate::record::{Record, Row};

/// Text as it may stand in HTML: records are input.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// A case's id, which may be broken after its slashes.
fn id(text: &str) -> String {
    escape(text).replace('/', "/<wbr>")
}

/// The page about some records.
pub fn page(records: &[Record]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Tilewise benchmarks</title><style>{STYLE}</style></head><body><main>\
         <h1>Tilewise benchmarks</h1>\
         <p>How fast Tilewise is beside other libraries, timed in turn in one process on the same \
         data. A <b>ratio</b> of 2 means that Tilewise took half the time of the best other library; \
         below 1 it was slower. Where no other library took part, the naive twin, the plain loop that \
         says what the operation means, stands in. The <b>roof</b> is what this machine allows at most: its rate of \
         multiply-adds or its memory bandwidth, measured in the same run.</p>"
    );
    if records.len() > 1 {
        compared(&mut out, records);
    }
    for record in records {
        section(&mut out, record);
    }
    out.push_str("</main></body></html>\n");
    out
}

fn compared(out: &mut String, records: &[Record]) {
    out.push_str("<h2>Ratios side by side</h2><div class=\"wide\"><table><thead><tr><th>case</th>");
    for record in records {
        let machine = &record.machine;
        let _ = write!(
            out,
            "<th class=\"n\">{}<small>{}, {} thread(s)</small></th>",
            escape(&record.name),
            escape(&machine.isa),
            machine.threads
        );
    }
    out.push_str("</tr></thead><tbody>");
    for (case, ratios) in comparison(records) {
        let _ = write!(out, "<tr><td>{}</td>", id(&case));
        for ratio in ratios {
            let _ = write!(out, "<td class=\"n\">{}</td>", times(ratio));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

fn section(out: &mut String, record: &Record) {
    let machine = &record.machine;
    let duels = duels(record);
    let _ = write!(out, "<section><h2>{}</h2>", escape(&record.name));
    for (times, of) in headlines(&duels) {
        let _ = write!(out, "<p class=\"headline\"><b>{times}</b> {of}</p>");
    }
    let _ = write!(
        out,
        "<p class=\"facts\">{}, path {}, {} thread(s), by {}; {}; {}; commit {}; {}</p>",
        escape(&machine.cpu),
        escape(&machine.isa),
        machine.threads,
        escape(&machine.clock),
        escape(&machine.kernel),
        escape(&machine.compiler),
        escape(&machine.commit),
        escape(&machine.date),
    );
    if !machine.peers.is_empty() {
        let peers: Vec<String> =
            machine.peers.iter().map(|(name, version)| format!("{name}: {version}")).collect();
        let list = peers.iter().map(|peer| format!("<li>{}</li>", escape(peer)));
        let list: String = list.collect();
        let _ = write!(out, "<details><summary>Other libraries</summary><ul>{list}</ul></details>");
    }
    bars(out, &duels);
    out.push_str("<div class=\"plots\">");
    out.push_str(&roofline(record, &duels).figure());
    for plot in sweeps(record) {
        out.push_str(&plot.figure());
    }
    out.push_str("</div></section>");
}

/// The table of ratios, each with a bar from 1 in the middle, logarithmic, the longest to an end.
fn bars(out: &mut String, duels: &[Duel]) {
    out.push_str(
        "<div class=\"wide\"><table><thead><tr><th>workload</th><th class=\"n\">ratio</th>\
         <th class=\"bar\">slower · faster</th><th class=\"n\">ours</th><th class=\"n\">rate</th>\
         <th class=\"n\">of roof</th><th>best other</th><th class=\"n\">its time</th></tr></thead><tbody>",
    );
    // A factor below 1.4 does not fill half the bar, however small the others are.
    let longest = duels.iter().filter_map(Duel::ratio).map(|ratio| ratio.log2().abs());
    let longest = longest.fold(0.5, f64::max);
    for duel in duels {
        let ratio = duel.ratio();
        let share = ratio.map_or(0.0, |ratio| ratio.log2() / longest * 50.0);
        let (left, class) = if share < 0.0 { (50.0 + share, "slower") } else { (50.0, "faster") };
        let warning = duel.warning().map_or(String::new(), |warning| {
            format!("<abbr title=\"{}\">noisy</abbr>", escape(warning))
        });
        let _ = write!(
            out,
            "<tr><td>{} {warning}</td><td class=\"n\">{}</td>\
             <td class=\"bar\"><svg viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\">\
             <rect class=\"{class}\" x=\"{left:.1}\" y=\"1\" width=\"{:.1}\" height=\"10\"/>\
             <path class=\"one\" d=\"M50 0V12\"/></svg></td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td>{}</td><td class=\"n\">{}</td></tr>",
            id(duel.case),
            times(ratio),
            share.abs(),
            time(duel.ours.median),
            rate(duel.ours),
            percent(duel.ours.roofline),
            escape(duel.peer.map_or("-", Row::implementation)),
            duel.peer.map_or("-".into(), |peer| time(peer.median)),
        );
    }
    out.push_str("</tbody></table></div>");
}

/// Operations per byte and per second, ours and the best peer's, under what the machine allows.
fn roofline(record: &Record, duels: &[Duel]) -> Plot {
    let counted: Vec<&Duel> =
        duels.iter().filter(|duel| duel.ours.flops > 0 && duel.ours.bytes > 0).collect();
    let intensity = |row: &Row| row.flops as f64 / row.bytes as f64;
    let point = |row: &Row| {
        let text = format!("{}: {}", row.id, rate(row));
        (intensity(row), row.flops as f64 / row.median / 1e9, text)
    };
    let rate = |name: &str| record.ceilings.iter().find(|c| c.name == name).map(|c| c.rate / 1e9);
    let mut series = Vec::new();
    let dtypes = counted.iter().filter_map(|duel| duel.case.split('/').nth(1));
    let peak = dtypes.filter_map(|t| rate(&format!("flops/{t}/{}", record.machine.isa)));
    let peak = peak.fold(0.0, f64::max);
    if peak > 0.0 && !counted.is_empty() {
        let xs = counted.iter().map(|duel| intensity(duel.ours));
        let (low, high) = xs.fold((f64::MAX, 0.0_f64), |(l, h), x| (l.min(x), h.max(x)));
        let limit =
            |name: String, points| Series { name, style: Style::Limit, ours: false, points };
        let flat = [(low, peak, String::new()), (high * 1.2, peak, String::new())];
        series.push(limit("multiply-adds".into(), flat.to_vec()));
        for level in ["L1", "L2", "L3", "memory"] {
            let kinds = ["read", "copy"].map(|kind| rate(&format!("{kind}/{level}")));
            let bandwidth = kinds.into_iter().flatten().fold(0.0, f64::max);
            let end = peak / bandwidth;
            // A slope too short to be seen is left out.
            if bandwidth > 0.0 && end > 2.0 * low {
                // The name stands at the second point.
                let slope = [low, (low * end).sqrt(), end];
                let slope = slope.map(|x| (x, x * bandwidth, String::new()));
                series.push(limit(level.into(), slope.to_vec()));
            }
        }
    }
    let ours = counted.iter().map(|duel| point(duel.ours)).collect();
    let peers = counted.iter().filter_map(|duel| duel.peer).map(point).collect();
    let named = |name: &str, style, ours, points| Series { name: name.into(), style, ours, points };
    series.push(named("best other", Style::Hollow, false, peers));
    series.push(named("Tilewise", Style::Points, true, ours));
    if counted.is_empty() {
        series.clear();
    }
    Plot {
        title: "Roofline: each point is a workload, lines are what the machine allows".into(),
        x: "operations per byte",
        y: "GFLOP/s",
        log_y: true,
        ticks: Vec::new(),
        series,
    }
}

/// The side of a square product's id, such as 64 of `gemm/f32/64x64x64`.
fn side(case: &str) -> Option<f64> {
    let mut sizes = case.rsplit('/').next()?.split('x');
    let first = sizes.next()?;
    let square = sizes.clone().count() == 2 && sizes.all(|size| size == first);
    if square { first.parse().ok() } else { None }
}

/// One plot per operation and type with at least three squares: everybody's rate over the size.
fn sweeps(record: &Record) -> Vec<Plot> {
    let family = |row: &Row| row.case().rsplit_once('/').map_or("", |found| found.0).to_owned();
    let mut families: Vec<String> = Vec::new();
    for row in record.rows.iter().filter(|row| row.flops > 0 && side(row.case()).is_some()) {
        if !families.contains(&family(row)) {
            families.push(family(row));
        }
    }
    families.iter().filter_map(|name| sweep(record, name)).collect()
}

fn sweep(record: &Record, family: &str) -> Option<Plot> {
    let mut ticks: Vec<f64> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    let prefix = format!("{family}/");
    for row in record.rows.iter().filter(|row| row.id.starts_with(&prefix) && row.flops > 0) {
        let Some(x) = side(row.case()) else { continue };
        if !ticks.contains(&x) {
            ticks.push(x);
        }
        let name = row.implementation();
        let text = format!("{}: {}", row.id, rate(row));
        let point = (x, row.flops as f64 / row.median / 1e9, text);
        match series.iter_mut().find(|series| series.name == name) {
            Some(found) => found.points.push(point),
            None => {
                // Packed operands are drawn, but peers get none: another colour.
                let ours = row.ours && !name.contains("-packed");
                let (name, points) = (name.to_owned(), vec![point]);
                series.push(Series { name, style: Style::Line, ours, points });
            }
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    // Ours is drawn last, on top.
    series.sort_by_key(|series| series.ours);
    let title = format!("{family}: squares");
    let (x, y) = ("rows = columns", "GFLOP/s");
    (ticks.len() >= 3).then_some(Plot { title, x, y, log_y: false, ticks, series })
}
