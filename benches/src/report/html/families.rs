//! All workloads at a glance, family by family: dots on a line.

use std::fmt::Write as _;

use super::{escape, id};
use crate::record::Record;
use crate::report::duel::{Duel, Outcome};
use crate::report::family::{Standing, standings};
use crate::report::words::{count, list, percent, times};

/// A logarithmic axis from `low` to `high`, in percent of a width.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Around all `values` and at least from a half to two.
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((0.5, 2.0_f64), |(l, h): (f64, _), v| (l.min(v), h.max(v)));
        // Dots at an end stay inside.
        Self { low: low / 1.1, high: high * 1.1 }
    }

    fn place(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln() * 100.0
    }

    /// Powers of two, fewer where they would be crowded.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = ((self.high / self.low).log2() / 6.0).ceil().max(1.0) as i32;
        let (low, high) = (self.low, self.high);
        (-10..=10).map(move |n| 2.0_f64.powi(n * step)).filter(move |t| (low..high).contains(t))
    }
}

fn power(tick: f64) -> String {
    if tick < 1.0 { format!("1/{:.0}", 1.0 / tick) } else { format!("{tick:.0}") }
}

/// Each family with its mean and a dot for each workload's ratio to the best library.
pub(super) fn strips(out: &mut String, duels: &[Duel]) {
    let all = Standing::of(duels);
    let with_peers = all.with_peers();
    let axis = Axis::around(with_peers.duels.iter().filter_map(|duel| duel.ratio()));
    out.push_str("<h3>At a glance</h3>");
    if let Some((worst, best)) = with_peers.extremes() {
        let at = |duel: &Duel| format!("{} ({})", times(duel.ratio()), id(duel.case));
        let names: Vec<&str> = with_peers.peers().into_iter().collect();
        let _ = write!(
            out,
            "<p>Every dot is a workload: right of the line we are faster than the best of {} ({}), left \
             of it slower. The worst is {}, the best {}.</p>",
            count(names.len(), "other library").replace("librarys", "libraries"),
            escape(&list(&names)),
            at(worst),
            at(best)
        );
    }
    out.push_str(
        "<div class=\"wide\"><table class=\"strips\"><thead><tr><th>operations</th>\
         <th class=\"n cases\">cases</th><th class=\"n\">mean ratio</th><th class=\"strip\">",
    );
    for tick in axis.ticks() {
        let _ = write!(out, "<i style=\"left:{:.2}%\">{}</i>", axis.place(tick), power(tick));
    }
    out.push_str(
        "</th><th class=\"n\">faster</th><th class=\"n\">level</th><th class=\"n\">slower</th>\
         <th class=\"n\">to naive</th></tr></thead><tbody>",
    );
    let families = standings(duels);
    for (family, standing) in &families {
        strip(out, &axis, &family.name, standing);
    }
    if families.len() > 1 {
        strip(out, &axis, "all", &all);
    }
    out.push_str("</tbody></table></div>");
}

fn strip(out: &mut String, axis: &Axis, name: &str, standing: &Standing) {
    let peers = standing.with_peers();
    let _ = write!(
        out,
        "<tr><th>{}</th><td class=\"n cases\">{}</td><td class=\"n\"><b>{}</b></td><td class=\"strip\">",
        escape(name),
        standing.duels.len(),
        times(standing.against_peers().map(|found| found.0)),
    );
    for tick in axis.ticks() {
        let one = if tick == 1.0 { " class=\"one\"" } else { "" };
        let _ = write!(out, "<u{one} style=\"left:{:.2}%\"></u>", axis.place(tick));
    }
    for duel in &peers.duels {
        let (Some(ratio), Some(outcome), Some(peer)) = (duel.ratio(), duel.outcome(), duel.peer)
        else {
            continue;
        };
        let _ = write!(
            out,
            "<i class=\"{}\" style=\"left:{:.2}%\" title=\"{}: {ratio:.2} beside {}\"></i>",
            class(outcome),
            axis.place(ratio),
            escape(duel.case),
            escape(peer.implementation())
        );
    }
    if let Some((mean, _)) = standing.against_peers() {
        let _ = write!(
            out,
            "<b style=\"left:{:.2}%\" title=\"geometric mean {mean:.2}\"></b>",
            axis.place(mean)
        );
    } else {
        out.push_str("<small>no other library was timed</small>");
    }
    out.push_str("</td>");
    for outcome in [Outcome::Faster, Outcome::Level, Outcome::Slower] {
        let count =
            if peers.duels.is_empty() { "-".into() } else { peers.count(outcome).to_string() };
        let _ = write!(out, "<td class=\"n\">{count}</td>");
    }
    let naive = times(standing.against_naive().map(|found| found.0));
    let _ = write!(out, "<td class=\"n\">{naive}</td></tr>");
}

