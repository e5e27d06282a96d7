//! A study as one HTML file that needs nothing else: no scripts, no fonts, no network.

mod charts;
pub(super) mod svg;

use std::path::Path;

use charts::View;
use svg::{escape, short, show};

use crate::error::Result;
use crate::files::write_atomically;
use crate::search::history::History;
use crate::search::record::{Direction, State, TrialRecord};
use crate::search::study::Study;

/// Trials in the table of the best.
const TABLE: usize = 20;
/// Failures that are listed.
const FAILURES: usize = 50;

pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}\
body{max-width:980px;margin:2em auto;padding:0 1em}\
h1,h2{font-weight:600}h2{margin-top:1.6em;font-size:1.15em}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:1em}\
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:currentColor}\
svg .label{font-weight:600}.frame,.axis{fill:none;stroke:#8888}\
table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #8884;\
text-align:left;font-variant-numeric:tabular-nums;overflow-wrap:break-word}\
.scroll{overflow-x:auto}.bars{width:100%}.bar{width:40%}.bars td{white-space:nowrap}\
.bars td:first-child{white-space:normal;overflow-wrap:anywhere}\
.bar span{display:block;height:.8em;background:#145ac8;border-radius:2px}\
.note{opacity:.75}";

impl Study {
    /// Writes the study as an HTML file, whole or not at all: history, learning curves, importance,
    /// slices, contour and parallel coordinates as drawings, the best trials and the reasons of
    /// failures as tables. The file is complete in itself and runs no scripts.
    ///
    /// # Errors
    /// If the journal cannot be read or the file not be written.
    pub fn save_html(&self, path: impl AsRef<Path>) -> Result<()> {
        let page = self.look(|history| page(self.name(), history))?;
        write_atomically(path.as_ref(), page.as_bytes())
    }
}

fn page(name: &str, history: History<'_>) -> String {
    let finite = |trial: &&TrialRecord| trial.value.is_some_and(f64::is_finite);
    let view = View { ranked: history.ranked().filter(finite).collect(), all: history.trials() };
    let name = escape(name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1>\n"
    );
    page += &summary(history);
    if !view.ranked.is_empty() {
        page += &drawings(&view, history);
        page += &best_trials(&view);
    }
    page += &failures(view.all);
    page + "</body></html>\n"
}

fn summary(history: History<'_>) -> String {
    let wanted = match history.direction() {
        Direction::Minimize => "smallest",
        Direction::Maximize => "largest",
    };
    let count = |state: State| format!("{} {}", history.count(state), state.name());
    let states = [State::Complete, State::Pruned, State::Failed, State::Running].map(count);
    let best = history.ranked().next().and_then(|best| Some((best.number, best.value?)));
    let best = best.map_or_else(
        || "No trial is complete.".to_owned(),
        |(number, value)| format!("The {wanted} value is {} (trial {number}).", short(value)),
    );
    format!("<p>{} trials: {}. {best}</p>\n", history.trials().len(), states.join(", "))
}

fn drawings(view: &View<'_>, history: History<'_>) -> String {
    let importance = history.importance();
    let mut names: Vec<&str> = importance.iter().map(|all| all.name.as_str()).collect();
    if names.is_empty() {
        names = view.ranked[0].params.iter().map(|param| param.name.as_str()).collect();
    }
    let mut page = format!("<h2>History</h2><div class=\"charts\">{}", view.history());
    page += &view.curves().unwrap_or_default();
    page += "</div>\n";
    if !importance.is_empty() {
        page += "<h2>Importance</h2><p class=\"note\">How far the best tenth differs from all \
                 complete trials, by hyperparameter (PED-ANOVA).</p>";
        page += &charts::importance(&importance);
    }
    page += "<h2>Hyperparameters</h2><div class=\"charts\">";
    page.extend(names.iter().filter_map(|name| view.slice(name)));
    if let [first, second, ..] = names[..] {
        page += &view.contour(first, second).unwrap_or_default();
    }
    page += "</div><h2>Parallel coordinates</h2><p class=\"note\">From blue, the best, to orange, \
             the worst.</p>";
    page + &view.parallel(&names[..names.len().min(12)]) + "\n"
}

fn best_trials(view: &View<'_>) -> String {
    let rows = view.ranked.iter().take(TABLE).map(|trial| {
        let value = short(trial.value.unwrap_or(f64::NAN));
        format!("<tr><td>{}</td><td>{value}</td><td>{}</td></tr>", trial.number, params(trial))
    });
    format!(
        "<h2>The best</h2><div class=\"scroll\"><table><tr><th>trial</th><th>value</th>\
         <th>hyperparameters</th></tr>{}</table></div>\n",
        rows.collect::<String>()
    )
}

fn failures(all: &[TrialRecord]) -> String {
    let failed: Vec<&TrialRecord> =
        all.iter().filter(|trial| trial.state == State::Failed).collect();
    if failed.is_empty() {
        return String::new();
    }
    let rows = failed.iter().take(FAILURES).map(|trial| {
        let reason = escape(trial.failure().unwrap_or("unknown"));
        format!("<tr><td>{}</td><td>{reason}</td><td>{}</td></tr>", trial.number, params(trial))
    });
    let rows = rows.collect::<String>();
    let (shown, count) = (failed.len().min(FAILURES), failed.len());
    format!(
        "<h2>Failures</h2><p class=\"note\">{shown} of {count}</p><div class=\"scroll\"><table>\
         <tr><th>trial</th><th>reason</th><th>hyperparameters</th></tr>{rows}</table></div>\n"
    )
}

fn params(trial: &TrialRecord) -> String {
    let all = trial.params.iter().map(|param| format!("{} = {}", param.name, show(&param.value())));
    escape(&all.collect::<Vec<_>>().join(", "))
}
