//! The roofline: operations per byte and per second, under everything that the machine allows.

use std::collections::HashSet;

use super::look::Look;
use super::plot::{Across, Limit, Plot, Point, Series, short};
use crate::record::{Ceiling, Record, Row};
use crate::report::duel::Duel;
use crate::report::words::rate;

/// Ours and the best of the others where both operations and bytes are counted.
pub(super) fn plot(record: &Record, duels: &[Duel]) -> Plot {
    let counted = duels.iter().filter(|duel| duel.ours.flops > 0 && duel.ours.bytes > 0);
    let counted: Vec<&Duel> = counted.collect();
    let point = |row: &Row| Point {
        x: intensity(row),
        y: row.flops as f64 / row.median / 1e9,
        text: format!("{}: {}", row.id, rate(row)),
    };
    let series = |name: &str, class: &str, layer, points| Series {
        name: name.into(),
        look: Look { class: class.into(), layer },
        joined: false,
        points,
    };
    let ours = counted.iter().map(|duel| point(duel.ours)).collect();
    let others = counted.iter().filter_map(|duel| duel.peer).map(point).collect();
    Plot {
        title: "Roofline: each point is a workload, lines are what the machine allows".into(),
        x: "operations per byte".into(),
        y: "GFLOP/s",
        across: Across::Numbers(Vec::new()),
        log_y: true,
        limits: limits(&record.ceilings, &counted),
        series: vec![
            series("Tilewise", "ours", 1, ours),
            series("best of the other libraries", "hollow", 0, others),
        ],
    }
}

fn intensity(row: &Row) -> f64 {
    row.flops as f64 / row.bytes as f64
}

/// The part of a ceiling's name before the first slash and the rest: `flops` and `f32/avx512`, `read`
/// and `L1`.
fn split(ceiling: &Ceiling) -> (&str, &str) {
    ceiling.name.split_once('/').unwrap_or(("", &ceiling.name))
}

fn limits(ceilings: &[Ceiling], counted: &[&Duel]) -> Vec<Limit> {
    let xs = counted.iter().map(|duel| intensity(duel.ours));
    let (low, high) = xs.fold((f64::MAX, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    // Room for the labels of the slopes to the left of the first point.
    let low = low / 8.0;
    if counted.is_empty() || ceilings.is_empty() {
        return Vec::new();
    }
    let is_flat = |ceiling: &&Ceiling| split(ceiling).0 == "flops";
    // Of the types in this record, and what tiles could do; the rest would hide the points.
    let types: HashSet<&str> =
        counted.iter().filter_map(|duel| duel.case.split('/').nth(1)).chain(["bf16"]).collect();
    let dtype =
        |ceiling: &Ceiling| split(ceiling).1.split('/').next().unwrap_or_default().to_owned();
    let flats =
        || ceilings.iter().filter(is_flat).filter(|ceiling| types.contains(&*dtype(ceiling)));
    let peak = flats().map(|ceiling| ceiling.rate / 1e9).fold(0.0, f64::max);
    // Room to the right of the last point for the labels, and as much as slopes need to meet the peak.
    let end = (high * 10.0).max(100.0);
    let flat = |ceiling: &Ceiling| {
        let (rate, name) = (ceiling.rate / 1e9, split(ceiling).1.replace('/', " "));
        let text = format!("{name}: {rate:.0} GFLOP/s of multiply-adds");
        Limit { text, from: (low, rate), to: (end, rate), label: format!("{name} {rate:.0}") }
    };
    let mut limits: Vec<Limit> = flats().map(flat).collect();
    let mut slopes: Vec<&Ceiling> = ceilings.iter().filter(|ceiling| !is_flat(ceiling)).collect();
    slopes.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    let mut named: Vec<&str> = Vec::new();
    for ceiling in slopes {
        let (rate, (way, level)) = (ceiling.rate / 1e9, split(ceiling));
        let top = if peak > 0.0 { (peak / rate).min(end) } else { end };
        // A slope too short to be seen is left out.
        if top < 1.5 * low {
            continue;
        }
        // One label for all ways through a level, beside the fastest.
        let label = if named.contains(&level) {
            String::new()
        } else {
            named.push(level);
            span(ceilings, level)
        };
        let text = format!("{level}, {way}: {rate:.1} GB/s");
        limits.push(Limit { text, from: (low, low * rate), to: (top, top * rate), label });
    }
    limits
}

/// The slowest and the fastest way through a level of memory: `L2 96–169 GB/s`.
fn span(ceilings: &[Ceiling], level: &str) -> String {
    let rates = ceilings.iter().filter(|c| split(c).0 != "flops" && split(c).1 == level);
    let (low, high) = rates.fold((f64::MAX, 0.0_f64), |(low, high), ceiling| {
        (low.min(ceiling.rate / 1e9), high.max(ceiling.rate / 1e9))
    });
    let round = |rate: f64| short(if rate < 1.0 { rate } else { rate.round() });
    let (low, high) = (round(low), round(high));
    if low == high {
        format!("{level} {high} GB/s")
    } else {
        format!("{level} {low}–{high} GB/s")
    }
}
