//! Line and scatter plots as inline SVG. Colours come from the page, which knows light from dark.

use std::fmt::Write as _;

use super::escape;
use super::look::Look;

/// A place in a plot, and what a pointer over it shows.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

/// Points that belong together.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) look: Look,
    /// Whether a line joins them.
    pub(super) joined: bool,
    pub(super) points: Vec<Point>,
}

/// Something that points cannot exceed: a line from one place to another.
pub(super) struct Limit {
    pub(super) text: String,
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
    /// What is written beside it; nothing where a neighbour's label speaks for it.
    pub(super) label: String,
}

/// What x means.
pub(super) enum Across {
    /// Logarithmic, labelled at the powers of ten, or where it says.
    Numbers(Vec<f64>),
    /// Names at 0, 1, 2 and so on.
    Names(Vec<String>),
}

/// A plot.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: &'static str,
    pub(super) across: Across,
    pub(super) log_y: bool,
    pub(super) limits: Vec<Limit>,
    pub(super) series: Vec<Series>,
}

// Units of the drawing; the page scales it. Narrow enough that text stays legible on a phone.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// More room below where names do not fit side by side.
const BOTTOM_TILTED: f64 = 118.0;
/// What a character takes of the width.
const CHARACTER: f64 = 8.5;
/// Labels closer than that to each other could not be read.
const LABEL: f64 = 17.0;

struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let span = (scale(self.high) - scale(self.low)).max(1e-9);
        self.from + (scale(value) - scale(self.low)) / span * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            // Where two decades do not fit, 2 and 5 are marked too.
            let between: &[f64] =
                if self.high / self.low < 100.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let powers = (-12..19).map(|n| 10.0_f64.powi(n));
            let marks = powers.flat_map(|power| between.iter().map(move |mark| mark * power));
            return marks.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = self.high / 5.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(self.high / step) as usize).map(|n| n as f64 * step).collect()
    }
}

