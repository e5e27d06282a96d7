//! Stopping trials that others outdo.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::error::{Error, Result};

/// Judges trials by their intermediate values. Values come as costs: smaller is better.
pub trait Pruner: Send + fmt::Debug {
    /// Takes in that `trial` stands at `cost` at `step`; says whether to stop it now. Reports of all
    /// workers arrive, also those made before this process began.
    fn report(&mut self, trial: u64, step: i64, cost: f64) -> bool;

    /// Takes in that `trial` has ended, `complete` or not.
    fn end(&mut self, trial: u64, complete: bool);
}

/// Stops a trial whose best value so far is worse than the median of the complete trials at the same
/// step.
#[derive(Debug, Clone)]
pub struct Median {
    startup: usize,
    warmup: i64,
    running: HashMap<u64, BTreeMap<i64, f64>>,
    /// Costs of the complete trials by step, sorted.
    complete: HashMap<i64, Vec<f64>>,
}

impl Default for Median {
    fn default() -> Self {
        Self { startup: 5, warmup: 0, running: HashMap::new(), complete: HashMap::new() }
    }
}

impl Median {
    /// Sets how many trials must have been complete at a step before others are judged there (5).
    #[must_use]
    pub fn startup(self, startup: usize) -> Self {
        Self { startup, ..self }
    }

    /// Sets before which step no trial is stopped (0).
    #[must_use]
    pub fn warmup(self, warmup: i64) -> Self {
        Self { warmup, ..self }
    }
}

impl Pruner for Median {
    fn report(&mut self, trial: u64, step: i64, cost: f64) -> bool {
        let own = self.running.entry(trial).or_default();
        own.insert(step, cost);
        let best = own.range(..=step).map(|(_, &cost)| cost).fold(f64::NAN, f64::min);
        let Some(others) = self.complete.get(&step) else { return false };
        if step < self.warmup || others.len() < self.startup.max(1) {
            return false;
        }
        let half = others.len() / 2;
        let low = others[(others.len() - 1) / 2];
        best.is_nan() || best > 0.5 * low + 0.5 * others[half]
    }

    fn end(&mut self, trial: u64, complete: bool) {
        let reports = self.running.remove(&trial).unwrap_or_default();
        for (step, cost) in reports.into_iter().filter(|(_, cost)| complete && !cost.is_nan()) {
            insert_sorted(self.complete.entry(step).or_default(), cost);
        }
    }
}

fn insert_sorted(sorted: &mut Vec<f64>, value: f64) {
    sorted.insert(sorted.partition_point(|&other| other <= value), value);
}

/// Asynchronous successive halving, in the form that stops trials: one that comes to a rung goes on if
/// it is among the best `1/reduction` of those that came there before it.
///
/// Rung k lies at step `first · reduction^k`. Li et al., "A system for massively parallel
/// hyperparameter tuning", MLSys 2020; no worker ever waits.
#[derive(Debug, Clone)]
pub struct Asha {
    first: f64,
    reduction: f64,
    /// Costs at each rung, sorted.
    rungs: Vec<Vec<f64>>,
    /// The rung that a running trial comes to next.
    next: HashMap<u64, usize>,
}

impl Asha {
    /// The first rung's step, and the factor by which trials get fewer and steps more.
    ///
    /// # Errors
    /// If `first` is below 1 or `reduction` below 2.
    pub fn new(first: u32, reduction: u32) -> Result<Self> {
        if first < 1 {
            return Err(Error::argument("first rung", "a step of at least 1", first));
        }
        if reduction < 2 {
            return Err(Error::argument(
                "reduction of successive halving",
                "at least 2",
                reduction,
            ));
        }
        Ok(Self {
            first: f64::from(first),
            reduction: f64::from(reduction),
            rungs: Vec::new(),
            next: HashMap::new(),
        })
    }
}

impl Pruner for Asha {
    fn report(&mut self, trial: u64, step: i64, cost: f64) -> bool {
        if cost.is_nan() {
            return true;
        }
        let next = self.next.entry(trial).or_insert(0);
        let mut stop = false;
        // A report can pass several rungs; one that goes backwards passes none.
        while step as f64 >= self.first * self.reduction.powi((*next).min(1000) as i32) {
            if self.rungs.len() <= *next {
                self.rungs.push(Vec::new());
            }
            let rung = &mut self.rungs[*next];
            insert_sorted(rung, cost);
            *next += 1;
            let kept = ((rung.len() as f64 / self.reduction) as usize).max(1);
            stop = cost > rung[kept - 1];
            if stop {
                break;
            }
        }
        stop
    }

    fn end(&mut self, trial: u64, _: bool) {
        self.next.remove(&trial);
    }
}

/// Hyperband: several successive halvings side by side whose first rungs differ, so that trials that
/// start slowly are not all lost.
///
/// Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 2018; the
/// brackets share the trials as there, by their numbers.
#[derive(Debug, Clone)]
pub struct Hyperband {
    brackets: Vec<Asha>,
    /// After how many trials of a round each bracket's turn ends.
    turns: Vec<u64>,
}

impl Hyperband {
    /// First rungs from step `first` up, all below `last`, the step that survivors come to.
    ///
    /// # Errors
    /// If `first` is 0 or above `last`, or `reduction` is below 2.
    pub fn new(first: u32, last: u32, reduction: u32) -> Result<Self> {
        if first > last {
            return Err(Error::argument("first rung", format!("at most {last}"), first));
        }
        let mut brackets = vec![Asha::new(first, reduction)?];
        let mut step = first.saturating_mul(reduction);
        while step <= last {
            brackets.push(Asha::new(step, reduction)?);
            step = step.saturating_mul(reduction);
        }
        let mut total = 0;
        let turn = |index: usize| {
            let rungs = (brackets.len() - index) as u64;
            let starters = u64::from(reduction).saturating_pow(rungs as u32 - 1);
            total += (brackets.len() as u64).saturating_mul(starters).div_ceil(rungs);
            total
        };
        let turns = (0..brackets.len()).map(turn).collect();
        Ok(Self { brackets, turns })
    }

    fn bracket(&mut self, trial: u64) -> &mut Asha {
        let place = self.turns.last().map_or(0, |&round| trial % round);
        let index = self.turns.partition_point(|&end| end <= place);
        &mut self.brackets[index]
    }
}

impl Pruner for Hyperband {
    fn report(&mut self, trial: u64, step: i64, cost: f64) -> bool {
        self.bracket(trial).report(trial, step, cost)
    }

    fn end(&mut self, trial: u64, complete: bool) {
        self.bracket(trial).end(trial, complete);
    }
}
