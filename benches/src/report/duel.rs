//! Ours beside the best of the others, case by case.

use std::collections::HashMap;

use crate::record::{Record, Row};

/// Our paths, slowest first; the naive twin is what they are measured against.
pub(super) const PATHS: [&str; 4] = ["portable", "avx2", "avx512", "amx"];

/// How far the recorded ratio may lie from that of the medians before the reader is told.
const DISAGREEMENT: f64 = 1.25;

/// One case of a record: ours beside the best of the others.
#[derive(Debug, Clone)]
pub struct Duel<'a> {
    /// `<op>/<dtype>/<shape>`
    pub case: &'a str,
    /// Our plain call, on the path and the threads that a program gets. Operands packed before do not
    /// count: peers get none.
    pub ours: &'a Row,
    /// The fastest of the others, unpacked too.
    pub peer: Option<&'a Row>,
    /// The naive twin.
    pub naive: Option<&'a Row>,
    /// Everybody, in the order of the record.
    pub rows: Vec<&'a Row>,
}

/// What the quartiles say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Three quarters of our samples are below three quarters of theirs.
    Faster,
    /// The quartiles overlap: no difference was seen.
    Level,
    /// The other way round.
    Slower,
}

impl<'a> Duel<'a> {
    fn new(case: &'a str, rows: Vec<&'a Row>) -> Option<Self> {
        let rank = |row: &Row| PATHS.iter().position(|path| *path == row.who());
        let ours = rows.iter().copied().filter(|row| row.ours && !row.is_packed());
        // Not the quickest of our paths, which nobody can know before, but the one that is chosen.
        let ours = ours.reduce(|best, row| {
            let key = |row: &Row| (row.threads, rank(row));
            if key(row) > key(best) { row } else { best }
        })?;
        let others = rows.iter().copied().filter(|row| !row.ours && !row.is_packed());
        let quickest = |naive: bool| {
            let wanted = others.clone().filter(|row| row.is_naive() == naive);
            wanted.min_by(|a, b| a.median.total_cmp(&b.median))
        };
        let (peer, naive) = (quickest(false), quickest(true));
        Some(Self { case, ours, peer, naive, rows })
    }

    /// Whom ours is measured against: the naive twin only where nobody else ran.
    pub fn other(&self) -> Option<&'a Row> {
        self.peer.or(self.naive)
    }

    /// How many times faster ours is than that.
    pub fn ratio(&self) -> Option<f64> {
        let other = self.other()?;
        let recorded = self.ours.ratio.filter(|_| self.is_quickest(other));
        Some(recorded.unwrap_or(other.median / self.ours.median))
    }

    /// Whether the recorded ratio is to this one: it is to the quickest that is not ours.
    fn is_quickest(&self, other: &Row) -> bool {
        self.rows.iter().all(|row| row.ours || row.median >= other.median)
    }

    /// How many times faster ours is than the best library.
    pub fn against_peer(&self) -> Option<f64> {
        self.peer.and_then(|_| self.ratio())
    }

    /// How many times faster ours is than the naive twin.
    pub fn against_naive(&self) -> Option<f64> {
        self.naive.map(|naive| naive.median / self.ours.median)
    }

    /// Whether there was nobody else than the naive twin.
    pub fn is_with_naive(&self) -> bool {
        self.peer.is_none() && self.naive.is_some()
    }

    /// What the quartiles of both say.
    pub fn outcome(&self) -> Option<Outcome> {
        let (ours, other) = (self.ours, self.other()?);
        Some(match () {
            () if ours.upper < other.lower => Outcome::Faster,
            () if ours.lower > other.upper => Outcome::Slower,
            () => Outcome::Level,
        })
    }

    /// The libraries that took part.
    pub fn peers(&self) -> impl Iterator<Item = &'a str> {
        let others = self.rows.iter().filter(|row| !row.ours && !row.is_naive());
        others.map(|row| row.who())
    }

    /// Why not to trust this.
    pub fn warning(&self) -> Option<String> {
        let other = self.other();
        let noisy = |row: &&Row| row.warning.is_some();
        if let Some(row) = [Some(self.ours), other].into_iter().flatten().find(noisy) {
            let why = row.warning.as_deref().unwrap_or_default();
            return Some(format!("{}: {why}", row.implementation()));
        }
        let medians = other?.median / self.ours.median;
        let ratio = self.ratio()?;
        let apart = (ratio / medians).max(medians / ratio);
        (apart > DISAGREEMENT).then(|| {
            format!("the ratio round by round is {ratio:.2}, that of the medians {medians:.2}")
        })
    }
}

/// The cases of a record in its order, where ours was timed.
pub fn duels(record: &Record) -> Vec<Duel<'_>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut cases: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in &record.rows {
        let place = *places.entry(row.case()).or_insert(cases.len());
        if place == cases.len() {
            cases.push((row.case(), Vec::new()));
        }
        cases[place].1.push(row);
    }
    cases.into_iter().filter_map(|(case, rows)| Duel::new(case, rows)).collect()
}
