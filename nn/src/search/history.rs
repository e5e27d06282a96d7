//! The trials of a study, as samplers and analyses see them.

use std::collections::{BTreeSet, HashMap};

use crate::search::distribution::Distribution;
use crate::search::record::{Direction, State, TrialRecord};

/// All trials of a study with those that are complete in order of merit.
#[derive(Debug, Clone)]
pub(crate) struct Trials {
    pub(crate) direction: Direction,
    pub(crate) all: Vec<TrialRecord>,
    /// (cost, number) of the complete ones, best first and the earlier first on ties.
    ranked: Vec<(f64, u64)>,
    finished: usize,
    /// Numbers of those that wait or run.
    pub(crate) unfinished: BTreeSet<u64>,
    /// The first distribution of every name, with which later ones must agree.
    pub(crate) distributions: HashMap<String, Distribution>,
}

impl Trials {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            all: Vec::new(),
            ranked: Vec::new(),
            finished: 0,
            unfinished: BTreeSet::new(),
            distributions: HashMap::new(),
        }
    }

    /// Takes note that a trial, which has its final state and value, has ended.
    pub(crate) fn note_end(&mut self, number: u64) {
        self.finished += 1;
        self.unfinished.remove(&number);
        let Some(trial) = self.all.get(number as usize) else { return };
        let (State::Complete, Some(value)) = (trial.state, trial.value) else { return };
        if !value.is_nan() {
            let entry = (self.direction.cost(value), number);
            let less =
                |other: &(f64, u64)| other.0 < entry.0 || (other.0 == entry.0 && other.1 < entry.1);
            let place = self.ranked.partition_point(less);
            self.ranked.insert(place, entry);
        }
    }

    pub(crate) fn history(&self) -> History<'_> {
        History { trials: self }
    }
}

/// A look at the trials of a study.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    trials: &'a Trials,
}

impl<'a> History<'a> {
    /// All trials; the index is their number.
    pub fn trials(self) -> &'a [TrialRecord] {
        &self.trials.all
    }

    /// The complete ones, best first; the earlier first where values are equal.
    pub fn ranked(self) -> impl Iterator<Item = &'a TrialRecord> {
        let all = &self.trials.all;
        self.trials.ranked.iter().filter_map(|&(_, number)| all.get(number as usize))
    }

    /// How many have ended, in whatever way.
    pub fn finished(self) -> usize {
        self.trials.finished
    }

    /// What is wanted.
    pub fn direction(self) -> Direction {
        self.trials.direction
    }
}