/// A class of the page's style.
pub(super) fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Faster => "faster",
        Outcome::Level => "level",
        Outcome::Slower => "slower",
    }
}

/// Each family's share of what the machine allows.
pub(super) fn shares(out: &mut String, duels: &[Duel]) {
    let families: Vec<_> = standings(duels)
        .into_iter()
        .map(|(family, standing)| {
            let shares = standing.duels.iter();
            let shares =
                shares.filter_map(|duel| duel.ours.roofline.map(|share| (duel.case, share)));
            (family.name, shares.collect::<Vec<_>>())
        })
        .filter(|(_, shares)| !shares.is_empty())
        .collect();
    if families.is_empty() {
        return;
    }
    let most = families.iter().flat_map(|(_, shares)| shares).map(|(_, share)| *share);
    let high = most.fold(1.0, f64::max);
    // Dots and labels at an end stay inside.
    let place = |share: f64| 4.0 + share / high * 90.0;
    out.push_str(
        "<h3>Share of the roof</h3><p>How much of what the machine allows at most each workload of ours \
         reaches. Above 100 % its data was still in a faster level of memory than its size suggests.</p>\
         <div class=\"wide\"><table class=\"strips\"><thead><tr><th>operations</th>\
         <th class=\"n\">mean</th><th class=\"strip\">",
    );
    // A tick each quarter, or fewer where shares go far beyond one.
    let step = 0.25 * (high / 2.0).ceil();
    let ticks: Vec<f64> =
        (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= high).collect();
    for tick in &ticks {
        let at = place(*tick);
        let _ = write!(out, "<i style=\"left:{at:.2}%\">{:.0} %</i>", tick * 100.0);
    }
    out.push_str("</th></tr></thead><tbody>");
    for (name, shares) in families {
        let mean = crate::report::mean(shares.iter().map(|(_, share)| *share));
        let mean = percent(mean.map(|found| found.0));
        let _ = write!(
            out,
            "<tr><th>{}</th><td class=\"n\"><b>{mean}</b></td><td class=\"strip\">",
            escape(&name)
        );
        for tick in &ticks {
            let one = if *tick == 1.0 { " class=\"one\"" } else { "" };
            let _ = write!(out, "<u{one} style=\"left:{:.2}%\"></u>", place(*tick));
        }
        for (case, share) in shares {
            let _ = write!(
                out,
                "<i class=\"faster\" style=\"left:{:.2}%\" title=\"{}: {}\"></i>",
                place(share),
                escape(case),
                percent(Some(share))
            );
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</tbody></table></div>");
}

/// What each of our paths gains, where the record holds several.
pub(super) fn paths(out: &mut String, record: &Record) {
    let Some(paths) = crate::report::paths(record) else { return };
    let first = paths.columns[0];
    let _ = write!(
        out,
        "<h3>Our own paths</h3><p>How many times the speed of {first} each instruction set brings: \
         geometric means over the cases that all of a family's paths ran.</p>\
         <div class=\"wide\"><table><thead><tr><th>operations</th><th class=\"n\">cases</th>"
    );
    for path in &paths.columns {
        let _ = write!(out, "<th class=\"n\">{path}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (family, cases, gains) in &paths.rows {
        let _ = write!(out, "<tr><th>{}</th><td class=\"n\">{cases}</td>", escape(&family.name));
        for gain in gains {
            let _ = write!(out, "<td class=\"n\">{}</td>", times(*gain));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}
