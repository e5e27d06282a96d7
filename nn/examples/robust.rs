//! Studies how batch normalisation widens the range of learning rates that train: the same network
//! with and without it, over seven decades. Draws the picture.
//!
//! ```text
//! cargo run --release --example robust
//! ```

#[expect(dead_code, reason = "no curve of a single training here")]
mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use plotters::prelude::*;
use tilewise_nn::prelude::*;
use tilewise_nn::search::{Caviar, Grid, Space, Study, Trial};

const USAGE: &str = "robust: learning rates that train, with batch normalisation and without";
/// Learning rates from 1e-4 to 1e3.
const RATES: usize = 22;
const LOG_RATES: std::ops::Range<f64> = -4.0..3.0;
/// A network of that accuracy has learned something.
const TRAINED: f64 = 0.9;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("robust: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The accuracy after a training; none if it left the finite numbers.
fn train(
    trial: &mut Trial<'_>,
    (normalised, epochs, seed): (bool, u64, u64),
    [train, valid]: [&Dataset; 2],
) -> Result<f64> {
    let alpha = trial.log("alpha", 1e-4, 1e3)?;
    let layers = Sequential::new();
    let layers = if normalised {
        layers.linear(64, 64).batch_norm().relu().linear(64, 64).batch_norm().relu()
    } else {
        layers.linear(64, 64).relu().linear(64, 64).relu()
    };
    // The same weights and order of rows for all: only the learning rate differs.
    let mut model = layers.linear(64, 10).build(seed)?;
    let trainer = Trainer::new(Sgd::new(alpha)).epochs(epochs).batch_size(32);
    let trainer = trainer.drop_last(true).seed(seed).progress(false);
    trainer.fit(&mut model, train, valid)?;
    Ok(model.evaluate(valid)?.accuracy)
}

/// Accuracy over the logarithm of the learning rate; 0 where the training diverged.
type Curve = Vec<(f64, f64)>;

fn curve(
    normalised: bool,
    options: &common::Options,
    data: [&Dataset; 2],
) -> Result<Curve, Box<dyn Error>> {
    let name = if normalised { "with" } else { "without" };
    let space = Space::new().log("alpha", 1e-4, 1e3)?;
    let study = Study::maximize(name).sampler(Grid::new(space, RATES)?).open()?;
    let settings = (normalised, options.epochs, options.seed);
    Caviar::new(RATES as u64).run(&study, |trial| train(trial, settings, data))?;
    let mut curve = Curve::new();
    for trial in study.trials()? {
        let alpha = trial.number_of("alpha").ok_or("a trial without a learning rate")?;
        curve.push((alpha.log10(), trial.value.unwrap_or(0.0)));
    }
    curve.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(curve)
}

/// The decades over which learning rates train.
fn width(curve: &Curve) -> f64 {
    let step = (LOG_RATES.end - LOG_RATES.start) / (RATES - 1) as f64;
    curve.iter().filter(|point| point.1 >= TRAINED).count() as f64 * step
}

fn draw(path: &Path, curves: [(&str, RGBColor, &Curve); 2]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (720, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Learning rates that train the digits network", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(LOG_RATES, 0.0..1.0)?;
    let mesh = &mut chart.configure_mesh();
    mesh.max_light_lines(0).x_desc("log10 of the learning rate").y_desc("accuracy").draw()?;
    for (name, color, curve) in curves {
        chart
            .draw_series(LineSeries::new(curve.iter().copied(), color).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).draw()?;
    root.present()?;
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 5)? else { return Ok(()) };
    std::fs::create_dir_all(&options.out)?;
    let (train, valid) = digits()?.stratified_split(360, 1)?;
    let with = curve(true, &options, [&train, &valid])?;
    let without = curve(false, &options, [&train, &valid])?;
    let path = options.out.join("robust.svg");
    let names = ["with batch normalisation", "without"];
    draw(&path, [(names[0], BLUE, &with), (names[1], RED, &without)])?;
    println!("picture: {}", path.display());
    println!("robust: decades_with={:.2} decades_without={:.2}", width(&with), width(&without));
    Ok(())
}
