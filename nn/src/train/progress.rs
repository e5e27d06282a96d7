//! The progress bar.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `steps` steps. It draws to stderr, and nothing where that is not a terminal.
pub(super) fn bar(wanted: bool, steps: usize) -> ProgressBar {
    if !wanted {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}");
    let bar = ProgressBar::new(steps as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
