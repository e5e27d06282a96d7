//! Which hyperparameters mattered.

use std::collections::BTreeSet;

use crate::portable::exp;
use crate::search::distribution::Distribution;
use crate::search::history::History;
use crate::search::record::{State, TrialRecord};

/// Cells along a scale on which densities are compared.
const CELLS: usize = 50;
/// The share of a uniform density that is mixed into each.
const UNIFORM: f64 = 0.02;
/// Fewer trials than that tell nothing.
const MIN_TRIALS: usize = 8;

/// How much a hyperparameter mattered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Importance {
    /// The hyperparameter.
    pub name: String,
    /// Its share; those of all hyperparameters add up to 1, or are all 0.
    pub share: f64,
}

impl History<'_> {
    /// The hyperparameters by importance, the most important first: how far their values in the best
    /// trials, a tenth of all complete ones, differ from those in all.
    ///
    /// PED-ANOVA: Watanabe, Bansal and Hutter, "PED-ANOVA: efficiently quantifying hyperparameter
    /// importance in arbitrary subspaces", IJCAI 2023: the Pearson divergence of the two densities,
    /// each a sum of normal kernels on the parameter's scale with Scott's width. A parameter that not
    /// all trials have counts by the share of those that do. Shares are relative: they cannot tell
    /// that nothing mattered, and parameters that matter only together come out low.
    ///
    /// Empty with fewer than eight complete trials.
    pub fn importance(self) -> Vec<Importance> {
        let ranked: Vec<&TrialRecord> = self.ranked().collect();
        if ranked.len() < MIN_TRIALS {
            return Vec::new();
        }
        let names: BTreeSet<&str> = ranked
            .iter()
            .flat_map(|trial| &trial.params)
            .map(|param| param.name.as_str())
            .collect();
        let mut all: Vec<Importance> = names
            .into_iter()
            .map(|name| Importance { name: name.to_owned(), share: divergence(&ranked, name) })
            .collect();
        let sum: f64 = all.iter().map(|importance| importance.share).sum();
        if sum > 0.0 {
            all.iter_mut().for_each(|importance| importance.share /= sum);
        }
        all.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.name.cmp(&b.name)));
        all
    }

    /// How many trials stand where.
    pub fn count(self, state: State) -> usize {
        self.trials().iter().filter(|trial| trial.state == state).count()
    }
}

/// The Pearson divergence of the density of a parameter in the best tenth from that in all trials.
fn divergence(ranked: &[&TrialRecord], name: &str) -> f64 {
    let holders: Vec<&TrialRecord> =
        ranked.iter().copied().filter(|trial| trial.param(name).is_some()).collect();
    let Some(first) = holders.first().and_then(|trial| trial.param(name)) else { return 0.0 };
    let range = match &first.distribution {
        Distribution::Choice(choices) => Range::Cells(choices.len()),
        _ => Range::Line,
    };
    if first.distribution.cells() == Some(1) || holders.len() < MIN_TRIALS {
        return 0.0;
    }
    let positions = hull(&holders, name);
    let best = holders.len().div_ceil(10).max(MIN_TRIALS / 2);
    let (all, best) = (range.density(&positions), range.density(&positions[..best]));
    let terms = all.iter().zip(&best).map(|(all, best)| all * (best / all - 1.0).powi(2));
    let share = holders.len() as f64 / ranked.len() as f64;
    share * terms.sum::<f64>()
}

/// Positions of a parameter, best trial first, stretched to the part of the scale that was visited:
/// bounds may move within a study.
fn hull(holders: &[&TrialRecord], name: &str) -> Vec<f64> {
    let param = |trial: &TrialRecord| trial.param(name).cloned();
    let params = holders.iter().filter_map(|trial| param(trial));
    let Some(widest) = params.clone().map(|p| p.distribution).reduce(Distribution::hull) else {
        return Vec::new();
    };
    params.map(|param| widest.position(param.kept)).collect()
}

enum Range {
    /// Things without order.
    Cells(usize),
    Line,
}

impl Range {
    /// The density on the cells of the scale; it sums to 1 and is nowhere 0.
    fn density(&self, positions: &[f64]) -> Vec<f64> {
        let cells = match *self {
            Self::Cells(cells) => cells,
            Self::Line => CELLS,
        };
        let cell = |position: f64| ((position * cells as f64) as usize).min(cells - 1);
        let mut counts = vec![0.0; cells];
        positions.iter().for_each(|&position| counts[cell(position)] += 1.0);
        let mut density = match self {
            Self::Cells(_) => counts,
            Self::Line => smooth(&counts, width(positions) * cells as f64),
        };
        // The same uniform share in both densities, so that quotients exist and level out nothing else.
        let uniform = UNIFORM * positions.len() as f64 / cells as f64;
        density.iter_mut().for_each(|weight| *weight += uniform);
        let sum: f64 = density.iter().sum();
        density.iter_mut().for_each(|weight| *weight /= sum);
        density
    }
}

/// Scott's rule, at least half a cell.
fn width(positions: &[f64]) -> f64 {
    let n = positions.len() as f64;
    let mean = positions.iter().sum::<f64>() / n;
    let variance = positions.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (1.059 * variance.sqrt() * n.powf(-0.2)).max(0.5 / CELLS as f64)
}

/// Each count spread over its neighbours by a normal kernel that keeps its sum within the scale.
fn smooth(counts: &[f64], width: f64) -> Vec<f64> {
    let kernel = |distance: f64| exp(-0.5 * (distance / width).powi(2));
    let mut density = vec![0.0; counts.len()];
    for (from, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let weights: Vec<f64> =
            (0..counts.len()).map(|to| kernel(to as f64 - from as f64)).collect();
        let sum: f64 = weights.iter().sum();
        density.iter_mut().zip(&weights).for_each(|(to, weight)| *to += count * weight / sum);
    }
    density
}
