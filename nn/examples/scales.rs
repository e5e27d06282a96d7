//! Draws two pictures: why random search beats a grid, and why momentum wants the scale of 1-β.
//!
//! ```text
//! cargo run --release --example scales
//! ```

#[expect(dead_code, reason = "no curve of a single training here")]
mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use plotters::prelude::*;
use tilewise_nn::search::ewa_window;
use tilewise_nn::search::{Caviar, Distribution, Grid, RandomSearch, Sampler, Space, Study};

const USAGE: &str = "scales: draws random search beside a grid, and 1-log beside linear\n";
const TRIALS: u64 = 25;
/// For the second picture.
const DRAWS: u64 = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scales: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 0)? else { return Ok(()) };
    std::fs::create_dir_all(&options.out)?;
    let space = || Space::new().log("alpha", 1e-4, 1.0)?.uniform("other", 0.0, 1.0);
    let grid = plane("grid", options.seed, Grid::new(space()?, 5)?)?;
    let random = plane("random search", options.seed, RandomSearch)?;
    let path = options.out.join("random-and-grid.svg");
    draw_planes(&path, &[grid, random])?;
    println!("random search beside a grid: {}", path.display());
    let path = options.out.join("one-minus-log-and-linear.svg");
    draw_lines(&path, options.seed)?;
    println!("1-log beside linear: {}", path.display());
    Ok(())
}

/// Where 25 trials lie, and how far the best is from the optimum, in decades.
struct Plane {
    title: String,
    points: Vec<(f64, f64)>,
}

/// The loss has its minimum at α = 10^-2.3; the other hyperparameter does not matter.
fn plane(name: &str, seed: u64, sampler: impl Sampler + 'static) -> Result<Plane, Box<dyn Error>> {
    let study = Study::minimize(name).seed(seed).sampler(sampler).open()?;
    Caviar::new(TRIALS).progress(false).run(&study, |trial| {
        trial.uniform("other", 0.0, 1.0)?;
        Ok((trial.log("alpha", 1e-4, 1.0)?.log10() + 2.3).powi(2))
    })?;
    let mut points = Vec::new();
    for trial in study.trials()? {
        let value = |name| trial.number_of(name).ok_or("a trial without its hyperparameters");
        points.push((value("alpha")?.log10(), value("other")?));
    }
    let gap = points.iter().map(|point| (point.0 + 2.3).abs()).fold(f64::INFINITY, f64::min);
    println!("{name}: the best of {TRIALS} is {gap:.3} decades away");
    Ok(Plane { title: format!("{name}: best {gap:.2} decades away"), points })
}

fn draw_planes(path: &Path, planes: &[Plane]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (840, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, plane) in root.split_evenly((1, planes.len())).iter().zip(planes) {
        let mut chart = ChartBuilder::on(area)
            .caption(&plane.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(40)
            .build_cartesian_2d(-4.1..0.1, -0.04..1.04)?;
        let mesh = &mut chart.configure_mesh();
        mesh.max_light_lines(0).x_desc("log10 of alpha").y_desc("what does not matter").draw()?;
        let optimum = PathElement::new([(-2.3, -0.04), (-2.3, 1.04)], RED);
        chart.draw_series([optimum])?;
        let dots = plane.points.iter().map(|&point| Circle::new(point, 4, BLUE.filled()));
        chart.draw_series(dots)?;
    }
    root.present()?;
    Ok(())
}

/// Draws of β on both scales, over the logarithm of the window that each averages over.
fn draw_lines(path: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (840, 260)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("beta in 0.9..0.999: 1-log above, linear below", ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .build_cartesian_2d(0.97..3.03, 0.0..3.0)?;
    let window = |log: &f64| format!("{:.0}", 10f64.powf(*log));
    let mesh = &mut chart.configure_mesh();
    let mesh = mesh.max_light_lines(0).disable_y_mesh().disable_y_axis();
    mesh.x_desc("values averaged over, 1/(1-beta)").x_label_formatter(&window).draw()?;
    let scales = [
        (2.0, "1-log", BLUE, Distribution::one_minus_log(0.9, 0.999)),
        (1.0, "linear", RED, Distribution::uniform(0.9, 0.999)),
    ];
    for (height, name, color, range) in scales {
        let study = Study::minimize(name).seed(seed).open()?;
        let mut long = 0;
        for _ in 0..DRAWS {
            let mut trial = study.ask()?;
            let beta = trial.suggest("beta", &range)?.as_f64().ok_or("beta is a number")?;
            study.tell(&trial, Ok(0.0))?;
            long += u64::from(beta > 0.99);
            let at = (ewa_window(beta).log10(), height);
            chart.draw_series([Circle::new(at, 5, color.mix(0.5).filled())])?;
        }
        println!("{name}: {long} of {DRAWS} draws average over more than 100 values");
    }
    root.present()?;
    Ok(())
}
