//! Rates over sizes, ours against everybody's, one plot for each operation.

use super::look;
use super::plot::{Across, Plot, Point, Series, short};
use crate::record::{Record, Row};
use crate::report::family::Family;
use crate::report::words::{rate, rate_of, time};

/// Sizes below which nothing is a sweep.
const FEWEST: usize = 3;

/// Where a shape lies on an axis.
enum Size {
    /// A number of its own: a side, a length.
    Number(f64),
    /// Shapes of several numbers, which stand in order.
    Name,
}

/// What the shapes of a sweep have in common, and where this one lies.
fn place(op: &str, shape: &str) -> Option<(String, Size)> {
    let (sizes, layout) = match shape.split_once('-') {
        Some((sizes, layout)) if op != "training_step" => (sizes, layout),
        _ => (shape, ""),
    };
    let sizes: Vec<&str> = sizes.split('x').collect();
    let layout = if layout.is_empty() { String::new() } else { format!(", {layout}") };
    match (op, &sizes[..]) {
        ("gemm", [m, n, k]) => {
            let square = m == n && n == k;
            square.then_some((format!("squares{layout}"), Size::Number(m.parse().ok()?)))
        }
        (_, [one]) => Some((layout, Size::Number(one.parse().ok()?))),
        ("training_step", _) => Some((String::new(), Size::Name)),
        (_, several) => Some((format!("{} sizes{layout}", several.len()), Size::Name)),
    }
}

/// What a plot collects.
struct Sweep<'a> {
    op: &'a str,
    dtype: &'a str,
    common: String,
    numbers: bool,
    rows: Vec<(f64, &'a Row)>,
}

/// The plots of a family's operations with at least three sizes.
pub(super) fn plots(record: &Record, family: &Family) -> Vec<Plot> {
    let mut sweeps: Vec<Sweep> = Vec::new();
    for row in record.rows.iter().filter(|row| Family::of(row.case()) == *family) {
        let Some((common, size)) = place(row.op(), row.shape()) else { continue };
        let (op, dtype) = (row.op(), row.id.split('/').nth(1).unwrap_or_default());
        let (x, numbers) = match size {
            Size::Number(x) if x > 0.0 => (x, true),
            Size::Number(_) => continue,
            Size::Name => (row.bytes.max(row.flops) as f64, false),
        };
        let same =
            |s: &Sweep| (s.op, s.dtype, &s.common, s.numbers) == (op, dtype, &common, numbers);
        match sweeps.iter_mut().find(|sweep| same(sweep)) {
            Some(sweep) => sweep.rows.push((x, row)),
            None => sweeps.push(Sweep { op, dtype, common, numbers, rows: vec![(x, row)] }),
        }
    }
    sweeps.into_iter().filter_map(|sweep| sweep.plot(&record.machine.isa)).collect()
}

impl Sweep<'_> {
    fn plot(mut self, best: &str) -> Option<Plot> {
        self.rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut shapes: Vec<&str> = self.rows.iter().map(|(_, row)| row.shape()).collect();
        let mut ticks: Vec<f64> = self.rows.iter().map(|(x, _)| *x).collect();
        ticks.dedup();
        // Shapes of the same size may alternate between implementations.
        let mut seen = std::collections::HashSet::new();
        shapes.retain(|shape| seen.insert(*shape));
        if shapes.len() < FEWEST {
            return None;
        }
        let unit = self.rows.iter().find_map(|(_, row)| rate_of(row)).map(|(_, unit)| unit);
        let mut series: Vec<Series> = Vec::new();
        for (x, row) in &self.rows {
            let x = if self.numbers { *x } else { position(&shapes, row.shape()) };
            let Some(y) = height(row, unit) else { continue };
            let text = format!("{}: {}, {}", row.id, time(row.median), rate(row));
            let point = Point { x, y, text };
            let name = row.implementation();
            match series.iter_mut().find(|series| series.name == name) {
                Some(found) => found.points.push(point),
                None => {
                    let look = look::of(row, best);
                    series.push(Series {
                        name: name.into(),
                        look,
                        joined: true,
                        points: vec![point],
                    });
                }
            }
        }
        series.iter_mut().for_each(|series| series.points.sort_by(|a, b| a.x.total_cmp(&b.x)));
        series.sort_by_key(|series| std::cmp::Reverse(series.look.layer));
        let Self { op, dtype, common, numbers, .. } = &self;
        let detail = common.trim_start_matches(", ");
        let detail =
            if detail.is_empty() || !numbers { String::new() } else { format!(", {detail}") };
        let names = || shapes.iter().map(|shape| (*shape).to_owned()).collect();
        Some(Plot {
            title: format!("{op}, {dtype}{detail}"),
            x: if *numbers { axis(op).into() } else { "shapes in order of size".into() },
            y: unit.unwrap_or("calls per second"),
            across: if *numbers { Across::Numbers(thinned(ticks)) } else { Across::Names(names()) },
            // Bandwidths of first-level cache and memory are a decade apart, rates of products not.
            log_y: unit != Some("GFLOP/s"),
            limits: Vec::new(),
            series,
        })
    }
}

/// The rate in the plot's unit; calls per second where nothing is counted.
fn height(row: &Row, unit: Option<&str>) -> Option<f64> {
    match (rate_of(row), unit) {
        (Some((rate, own)), Some(unit)) => (own == unit).then_some(rate),
        (None, None) => Some(1.0 / row.median),
        _ => None,
    }
}

fn position(shapes: &[&str], shape: &str) -> f64 {
    shapes.iter().position(|known| *known == shape).unwrap_or_default() as f64
}

/// What a single number counts.
fn axis(op: &str) -> &'static str {
    match op {
        "gemm" => "rows = columns = depth",
        "sgd" | "momentum" | "rmsprop" | "adam" | "adamw" => "parameters",
        _ => "elements",
    }
}

/// Ticks whose labels do not touch: sizes closer than a quarter octave to the last one go unlabelled.
fn thinned(ticks: Vec<f64>) -> Vec<f64> {
    let (Some(first), Some(last)) = (ticks.first().copied(), ticks.last().copied()) else {
        return ticks;
    };
    // The plot is some fifty characters wide.
    let apart = |low: f64, high: f64, label: &str| {
        (high / low).ln() / (last / first).ln().max(1e-9) * 50.0 > label.len() as f64 + 1.0
    };
    let mut kept: Vec<f64> = Vec::new();
    for tick in ticks {
        if kept.last().is_none_or(|before| apart(*before, tick, &short(tick))) {
            kept.push(tick);
        }
    }
    kept
}
