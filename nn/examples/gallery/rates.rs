//! The digits, with and without batch normalisation, over learning rates: with it, more of them train.

use std::error::Error;

use tilewise_nn::prelude::*;

use super::Options;
use super::svg::{COLORS, Drawing, Frame};

/// Powers of ten.
const RATES: [f64; 9] = [-3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0];

fn accuracy(options: &Options, normalise: bool, rate: f64, data: [&Dataset; 2]) -> Result<f64> {
    let mut plan = Sequential::new();
    for (inputs, outputs) in [(64, 32), (32, 32), (32, 32)] {
        plan = plan.linear(inputs, outputs);
        plan = if normalise { plan.batch_norm().relu() } else { plan.relu() };
    }
    let mut model = plan.linear(32, 10).build(options.seed)?;
    let trainer = Trainer::new(Sgd::new(rate)).epochs(options.epochs).progress(false);
    match trainer.fit(&mut model, data[0], data[1]) {
        Ok(history) => Ok(history.epochs.last().map_or(0.0, |epoch| epoch.valid_accuracy)),
        // A rate that is too large ends here.
        Err(tilewise_nn::Error::Diverged { .. }) => Ok(0.0),
        Err(other) => Err(other),
    }
}

pub(crate) fn draw(options: &Options) -> Result<(String, String), Box<dyn Error>> {
    let (train, valid) = digits()?.stratified_split(360, 1)?;
    let mut drawing = Drawing::new(520.0, 280.0);
    let frame = Frame { place: [50.0, 30.0, 340.0, 210.0], x: [-3.0, 1.0], y: [0.0, 1.0] };
    frame.draw(&mut drawing, "accuracy by the power of ten of the learning rate");
    let mut found = Vec::new();
    for (index, normalise) in [true, false].into_iter().enumerate() {
        let mut points = Vec::new();
        let mut trained = 0;
        for power in RATES {
            let rate = 10.0_f64.powf(power);
            let accuracy = accuracy(options, normalise, rate, [&train, &valid])?;
            trained += usize::from(accuracy >= 0.9);
            points.push(frame.at(power, accuracy));
        }
        let name = if normalise { "with batch norm" } else { "without" };
        drawing.line(&points, COLORS[2 * index]);
        points.iter().for_each(|&point| drawing.dot(point, COLORS[2 * index]));
        drawing.text((412.0, 50.0 + 20.0 * index as f64), name);
        drawing.dot((402.0, 46.0 + 20.0 * index as f64), COLORS[2 * index]);
        found.push(format!("{trained} of {} rates reach 90 % {name}", RATES.len()));
    }
    Ok((found.join(", "), drawing.finish()))
}
