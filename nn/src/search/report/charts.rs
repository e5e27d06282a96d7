//! The drawings of the report.

use super::svg::{Axis, Frame, HEIGHT, WIDTH, escape, shade, short, show};
use crate::search::distribution::Distribution;
use crate::search::importance::Importance;
use crate::search::record::TrialRecord;

/// Points beyond that many are thinned: the best hundred stay, and a regular sample of the others.
const MOST: usize = 1000;
const BEST: usize = 100;
/// Cells along a side of the contour.
const GRID: usize = 24;
const BLUE: &str = "#145ac8";
const ORANGE: &str = "#e67814";

/// What all drawings look at.
pub(super) struct View<'a> {
    /// Complete trials with finite values, best first.
    pub(super) ranked: Vec<&'a TrialRecord>,
    /// All trials by number.
    pub(super) all: &'a [TrialRecord],
}

impl<'a> View<'a> {
    /// The trials to draw, each with its rank from 0, best, to 1.
    fn thinned(&self, most: usize) -> Vec<(f64, &'a TrialRecord)> {
        let count = self.ranked.len();
        let best = BEST.min(most / 2);
        let stride = count.saturating_sub(best).div_ceil(most - best).max(1);
        let shown = |&(rank, _): &(usize, _)| rank < best || (rank - best).is_multiple_of(stride);
        let last = count.saturating_sub(1).max(1) as f64;
        let all = self.ranked.iter().copied().enumerate().filter(shown);
        let mut all: Vec<_> = all.map(|(rank, trial)| (rank as f64 / last, trial)).collect();
        // The best are drawn last, on top.
        all.reverse();
        all
    }

    fn values(&self) -> Axis {
        Axis::over("value", self.ranked.iter().filter_map(|trial| trial.value))
    }

    /// The widest range of a hyperparameter.
    fn range(&self, name: &str) -> Option<Distribution> {
        let params = self.ranked.iter().filter_map(|trial| trial.param(name));
        params.map(|param| param.distribution.clone()).reduce(Distribution::hull)
    }

    /// Values by number, and the best so far.
    pub(super) fn history(&self) -> String {
        let last = self.all.len().saturating_sub(1) as f64;
        let mut frame = Frame::new(Axis::over("trial", [0.0, last].into_iter()), self.values());
        for (_, trial) in self.thinned(MOST) {
            let value = trial.value.unwrap_or(f64::NAN);
            frame.dot((trial.number as f64, value), BLUE, &title(trial));
        }
        let mut steps: Vec<(f64, f64)> = Vec::new();
        let mut earliest = u64::MAX;
        // From the best backwards in time: each one that came before all better ones.
        for trial in &self.ranked {
            if trial.number < earliest {
                let value = trial.value.unwrap_or(f64::NAN);
                let until = if earliest == u64::MAX { last } else { earliest as f64 };
                steps.extend([(until, value), (trial.number as f64, value)]);
                earliest = trial.number;
            }
        }
        steps.reverse();
        frame.line(&steps, ORANGE, &"the best so far");
        frame.finish()
    }

    /// Intermediate values of all trials, those that were stopped or failed included.
    pub(super) fn curves(&self) -> Option<String> {
        let mut shown: Vec<(f64, &TrialRecord)> = self.thinned(200);
        let others: Vec<&TrialRecord> = self
            .all
            .iter()
            .filter(|trial| {
                trial.value.is_none_or(|v| !v.is_finite())
                    || trial.state != crate::search::State::Complete
            })
            .collect();
        let stride = others.len().div_ceil(200).max(1);
        shown.splice(0..0, others.into_iter().step_by(stride).map(|trial| (1.0, trial)));
        shown.retain(|(_, trial)| !trial.reports.is_empty());
        if shown.is_empty() {
            return None;
        }
        let reports = || shown.iter().flat_map(|(_, trial)| &trial.reports);
        let x = Axis::over("step", reports().map(|(&step, _)| step as f64));
        let y = Axis::over("intermediate value", reports().map(|(_, &value)| value));
        let mut frame = Frame::new(x, y);
        for (rank, trial) in &shown {
            let points: Vec<(f64, f64)> =
                trial.reports.iter().map(|(&step, &value)| (step as f64, value)).collect();
            frame.line(&points, &shade(*rank), &title(trial));
        }
        Some(frame.finish())
    }

    /// Values by one hyperparameter.
    pub(super) fn slice(&self, name: &str) -> Option<String> {
        let range = self.range(name)?;
        let mut frame = Frame::new(Axis::scale(name, &range), self.values());
        for (_, trial) in self.thinned(MOST) {
            if let (Some(param), Some(value)) = (trial.param(name), trial.value) {
                frame.dot((range.position(param.kept), value), BLUE, &title(trial));
            }
        }
        Some(frame.finish())
    }