/// A number with a suffix where it is long.
pub(super) fn short(value: f64) -> String {
    let digits = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value {
        v if v >= 1e9 => format!("{}G", digits(v / 1e9)),
        v if v >= 1e6 => format!("{}M", digits(v / 1e6)),
        v if v >= 1e4 => format!("{}k", digits((v / 1e2).round() / 10.0)),
        v if v >= 0.01 || v == 0.0 => digits(v),
        v => format!("{v:e}"),
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

impl Plot {
    fn tilted(&self) -> bool {
        let Across::Names(names) = &self.across else { return false };
        let longest = names.iter().map(String::len).max().unwrap_or_default() as f64;
        (longest + 1.0) * CHARACTER * names.len() as f64 > WIDTH - LEFT - RIGHT
    }

    /// How far a logarithmic y goes beyond the highest: labels of limits stand above them.
    fn headroom(&self) -> f64 {
        if self.limits.is_empty() { 1.4 } else { 4.0 }
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let limits = || self.limits.iter().flat_map(|limit| [limit.from, limit.to]);
        let xs = points().map(|point| point.x).chain(limits().map(|place| place.0));
        let ys = points().map(|point| point.y).chain(limits().map(|place| place.1));
        let ((x_low, x_high), (y_low, y_high)) = (range(xs), range(ys));
        let (from, to) = (LEFT, WIDTH - RIGHT);
        let x = match &self.across {
            Across::Numbers(_) => {
                Axis { low: x_low * 0.85, high: x_high * 1.18, log: true, from, to }
            }
            Across::Names(names) => {
                Axis { low: -0.5, high: names.len() as f64 - 0.5, log: false, from, to }
            }
        };
        let (from, to) = (HEIGHT - if self.tilted() { BOTTOM_TILTED } else { BOTTOM }, TOP);
        let y = if self.log_y {
            Axis { low: y_low * 0.7, high: y_high * self.headroom(), log: true, from, to }
        } else {
            Axis { low: 0.0, high: y_high * 1.06, log: false, from, to }
        };
        (x, y)
    }

    /// A `figure` with the drawing and its legend; nothing where there are no points.
    pub(super) fn figure(&self) -> String {
        if self.series.iter().all(|series| series.points.is_empty()) {
            return String::new();
        }
        let (x, y) = self.axes();
        let title = escape(&self.title);
        let mut out = format!(
            "<figure><figcaption>{title}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        );
        self.frame(&mut out, &x, &y);
        self.draw_limits(&mut out, &x, &y);
        let mut order: Vec<&Series> = self.series.iter().collect();
        order.sort_by_key(|series| series.look.layer);
        for series in order {
            series.draw(&mut out, &x, &y);
        }
        self.label_limits(&mut out, &x, &y);
        out.push_str("</svg><div class=\"legend\">");
        for series in &self.series {
            let (class, name) = (&series.look.class, escape(&series.name));
            let line = if series.joined { "<path d=\"M0 5H24\"/>" } else { "" };
            let _ = write!(
                out,
                "<span><svg class=\"{class}\" viewBox=\"0 0 24 10\">{line}\
                 <circle cx=\"12\" cy=\"5\" r=\"3.5\"/></svg>{name}</span>"
            );
        }
        out.push_str("</div></figure>\n");
        out
    }

    fn frame(&self, out: &mut String, x: &Axis, y: &Axis) {
        let (bottom, right) = (y.from, x.to);
        for tick in y.ticks() {
            let (at, text) = (y.place(tick), short(tick));
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let ticks: Vec<(f64, String)> = match &self.across {
            Across::Names(names) => {
                names.iter().enumerate().map(|(n, name)| (n as f64, name.clone())).collect()
            }
            Across::Numbers(ticks) if ticks.is_empty() => {
                x.ticks().into_iter().map(|tick| (tick, short(tick))).collect()
            }
            Across::Numbers(ticks) => ticks.iter().map(|tick| (*tick, short(*tick))).collect(),
        };
        for (tick, text) in ticks {
            let (at, below, text) = (x.place(tick), bottom + 17.0, escape(&text));
            let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            let _ = if self.tilted() {
                write!(
                    out,
                    "<text transform=\"translate({:.1} {below:.1}) rotate(-35)\" \
                     text-anchor=\"end\">{text}</text>",
                    at + 5.0
                )
            } else {
                write!(
                    out,
                    "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{text}</text>"
                )
            };
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 7.0);
        let _ = write!(
            out,
            "<text x=\"{middle:.1}\" y=\"{low:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.x),
            (TOP + bottom) / 2.0,
            escape(self.y)
        );
    }

    fn draw_limits(&self, out: &mut String, x: &Axis, y: &Axis) {
        for limit in &self.limits {
            let [(x1, y1), (x2, y2)] = limit.ends(x, y);
            let _ = write!(
                out,
                "<path class=\"limit\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"><title>{}</title></path>",
                escape(&limit.text)
            );
        }
    }

    /// Slopes are labelled where they begin, level limits where they end; labels that would touch
    /// move apart.
    fn label_limits(&self, out: &mut String, x: &Axis, y: &Axis) {
        let mut labels: Vec<(bool, f64, f64, &str)> = Vec::new();
        for limit in self.limits.iter().filter(|limit| !limit.label.is_empty()) {
            let [(x1, y1), (x2, y2)] = limit.ends(x, y);
            let flat = limit.from.1 == limit.to.1;
            let (at_x, at_y) = if flat { (x2, y2 - 4.0) } else { (x1 + 4.0, y1 - 4.0) };
            labels.push((flat, at_x, at_y, &limit.label));
        }
        // From below upwards: each label takes the lowest place above the one before.
        labels.sort_by(|a, b| b.2.total_cmp(&a.2));
        for side in [true, false] {
            let mut free = f64::INFINITY;
            for (_, at_x, at_y, text) in labels.iter().filter(|label| label.0 == side) {
                let at_y = at_y.min(free);
                free = at_y - LABEL;
                let anchor = if side { "end" } else { "start" };
                let _ = write!(
                    out,
                    "<text class=\"on\" x=\"{at_x:.1}\" y=\"{at_y:.1}\" text-anchor=\"{anchor}\">{}</text>",
                    escape(text)
                );
            }
        }
    }
}

impl Limit {
    fn ends(&self, x: &Axis, y: &Axis) -> [(f64, f64); 2] {
        [self.from, self.to].map(|(across, up)| (x.place(across), y.place(up)))
    }
}

impl Series {
    fn draw(&self, out: &mut String, x: &Axis, y: &Axis) {
        let at = |point: &Point| (x.place(point.x), y.place(point.y));
        let _ = write!(out, "<g class=\"{}\">", self.look.class);
        if self.joined && self.points.len() > 1 {
            let step = |point| format!("{:.1} {:.1}", at(point).0, at(point).1);
            let steps: Vec<String> = self.points.iter().map(step).collect();
            let _ = write!(out, "<path d=\"M{}\"/>", steps.join("L"));
        }
        for point in &self.points {
            let (cx, cy) = at(point);
            let _ = write!(
                out,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"><title>{}</title></circle>",
                escape(&point.text)
            );
        }
        out.push_str("</g>");
    }
}
