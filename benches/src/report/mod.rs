//! What records say: who is faster, by how much, and what the machine would allow.

pub mod html;
mod page;
mod plot;

use std::fmt::Write as _;

use crate::record::{Record, Row};

/// One case of a record: ours beside the best of the others.
#[derive(Debug, Clone)]
pub struct Duel<'a> {
    /// `<op>/<dtype>/<shape>`
    pub case: &'a str,
    /// Our fastest path. Operands packed before do not count: peers get none.
    pub ours: &'a Row,
    /// The fastest of the others; the naive twin only where nobody else ran.
    pub peer: Option<&'a Row>,
}

impl Duel<'_> {
    /// How many times faster ours is.
    pub fn ratio(&self) -> Option<f64> {
        let of_medians = self.peer.map(|peer| peer.median / self.ours.median);
        self.ours.ratio.or(of_medians)
    }

    /// Whether there was nobody else than the naive twin.
    pub fn is_with_naive(&self) -> bool {
        self.peer.is_some_and(|peer| peer.implementation() == "naive")
    }

    /// Warnings about either side.
    pub fn warning(&self) -> Option<&str> {
        let peer = self.peer.and_then(|peer| peer.warning.as_deref());
        self.ours.warning.as_deref().or(peer)
    }
}

/// The cases of a record in its order, where ours was timed.
pub fn duels(record: &Record) -> Vec<Duel<'_>> {
    let mut cases: Vec<&str> = Vec::new();
    for row in &record.rows {
        if !cases.contains(&row.case()) {
            cases.push(row.case());
        }
    }
    let quickest = |case: &str, wanted: &dyn Fn(&Row) -> bool| {
        let rows = record.rows.iter().filter(|row| row.case() == case && wanted(row));
        rows.min_by(|a, b| a.median.total_cmp(&b.median))
    };
    let duel = |case| {
        let packed = |row: &Row| row.implementation().contains("-packed");
        let ours = quickest(case, &|row| row.ours && !packed(row))?;
        let naive = |row: &Row| row.implementation() == "naive";
        let peer = quickest(case, &|row| !row.ours && !naive(row));
        Some(Duel { case, ours, peer: peer.or_else(|| quickest(case, &naive)) })
    };
    cases.into_iter().filter_map(duel).collect()
}

/// The geometric mean of the ratios, and of how many.
pub fn mean(ratios: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    let count = logs.len();
    (count > 0).then(|| ((logs.iter().sum::<f64>() / count as f64).exp(), count))
}

/// The geometric means of the ratios to other libraries and to the naive twin, in words: how many times
/// faster, and than whom in how many cases.
pub fn headlines(duels: &[Duel]) -> Vec<(String, String)> {
    let about = |naive: bool, whom: &str| {
        let wanted = duels.iter().filter(|duel| duel.is_with_naive() == naive);
        let (mean, count) = mean(wanted.filter_map(Duel::ratio))?;
        let of = format!("the speed of {whom}, geometric mean of {count} cases");
        Some((format!("{mean:.2} times"), of))
    };
    let library = about(false, "the best other library");
    library.into_iter().chain(about(true, "the naive twin")).collect()
}

/// A rate in words: operations of matrix products and of what consists of them, bytes of the rest.
pub fn rate(row: &Row) -> String {
    let products = row.id.starts_with("gemm") || row.id.starts_with("training_step");
    let rate = |count: u64| count as f64 / row.median / 1e9;
    match (row.flops, row.bytes) {
        (0, 0) => "-".into(),
        (flops, bytes) if bytes == 0 || (products && flops > 0) => {
            format!("{:.1} GFLOP/s", rate(flops))
        }
        (_, bytes) => format!("{:.1} GB/s", rate(bytes)),
    }
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
    ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"))
}

