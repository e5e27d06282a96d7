//! Small drawings.

use std::fmt::Write;

/// One colour for each of up to six classes or curves.
pub(crate) const COLORS: [&str; 6] =
    ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e"];

/// A drawing of panels side by side.
pub(crate) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds markup; writing to a string cannot fail.
    pub(crate) fn add(&mut self, markup: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(markup);
        self.body.push('\n');
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), text: &str) {
        self.add(format_args!("<text x=\"{x:.0}\" y=\"{y:.0}\">{text}</text>"));
    }

    pub(crate) fn line(&mut self, points: &[(f64, f64)], color: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        ));
    }

    pub(crate) fn dot(&mut self, (x, y): (f64, f64), color: &str) {
        self.add(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\" fill=\"{color}\"/>"));
    }

    pub(crate) fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <style>circle{{stroke:#222;stroke-width:.4}}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

/// A frame with axes: where values lie in a drawing.
pub(crate) struct Frame {
    /// Left, top, width and height.
    pub(crate) place: [f64; 4],
    /// From and to.
    pub(crate) x: [f64; 2],
    pub(crate) y: [f64; 2],
}

impl Frame {
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, top, width, height] = self.place;
        let part =
            |value: f64, [from, to]: [f64; 2]| ((value - from) / (to - from)).clamp(0.0, 1.0);
        (left + part(x, self.x) * width, top + (1.0 - part(y, self.y)) * height)
    }

    pub(crate) fn draw(&self, drawing: &mut Drawing, title: &str) {
        let [left, top, width, height] = self.place;
        drawing.add(format_args!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#888\"/>"
        ));
        drawing.text((left, top - 6.0), title);
        let ([x0, x1], [y0, y1]) = (self.x, self.y);
        drawing.text((left, top + height + 14.0), &format!("{x0}"));
        drawing.text((left + width - 24.0, top + height + 14.0), &format!("{x1}"));
        drawing.text((left - 30.0, top + height), &format!("{y0}"));
        drawing.text((left - 30.0, top + 10.0), &format!("{y1}"));
    }
}
