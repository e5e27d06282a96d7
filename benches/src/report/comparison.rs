//! Several records side by side: CPUs, paths, thread counts or commits.

use std::collections::HashMap;

use super::duel::{Duel, duels};
use super::family::mean;
use crate::record::Record;

/// What one record says about a case.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// How many times faster than the best library ours is; nothing where only the naive twin ran.
    pub ratio: Option<f64>,
    /// Our median.
    pub seconds: f64,
}

/// Several records side by side.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Each case, and a cell for each record.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
    /// How many cases all of them have.
    pub common: usize,
    /// The geometric mean of the ratio to the best library, over those of them that all records have it
    /// for.
    pub ratios: Vec<Option<f64>>,
    /// The geometric mean over these of our speed relative to the first record.
    pub speeds: Vec<Option<f64>>,
}

/// Records side by side, one column per record.
pub fn comparison(records: &[Record]) -> Comparison {
    let all: Vec<Vec<Duel>> = records.iter().map(duels).collect();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut rows: Vec<(String, Vec<Option<Cell>>)> = Vec::new();
    for (column, duels) in all.iter().enumerate() {
        for duel in duels {
            let place = *places.entry(duel.case).or_insert(rows.len());
            if place == rows.len() {
                rows.push((duel.case.to_owned(), vec![None; records.len()]));
            }
            let (ratio, seconds) = (duel.against_peer(), duel.ours.median);
            rows[place].1[column] = Some(Cell { ratio, seconds });
        }
    }
    let whole: Vec<Vec<Cell>> =
        rows.iter().filter_map(|(_, cells)| cells.iter().copied().collect()).collect();
    let rated: Vec<Vec<f64>> =
        whole.iter().filter_map(|cells| cells.iter().map(|cell| cell.ratio).collect()).collect();
    let ratio = |i: usize| mean(rated.iter().map(|ratios| ratios[i])).map(|found| found.0);
    let speed = |i: usize| {
        mean(whole.iter().map(|cells| cells[0].seconds / cells[i].seconds)).map(|found| found.0)
    };
    let ratios = (0..records.len()).map(ratio).collect();
    let speeds = (0..records.len()).map(speed).collect();
    Comparison { common: whole.len(), ratios, speeds, rows }
}