/// The table of one record.
pub fn table(record: &Record) -> String {
    let machine = &record.machine;
    let mut out = format!(
        "{}: {} on {}, {} thread(s), path {}, {}, commit {}\n",
        record.name,
        machine.what,
        machine.cpu,
        machine.threads,
        machine.isa,
        machine.clock,
        machine.commit
    );
    let _ = writeln!(
        out,
        "{:<40} {:>11} {:>14} {:>8}  {:<16} {:>11} {:>6}",
        "case", "ours", "rate", "of roof", "best other", "its time", "ratio"
    );
    let duels = duels(record);
    for duel in &duels {
        let _ = writeln!(
            out,
            "{:<40} {:>11} {:>14} {:>8}  {:<16} {:>11} {:>6}{}",
            duel.case,
            time(duel.ours.median),
            rate(duel.ours),
            percent(duel.ours.roofline),
            duel.peer.map_or("-", |peer| peer.implementation()),
            duel.peer.map_or("-".into(), |peer| time(peer.median)),
            times(duel.ratio()),
            duel.warning().map_or(String::new(), |warning| format!("  ! {warning}")),
        );
    }
    for (times, of) in headlines(&duels) {
        let _ = writeln!(out, "{times} {of}");
    }
    out
}

/// Ratios to the best peer side by side, one column per record.
pub fn comparison(records: &[Record]) -> Vec<(String, Vec<Option<f64>>)> {
    let all: Vec<Vec<Duel>> = records.iter().map(duels).collect();
    let mut cases: Vec<&str> = Vec::new();
    for duel in all.iter().flatten() {
        if !cases.contains(&duel.case) {
            cases.push(duel.case);
        }
    }
    let ratio = |duels: &[Duel], case: &str| duels.iter().find(|d| d.case == case)?.ratio();
    let row = |case: &str| -> (String, Vec<_>) {
        (case.to_owned(), all.iter().map(|duels| ratio(duels, case)).collect())
    };
    let mut rows: Vec<_> = cases.into_iter().map(row).collect();
    let whole = |row: &&(String, Vec<Option<f64>>)| row.1.iter().all(Option::is_some);
    let common: Vec<_> = rows.iter().filter(whole).collect();
    let column = |i: usize| mean(common.iter().filter_map(|row| row.1[i])).map(|found| found.0);
    let means: Vec<_> = (0..records.len()).map(column).collect();
    let count = common.len();
    if count > 0 {
        rows.push((format!("geometric mean of {count} common cases"), means));
    }
    rows
}

/// The best time of those others of a case that both records have: `(in record, in baseline)`.
fn common_best(case: &str, record: &Record, baseline: &Record) -> Option<(f64, f64)> {
    fn others<'a>(record: &'a Record, case: &'a str) -> impl Iterator<Item = &'a Row> {
        record.rows.iter().filter(move |row| !row.ours && row.case() == case)
    }
    let pair = |new: &Row| {
        let old = others(baseline, case).find(|old| old.id == new.id)?;
        Some((new.median, old.median))
    };
    let pairs = others(record, case).filter_map(pair);
    pairs.reduce(|best, next| (best.0.min(next.0), best.1.min(next.1)))
}

/// Ours in `record` where it is slower than in `baseline`: by more than a twentieth and by more than
/// the quartiles explain. What counts is the ratio to the best of the others that both runs timed, since
/// machines drift; the time itself where there are none.
pub fn regressions(record: &Record, baseline: &Record) -> Vec<String> {
    const TOLERATED: f64 = 0.95;
    let mut found = Vec::new();
    for new in record.rows.iter().filter(|row| row.ours) {
        let Some(old) = baseline.rows.iter().find(|row| row.id == new.id) else { continue };
        let by_time = old.median / new.median;
        let (change, by) = match common_best(new.case(), record, baseline) {
            Some((now, before)) => (by_time * now / before, "beside the best other"),
            None => (by_time, "by time"),
        };
        let half_spread = |row: &Row| (row.upper - row.lower) / row.median / 2.0;
        if change < TOLERATED.min(1.0 - half_spread(new) - half_spread(old)) {
            found.push(format!("{}: {change:.2} of its former speed, {by}", new.id));
        }
    }
    found
}
