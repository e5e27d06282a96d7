//! The progress bar: place in the epoch, time left for all epochs, and the course of the loss.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Plan;
use super::history::sparkline;
use super::session::Session;

/// How many epochs the course shows.
const COURSE: usize = 24;

/// A bar over the steps of an epoch. It draws to stderr, and nothing where that is not a terminal.
pub(super) fn bar(wanted: bool, steps: usize) -> ProgressBar {
    if !wanted {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
    let bar = ProgressBar::new(steps as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Shows where the training stands.
pub(super) fn show<T: tilewise_kernels::Float>(
    bar: &ProgressBar,
    plan: &Plan,
    session: &Session<'_, T>,
) {
    if bar.is_hidden() {
        return;
    }
    let position = &session.position;
    bar.set_prefix(format!("epoch {}/{}", position.epoch + 1, plan.epochs));
    bar.set_position(position.step as u64);
    let epochs = &session.history.epochs;
    let spent: Duration = epochs.iter().map(|epoch| epoch.train_time).sum();
    let done = position.epoch as f64 * session.steps_per_epoch as f64 + position.step as f64;
    let all = plan.epochs as f64 * session.steps_per_epoch as f64;
    let left = left((spent + position.time).as_secs_f64(), done, all);
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.valid_loss).collect();
    let course = sparkline(&losses[losses.len().saturating_sub(COURSE)..]);
    bar.set_message(format!("loss {:.4} {course} {left}", session.loss));
}

/// The time that is left, where `done` of `all` steps took `spent` seconds.
fn left(spent: f64, done: f64, all: f64) -> String {
    if done == 0.0 {
        return String::new();
    }
    let seconds = (spent / done * (all - done)).ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s left"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s left"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m left"),
    }
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn the_time_left_is_told_in_two_units() {
        assert_eq!(left(0.0, 0.0, 10.0), "");
        assert_eq!(left(5.0, 5.0, 50.0), "45s left");
        assert_eq!(left(5.0, 5.0, 130.0), "2m05s left");
        assert_eq!(left(3600.0, 1.0, 3.5), "2h30m left");
    }
}
