//! One self-contained page: no scripts, no fonts, nothing fetched.

mod cases;
mod families;
mod look;
mod plot;
mod roofline;
mod several;
mod sweeps;

use std::fmt::Write as _;

use super::duel::{Duel, Outcome, duels};
use super::family::Standing;
use super::words::{count, percent, times};
use super::{comparable, noise, regressions};
use crate::machine::Machine;
use crate::noise::Noise;
use crate::record::Record;

/// How the page looks: light or dark as the reader has it, wide or narrow.
const STYLE: &str = include_str!("style.css");

/// What a reader needs before the first figure.
const HEAD: &str = include_str!("head.html");

/// What a reader may want to know afterwards.
const FOOT: &str = include_str!("foot.html");

/// Text as it may stand in HTML: records are input.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters have no place in a document.
            c if c.is_control() => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// An id, which may be broken after its slashes.
fn id(text: &str) -> String {
    escape(text).replace('/', "/<wbr>")
}

/// The page about some records, and what has become slower in them since a baseline.
pub fn page(records: &[Record], baseline: Option<&Record>) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Tilewise benchmarks</title><style>{STYLE}</style></head><body><main>\n{HEAD}"
    );
    if records.len() > 1 {
        several::compared(&mut out, records);
    }
    for (n, record) in records.iter().enumerate() {
        section(&mut out, n, record, baseline);
    }
    out.push_str(FOOT);
    out.push_str("</main></body></html>\n");
    out
}

fn section(out: &mut String, n: usize, record: &Record, baseline: Option<&Record>) {
    let duels = duels(record);
    let _ = write!(out, "<section id=\"record-{n}\"><h2>{}</h2>", escape(&record.name));
    headlines(out, &duels);
    facts(out, record);
    if let Some(baseline) = baseline {
        slower(out, record, baseline);
    }
    families::strips(out, &duels);
    families::shares(out, &duels);
    out.push_str("<div class=\"plots\">");
    out.push_str(&roofline::plot(record, &duels).figure());
    out.push_str("</div>");
    families::paths(out, record);
    cases::families(out, record, &duels);
    out.push_str("</section>\n");
}

/// The geometric means.
fn headlines(out: &mut String, duels: &[Duel]) {
    let all = Standing::of(duels);
    out.push_str("<div class=\"headlines\">");
    let mut card = |number: f64, what: &str, more: &str| {
        let number = times(Some(number));
        let _ = write!(out, "<p><b>{number}×</b> {what}<small>{more}</small></p>");
    };
    if let Some((mean, cases)) = all.against_peers() {
        let peers = all.with_peers();
        let outcomes = [Outcome::Faster, Outcome::Level, Outcome::Slower];
        let [faster, level, slower] = outcomes.map(|outcome| peers.count(outcome));
        let more = format!(
            "Geometric mean of {}. By the quartiles we are faster in {faster}, level in {level} and \
             slower in {slower}.",
            count(cases, "workload")
        );
        card(mean, "the speed of the best of the other libraries", &more);
    }
    if let Some((mean, cases)) = all.against_naive() {
        let more = format!("Geometric mean of {}.", count(cases, "workload"));
        card(mean, "the speed of the naive twin, the plain loop", &more);
    }
    let shares: Vec<f64> = duels.iter().filter_map(|duel| duel.ours.roofline).collect();
    if let Some((mean, cases)) = super::mean(shares.into_iter()) {
        let more = format!("Geometric mean of {}.", count(cases, "workload"));
        let _ = write!(
            out,
            "<p><b>{}</b> of what this machine allows at most<small>{more}</small></p>",
            percent(Some(mean))
        );
    }
    out.push_str("</div>");
}

/// What was run on what, and whether the machine was quiet.
fn facts(out: &mut String, record: &Record) {
    let machine = &record.machine;
    let _ = write!(
        out,
        "<p>{} on <b>{}</b>, {}, our path <b>{}</b>, on {}. {}</p>",
        escape(&machine.what),
        escape(&machine.cpu),
        count(machine.threads, "thread"),
        escape(&machine.isa),
        escape(&machine.date),
        escape(&noise(record)),
    );
    let caches: Vec<String> =
        machine.caches.iter().map(|(level, bytes)| format!("L{level} {}", size(*bytes))).collect();
    let mut rows = vec![
        ("commit", machine.commit.clone()),
        ("compiler", machine.compiler.clone()),
        ("system", format!("{}, {} for this process", machine.kernel, count(machine.cpus, "CPU"))),
        ("caches", caches.join(", ")),
        ("features", machine.features.join(" ")),
        ("clock", clock(machine)),
        ("time is", machine.clock.clone()),
        ("other work", record.noise.as_ref().map_or("not known".into(), Noise::to_string)),
    ];
    rows.extend(machine.peers.iter().map(|(name, version)| (&**name, version.clone())));
    out.push_str("<details><summary>The machine and the other libraries</summary><dl>");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    for ceiling in &record.ceilings {
        let unit = if ceiling.name.starts_with("flops/") { "GFLOP/s" } else { "GB/s" };
        let rate = ceiling.rate / 1e9;
        let _ = write!(out, "<dt>{}</dt><dd>{rate:.1} {unit}</dd>", escape(&ceiling.name));
    }
    out.push_str("</dl></details>");
}

/// What is known of the CPU's clock.
fn clock(machine: &Machine) -> String {
    let known = [
        machine.clock_ghz.map(|ghz| format!("{ghz:.2} GHz")),
        machine.vector_clock_ghz.map(|ghz| format!("{ghz:.2} GHz under the widest vectors")),
    ];
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Bytes in the unit that fits.
fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

fn slower(out: &mut String, record: &Record, baseline: &Record) {
    let found = regressions(record, baseline);
    let rows = count(comparable(record, baseline), "row");
    let _ = write!(
        out,
        "<h3>Since {}</h3><p>{} of {rows} of ours that both runs have became slower by more than a \
         twentieth and more than the quartiles explain.</p>",
        escape(&baseline.name),
        found.len()
    );
    if !found.is_empty() {
        let lines: String = found.iter().map(|line| format!("<li>{}</li>", id(line))).collect();
        let _ = write!(out, "<ul>{lines}</ul>");
    }
}
