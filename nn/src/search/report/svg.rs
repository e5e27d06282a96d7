//! Just enough SVG for the report: frames with axes, points, lines and texts.

use std::fmt::{Display, Write};

use crate::search::distribution::{Choice, Distribution, Value};

/// The drawing's size and the frame within it.
pub(in crate::search) const WIDTH: f64 = 460.0;
pub(in crate::search) const HEIGHT: f64 = 280.0;
/// For ticks such as `-5.00e-29` beside the label.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Text in which nothing is markup: `&`, brackets and quotes become references, and control
/// characters, which no document may hold, a mark of their own.
pub(in crate::search) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number in a few characters.
pub(in crate::search) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !value.is_finite() => value.to_string(),
        _ if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        _ => {
            // Four significant digits, without zeros at the end.
            let digits = (3 - size.log10().floor() as i32).max(0) as usize;
            let text = format!("{value:.digits$}");
            let trimmed = text.trim_end_matches('0').trim_end_matches('.');
            if text.contains('.') { trimmed.to_owned() } else { text }
        }
    }
}

pub(in crate::search) fn show(value: &Value) -> String {
    match value {
        Value::Float(value) | Value::Choice(Choice::Float(value)) => short(*value),
        other => other.to_string(),
    }
}

/// Where values lie along one side of a frame, from 0 to 1, and what is written there.
pub(in crate::search) struct Axis {
    label: String,
    ticks: Vec<(f64, String)>,
    low: f64,
    width: f64,
}

impl Axis {
    /// For the finite ones of these values, with a little room around.
    pub(in crate::search) fn over(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let width = (high - low).min(f64::MAX);
        let room = if width > 0.0 { 0.04 * width } else { 0.5 * low.abs().max(1.0) };
        let (low, width) = (low - room, width + 2.0 * room);
        let step = round_step(width / 5.0);
        let first = (low / step).ceil();
        let tick = |i: i32| (first + f64::from(i)) * step;
        let ticks = (0..12).map(tick).take_while(|at| *at <= low + width);
        // What rounding leaves of zero would be written out.
        let text = |at: f64| short(if at.abs() < 1e-9 * step { 0.0 } else { at });
        let ticks = ticks.map(|at| ((at - low) / width, text(at))).collect();
        Self { label: label.to_owned(), ticks, low, width }
    }

    /// For positions of a hyperparameter, with its values written at them.
    pub(in crate::search) fn scale(label: &str, range: &Distribution) -> Self {
        let cells = range.cells().filter(|&cells| cells <= 6);
        let places: Vec<f64> = match cells {
            Some(cells) => (0..cells).map(|i| (i as f64 + 0.5) / cells as f64).collect(),
            None => vec![0.0, 0.25, 0.5, 0.75, 1.0],
        };
        let text = |at: f64| show(&range.value(range.at(at))).chars().take(12).collect();
        let ticks = places.into_iter().map(|at| (0.03 + 0.94 * at, text(at))).collect();
        Self { label: label.to_owned(), ticks, low: -0.03 / 0.94, width: 1.0 / 0.94 }
    }

    /// The smallest and the largest value that have a place.
    pub(in crate::search) fn ends(&self) -> (f64, f64) {
        (self.low, self.low + self.width)
    }

    /// Where a value lies, from 0 to 1.
    pub(in crate::search) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / self.width).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten: the smallest that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let all = [1.0, 2.0, 5.0].map(|factor| factor * power);
    all.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// A drawing under way.
pub(in crate::search) struct Frame {
    x: Axis,
    y: Axis,
    body: String,
}

impl Frame {
    pub(in crate::search) fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, body: String::new() }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM))
    }

    /// Adds markup; writing to a string cannot fail.
    fn add(&mut self, markup: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(markup);
    }

    /// A dot with a text that shows under the pointer.
    pub(in crate::search) fn dot(&mut self, (x, y): (f64, f64), color: &str, title: &dyn Display) {
        let ((x, y), title) = (self.at(x, y), escape(&title.to_string()));
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{color}\"><title>{title}</title>\
             </circle>"
        ));
    }

    pub(in crate::search) fn line(
        &mut self,
        points: &[(f64, f64)],
        color: &str,
        title: &dyn Display,
    ) {
        let title = escape(&title.to_string());
        let place = |&(x, y): &(f64, f64)| {
            let (x, y) = self.at(x, y);
            format!("{x:.1},{y:.1}")
        };
        let points: Vec<String> =
            points.iter().filter(|point| point.1.is_finite()).map(place).collect();
        let points = points.join(" ");
        self.add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-opacity=\".7\">\
             <title>{title}</title></polyline>"
        ));
    }

    /// A filled rectangle between two corners.
    pub(in crate::search) fn area(&mut self, from: (f64, f64), to: (f64, f64), color: &str) {
        let ((x0, y0), (x1, y1)) = (self.at(from.0, from.1), self.at(to.0, to.1));
        // A little more than its share, lest the ground shine through between neighbours.
        let (width, height) = (x1 - x0 + 0.8, y0 - y1 + 0.8);
        self.add(format_args!(
            "<rect x=\"{x0:.1}\" y=\"{y1:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{color}\"/>"
        ));
    }

    pub(in crate::search) fn finish(mut self) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut axes = String::new();
        for (part, text) in std::mem::take(&mut self.x.ticks) {
            let (x, y, text) = (LEFT + part * (right - LEFT), bottom + 14.0, escape(&text));
            axes += &format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
        }
        for (part, text) in std::mem::take(&mut self.y.ticks) {
            let (y, text) = (bottom - part * (bottom - TOP) + 4.0, escape(&text));
            let x = LEFT - 5.0;
            axes += &format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>");
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 8.0);
        let (x, y) = (escape(&self.x.label), escape(&self.y.label));
        let (width, height) = (right - LEFT, bottom - TOP);
        let up = (TOP + bottom) / 2.0;
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{y} by {x}\">\
             <rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\"/>\
             {}{axes}<text class=\"label\" x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{x}</text>\
             <text class=\"label\" transform=\"translate(12 {up}) rotate(-90)\" \
             text-anchor=\"middle\">{y}</text></svg>",
            self.body
        )
    }
}

/// From blue, good, over grey to orange.
pub(in crate::search) fn shade(part: f64) -> String {
    let part = part.clamp(0.0, 1.0);
    let mix = |good: f64, middle: f64, bad: f64| {
        let value = if part < 0.5 {
            good + 2.0 * part * (middle - good)
        } else {
            middle + (2.0 * part - 1.0) * (bad - middle)
        };
        value.round() as u8
    };
    let (red, green, blue) =
        (mix(20.0, 190.0, 230.0), mix(90.0, 190.0, 120.0), mix(200.0, 190.0, 20.0));
    format!("#{red:02x}{green:02x}{blue:02x}")
}
