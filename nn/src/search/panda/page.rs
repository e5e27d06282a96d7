//! The learning curve of a training that runs, as a page that shows itself anew.

use std::path::Path;

use super::nudge::Nudged;
use crate::error::Result;
use crate::files::write_atomically;
use crate::search::report::STYLE;
use crate::search::report::svg::{Axis, Frame, escape, short};

/// Points of the curve of steps; when there are more, every other one is left out from then on.
const POINTS: usize = 1024;
/// Over about as many points the curve of steps is averaged.
const WINDOW: f64 = 20.0;

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Curve {
    /// Moments with an average of the losses before them.
    steps: Vec<(f64, f64)>,
    /// Moments with validation losses.
    epochs: Vec<(f64, f64)>,
    average: f64,
    /// Steps in the average.
    averaged: u64,
    stride: u64,
}

impl Curve {
    pub(super) fn step(&mut self, moment: u64, loss: f64) {
        // A plain mean while there are few.
        self.averaged += 1;
        let weight = 1.0 / (self.averaged as f64).min(WINDOW);
        self.average += weight * (loss - self.average);
        if moment.is_multiple_of(self.stride.max(1)) {
            self.steps.push((moment as f64, self.average));
        }
        if self.steps.len() > POINTS {
            self.stride = 2 * self.stride.max(1);
            let stride = self.stride;
            self.steps.retain(|(moment, _)| (*moment as u64).is_multiple_of(stride));
        }
    }

    /// Begins the average anew: what came before was undone.
    pub(super) fn forget(&mut self) {
        self.averaged = 0;
        self.average = 0.0;
    }

    pub(super) fn epoch(&mut self, moment: u64, loss: f64) {
        self.epochs.push((moment as f64, loss));
    }

    /// Writes the page, whole or not at all.
    pub(super) fn save(
        &self,
        path: &Path,
        nudges: &[Nudged],
        steps: u64,
        runs: bool,
    ) -> Result<()> {
        let again = if runs { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
        let state = if runs { "runs" } else { "has ended" };
        let latest = self.epochs.last().map_or(String::new(), |(_, loss)| {
            format!(", the last validation loss is {}", short(*loss))
        });
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{again}\
             <title>Training</title><style>{STYLE}</style></head><body><h1>Training</h1>\
             <p>It {state}: {steps} steps{latest}.</p><p class=\"note\">Losses of minibatches, \
             averaged (blue), and on the validation data (orange), over all steps that were taken, \
             those included that were undone. Lines stand where the training was nudged.</p>{}{}\
             </body></html>\n",
            self.drawing(nudges),
            table(nudges)
        );
        write_atomically(path, page.as_bytes())
    }

    fn drawing(&self, nudges: &[Nudged]) -> String {
        let both = || self.steps.iter().chain(&self.epochs);
        let x = Axis::over("steps taken", both().map(|point| point.0));
        // A loss that explodes would flatten the rest: it leaves the frame at the top.
        let mut finite: Vec<f64> = both().map(|point| point.1).filter(|y| y.is_finite()).collect();
        let first = finite.first().copied().unwrap_or(1.0);
        finite.sort_by(f64::total_cmp);
        let (low, high) = (finite.first(), finite.last());
        let (low, high) = (low.map_or(0.0, |y| y.min(0.0)), high.copied().unwrap_or(1.0));
        let median = finite.get(finite.len() / 2).copied().unwrap_or(1.0);
        let high = high.min((1.2 * first).max(4.0 * median));
        let mut frame = Frame::new(x, Axis::over("loss", [low, high].into_iter()));
        for nudged in nudges {
            let at = nudged.moment as f64;
            let title = format!("after step {}: {}", nudged.moment, nudged.nudge);
            frame.line(&[(at, low), (at, high)], "#888", &title);
        }
        frame.line(&self.steps, "#145ac8", &"minibatches");
        frame.line(&self.epochs, "#e67814", &"validation");
        for point in &self.epochs {
            frame.dot(*point, "#e67814", &short(point.1));
        }
        frame.finish()
    }
}

fn table(nudges: &[Nudged]) -> String {
    if nudges.is_empty() {
        return String::new();
    }
    let rows = nudges.iter().map(|nudged| {
        let (nudge, refused) = (&nudged.nudge, nudged.refused.as_deref());
        let (nudge, refused) = (escape(&nudge.to_string()), escape(refused.unwrap_or("done")));
        let when = if nudged.diverged { " (diverged)" } else { "" };
        format!("<tr><td>{}{when}</td><td>{nudge}</td><td>{refused}</td></tr>", nudged.moment)
    });
    format!(
        "<h2>Nudges</h2><table><tr><th>after step</th><th>nudge</th><th></th></tr>{}</table>",
        rows.collect::<String>()
    )
}