    /// Ranks over two hyperparameters, averaged by inverse squared distance.
    pub(super) fn contour(&self, first: &str, second: &str) -> Option<String> {
        let (x, y) = (self.range(first)?, self.range(second)?);
        let points: Vec<(f64, f64, f64, &TrialRecord)> = self
            .thinned(400)
            .into_iter()
            .filter_map(|(rank, trial)| {
                let (a, b) = (trial.param(first)?, trial.param(second)?);
                Some((x.position(a.kept), y.position(b.kept), rank, trial))
            })
            .collect();
        let mut frame = Frame::new(Axis::scale(first, &x), Axis::scale(second, &y));
        let side = 1.0 / GRID as f64;
        for cell in 0..GRID * GRID {
            let (left, low) = ((cell % GRID) as f64 * side, (cell / GRID) as f64 * side);
            let (mut sum, mut weights) = (0.0, 0.0);
            for (a, b, rank, _) in &points {
                let distance = (a - left - side / 2.0).powi(2) + (b - low - side / 2.0).powi(2);
                let weight = 1.0 / (distance + 0.25 * side * side);
                sum += weight * rank;
                weights += weight;
            }
            frame.area((left, low), (left + side, low + side), &shade(sum / weights));
        }
        for (a, b, _, trial) in &points {
            frame.dot((*a, *b), "#222", &title(trial));
        }
        Some(frame.finish())
    }

    /// A line per trial through all its hyperparameters to its value.
    pub(super) fn parallel(&self, names: &[&str]) -> String {
        let ranges: Vec<(&str, Distribution)> =
            names.iter().filter_map(|&name| Some((name, self.range(name)?))).collect();
        let values = self.values();
        let (top, bottom, left) = (30.0, HEIGHT - 30.0, 50.0);
        let gap = (2.0 * WIDTH - 2.0 * left) / ranges.len().max(1) as f64;
        let mut body = String::new();
        for (rank, trial) in self.thinned(500) {
            let position = |(name, range): &(&str, Distribution)| {
                Some(range.position(trial.param(name)?.kept))
            };
            let value = trial.value.map(|value| values.place(value));
            let places = ranges.iter().map(position).chain([value]).enumerate();
            let points: Vec<String> = places
                .filter_map(|(i, place)| {
                    let (x, y) = (left + gap * i as f64, bottom - place? * (bottom - top));
                    Some(format!("{x:.1},{y:.1}"))
                })
                .collect();
            let (points, color, title) =
                (points.join(" "), shade(rank), escape(&title(trial).to_string()));
            body += &format!(
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" \
                 stroke-opacity=\".6\"><title>{title}</title></polyline>"
            );
        }
        let end = |range: &Distribution, at: f64| show(&range.value(range.at(at)));
        let ends = ranges.iter().map(|(name, range)| (*name, end(range, 0.0), end(range, 1.0)));
        let (low, high) = values.ends();
        for (i, (name, low, high)) in ends.chain([("value", short(low), short(high))]).enumerate() {
            let (x, below) = (left + gap * i as f64, bottom + 14.0);
            let (name, low, high) = (escape(name), escape(&low), escape(&high));
            body += &format!(
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <g text-anchor=\"middle\"><text class=\"label\" x=\"{x:.1}\" y=\"12\">{name}</text>\
                 <text x=\"{x:.1}\" y=\"25\">{high}</text>\
                 <text x=\"{x:.1}\" y=\"{below}\">{low}</text></g>"
            );
        }
        let width = 2.0 * WIDTH;
        format!(
            "<svg class=\"wide\" viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" \
             aria-label=\"parallel coordinates\">{body}</svg>"
        )
    }
}

/// A bar per hyperparameter.
pub(super) fn importance(all: &[Importance]) -> String {
    let rows = all.iter().map(|importance| {
        let (name, share) = (escape(&importance.name), 100.0 * importance.share);
        format!(
            "<tr><td>{name}</td><td class=\"bar\"><span style=\"width:{share:.1}%\"></span></td>\
             <td>{share:.1} %</td></tr>"
        )
    });
    format!("<table class=\"bars\">{}</table>", rows.collect::<String>())
}

/// Number, value and hyperparameters in one line.
fn title(trial: &TrialRecord) -> impl std::fmt::Display {
    let params =
        trial.params.iter().map(|param| format!("{} = {}", param.name, show(&param.value())));
    let value = trial.value.map_or(trial.state.name().to_owned(), short);
    format!("trial {}: {value}; {}", trial.number, params.collect::<Vec<_>>().join(", "))
}
