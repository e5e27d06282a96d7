//! Numbers as people read them.

use super::family::is_arithmetic;
use crate::record::Row;

/// A rate in words: operations for what multiplies matrices, bytes elsewhere.
pub fn rate(row: &Row) -> String {
    match rate_of(row) {
        None => "-".into(),
        Some((rate, unit)) => format!("{rate:.1} {unit}"),
    }
}

/// The same as a number and its unit; nothing where nothing is counted.
pub(super) fn rate_of(row: &Row) -> Option<(f64, &'static str)> {
    let flops = row.flops > 0 && (is_arithmetic(row.op()) || row.bytes == 0);
    let (amount, unit) = if flops { (row.flops, "GFLOP/s") } else { (row.bytes, "GB/s") };
    (amount > 0).then(|| (amount as f64 / row.median / 1e9, unit))
}

/// Seconds in a unit that fits.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// A share in percent.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.0} %", share * 100.0))
}

/// A ratio, or a dash.
pub fn times(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".into(),
        Some(ratio) if ratio >= 99.5 => format!("{ratio:.0}"),
        Some(ratio) if ratio >= 9.95 => format!("{ratio:.1}"),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

/// So many of something: `1 case`, `2 cases`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Names as a list: `a, b and c`.
pub(super) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
