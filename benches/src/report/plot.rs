//! Line and scatter plots as inline SVG. Colours come from the page, which knows light from dark.

use std::fmt::Write as _;

use super::html::escape;

/// What a series looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line through points.
    Line,
    /// Filled points.
    Points,
    /// Hollow points.
    Hollow,
    /// A dashed line without points.
    Limit,
}

/// Points that belong together.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) style: Style,
    /// Whether this is ours, which is drawn in the page's accent.
    pub(super) ours: bool,
    /// x, y, and what a pointer over it shows.
    pub(super) points: Vec<(f64, f64, String)>,
}

/// A plot: x is logarithmic, y perhaps.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) log_y: bool,
    /// Where x is labelled; the powers of ten where empty.
    pub(super) ticks: Vec<f64>,
    pub(super) series: Vec<Series>,
}

// Units of the drawing; the page scales it. Narrow enough that text stays legible on a phone.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// How many colours the page has for series that are not ours.
const COLOURS: usize = 10;

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
            let powers = (-6..16).map(|n| 10.0_f64.powi(n));
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

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

impl Plot {
    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = range(points().map(|point| point.0));
        let (y_low, y_high) = range(points().map(|point| point.1));
        let x = Axis {
            low: x_low * 0.85,
            high: x_high * 1.18,
            log: true,
            from: LEFT,
            to: WIDTH - RIGHT,
        };
        let y_low = if self.log_y { y_low * 0.7 } else { 0.0 };
        let y = Axis {
            low: y_low,
            high: y_high * if self.log_y { 1.4 } else { 1.06 },
            log: self.log_y,
            from: HEIGHT - BOTTOM,
            to: TOP,
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
        let mut colour = 0;
        let mut legend = String::new();
        for series in &self.series {
            let class = if series.ours {
                "ours".to_owned()
            } else if series.style == Style::Limit {
                "limit".to_owned()
            } else {
                colour += 1;
                format!("c{}", (colour - 1) % COLOURS)
            };
            series.draw(&mut out, &class, &x, &y);
            if series.style != Style::Limit {
                let name = escape(&series.name);
                let _ = write!(legend, "<span><i class=\"{class}\"></i>{name}</span>");
            }
        }
        let _ = write!(out, "</svg><div class=\"legend\">{legend}</div></figure>");
        out
    }

    fn frame(&self, out: &mut String, x: &Axis, y: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let ticks = if self.ticks.is_empty() { x.ticks() } else { self.ticks.clone() };
        for tick in ticks {
            let (at, below) = (x.place(tick), bottom + 17.0);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{tick}</text>"
            );
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 8.0);
        let _ = write!(
            out,
            "<text x=\"{middle:.1}\" y=\"{low:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(self.x),
            (TOP + bottom) / 2.0,
            escape(self.y)
        );
    }
}

impl Series {
    fn draw(&self, out: &mut String, class: &str, x: &Axis, y: &Axis) {
        let at = |point: &(f64, f64, String)| (x.place(point.0), y.place(point.1));
        if matches!(self.style, Style::Line | Style::Limit) {
            let steps: Vec<String> = self
                .points
                .iter()
                .map(|point| format!("{:.1} {:.1}", at(point).0, at(point).1))
                .collect();
            let _ = write!(out, "<path class=\"line {class}\" d=\"M{}\"/>", steps.join("L"));
        }
        if self.style == Style::Limit {
            if let Some(point) = self.points.get(1) {
                let (at_x, at_y) = at(point);
                let name = escape(&self.name);
                let _ = write!(
                    out,
                    "<text class=\"on\" x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                    at_y - 5.0
                );
            }
            return;
        }
        let hollow = if self.style == Style::Hollow { " hollow" } else { "" };
        for point in &self.points {
            let (cx, cy) = at(point);
            let _ = write!(
                out,
                "<circle class=\"{class}{hollow}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\">\
                 <title>{}</title></circle>",
                escape(&point.2)
            );
        }
    }
}
