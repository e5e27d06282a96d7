//! Families of operations, and how ours stands in each.

use std::collections::BTreeSet;

use super::duel::{Duel, Outcome};

/// The families in the order of the page: names, whether their speed is that of arithmetic, and their
/// operations, each also with what [`stem`] cuts off.
const FAMILIES: [(&str, bool, &[&str]); 14] = [
    ("matrix products", true, &["gemm", "gemm_batched", "gemm_to_halves"]),
    ("training steps", true, &["training_step", "conv_step"]),
    ("batch normalisation", false, &["batch_norm"]),
    ("norms of rows", false, &["layer_norm", "rms_norm"]),
    ("softmax", false, &["softmax", "log_softmax", "log_sum_exp"]),
    ("losses on logits", false, &["cross_entropy", "sigmoid_cross_entropy"]),
    ("losses of regressions", false, &["squared_error", "absolute_error", "huber"]),
    ("linear layers and their loss", true, &["linear_cross_entropy", "whole_cross_entropy"]),
    ("activations", false, &ACTIVATIONS),
    ("elementary functions", false, &["exp", "expm1", "ln", "log1p", "erf", "rsqrt"]),
    ("reductions", false, &["sum", "mean", "mean_var", "max", "argmax", "l2_norm"]),
    ("optimiser steps", false, &OPTIMIZERS),
    ("conversions", false, &["convert"]),
    ("images", false, &["im2col", "col2im", "max_pool", "mean_pool"]),
];

const ACTIVATIONS: [&str; 10] = [
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "elu",
    "dropout",
];

const OPTIMIZERS: [&str; 10] = [
    "sgd",
    "momentum",
    "nesterov",
    "rmsprop",
    "adagrad",
    "adam",
    "adamw",
    "adam_bf16",
    "adam_bf16_stochastic",
    "global_norm",
];

/// What some operations have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    rank: usize,
    /// In words, with the element type where that is not `f32`.
    pub name: String,
}

/// The operation that others are a pass or a part of: `batch_norm` of `batch_norm_backward`.
fn stem(op: &str) -> &str {
    let part = ["_backward", "_inference", "_loss", "_rows"].into_iter();
    let op = part.fold(op, |op, suffix| op.strip_suffix(suffix).unwrap_or(op));
    let sums = ["column_", "row_"].into_iter().find_map(|prefix| op.strip_prefix(prefix));
    match sums {
        Some(rest) => rest.strip_suffix('s').unwrap_or(rest),
        None => op,
    }
}

fn rank(op: &str) -> Option<usize> {
    FAMILIES.iter().position(|(_, _, ops)| ops.contains(&stem(op)))
}

/// Whether an operation's speed is counted in floating-point operations.
pub(super) fn is_arithmetic(op: &str) -> bool {
    rank(op).is_some_and(|rank| FAMILIES[rank].1)
}

impl Family {
    /// Of a case's id. Unknown operations are families of their own.
    pub fn of(case: &str) -> Self {
        let mut parts = case.split('/');
        let (op, dtype) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let known = rank(op);
        let name = known.map_or(op, |rank| FAMILIES[rank].0);
        let name = match dtype.split_once("-as-") {
            // A type that is multiplied as another one is neither of them.
            Some((dtype, precision)) => format!("{name}, {dtype} as {precision}"),
            // A conversion has two types, which are in its id.
            None if dtype == "f32" || dtype.contains('-') => name.to_owned(),
            None => format!("{name}, {dtype}"),
        };
        Self { rank: known.unwrap_or(FAMILIES.len()), name }
    }
}

/// The geometric mean of some ratios, and of how many.
pub fn mean(ratios: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    let count = logs.len();
    (count > 0).then(|| ((logs.iter().sum::<f64>() / count as f64).exp(), count))
}

/// Some cases taken together.
#[derive(Debug, Clone, Default)]
pub struct Standing<'a> {
    /// The cases.
    pub duels: Vec<&'a Duel<'a>>,
}

impl<'a> Standing<'a> {
    /// Of all of them.
    pub fn of(duels: &'a [Duel<'a>]) -> Self {
        Self { duels: duels.iter().collect() }
    }

    /// Only where there was a library to compare with.
    pub fn with_peers(&self) -> Self {
        let kept = self.duels.iter().filter(|duel| duel.peer.is_some());
        Self { duels: kept.copied().collect() }
    }

    /// Only where there was nobody but the naive twin.
    pub fn with_naive(&self) -> Self {
        let kept = self.duels.iter().filter(|duel| duel.is_with_naive());
        Self { duels: kept.copied().collect() }
    }

    /// The geometric mean of the ratios to the best library, and of how many cases.
    pub fn against_peers(&self) -> Option<(f64, usize)> {
        mean(self.duels.iter().filter_map(|duel| duel.against_peer()))
    }

    /// The geometric mean of the ratios to the naive twin, and of how many cases.
    pub fn against_naive(&self) -> Option<(f64, usize)> {
        mean(self.duels.iter().filter_map(|duel| duel.against_naive()))
    }

    /// The case with the smallest ratio and the one with the largest.
    pub fn extremes(&self) -> Option<(&'a Duel<'a>, &'a Duel<'a>)> {
        let known = || self.duels.iter().copied().filter(|duel| duel.ratio().is_some());
        let by = |a: &&Duel, b: &&Duel| {
            a.ratio().unwrap_or_default().total_cmp(&b.ratio().unwrap_or_default())
        };
        Some((known().min_by(by)?, known().max_by(by)?))
    }

    /// In how many cases the quartiles say so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.duels.iter().filter(|duel| duel.outcome() == Some(outcome)).count()
    }

    /// The libraries that took part.
    pub fn peers(&self) -> BTreeSet<&'a str> {
        self.duels.iter().flat_map(|duel| duel.peers()).collect()
    }
}

/// The families of some cases in the page's order.
pub fn standings<'a>(duels: &'a [Duel<'a>]) -> Vec<(Family, Standing<'a>)> {
    let mut found: Vec<(Family, Standing)> = Vec::new();
    for duel in duels {
        let family = Family::of(duel.case);
        match found.iter_mut().find(|(known, _)| *known == family) {
            Some((_, standing)) => standing.duels.push(duel),
            None => found.push((family, Standing { duels: vec![duel] })),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
