//! J(w) = (w - 5)² by hand, with the gradient written down, and by a tape that finds it.

use std::error::Error;

use tilewise_nn::autodiff::{Tape, Tensor, Variables};
use tilewise_nn::prelude::*;

use super::Options;
use super::svg::{COLORS, Drawing, Frame};

const STEPS: usize = 300;
const RATE: f64 = 0.01;

pub(crate) fn draw(_: &Options) -> Result<(String, String), Box<dyn Error>> {
    let mut by_hand = vec![0.0f64];
    let mut variables = Variables::new();
    let w = variables.add(Tensor::scalar(0.0f64));
    let mut by_tape = vec![0.0f64];
    for step in 0..STEPS {
        let old = by_hand[step];
        by_hand.push(old - RATE * (2.0 * old - 10.0));
        let tape = Tape::new();
        let on_tape = tape.watch(&variables, w);
        let gradients = (on_tape.square() - 10.0 * on_tape + 25.0).gradients()?;
        variables.step(&Sgd::new(RATE), &gradients)?;
        by_tape.push(variables.data(w)?[0]);
    }
    let apart = by_hand.iter().zip(&by_tape).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if apart > 1e-12 {
        return Err(format!("the two ways are {apart} apart").into());
    }
    let mut drawing = Drawing::new(480.0, 260.0);
    let frame = Frame { place: [50.0, 30.0, 400.0, 200.0], x: [0.0, STEPS as f64], y: [0.0, 5.0] };
    frame.draw(&mut drawing, "w on its way to 5, by steps of 0.01 times the gradient");
    let points: Vec<_> = by_tape.iter().enumerate().map(|(i, &w)| frame.at(i as f64, w)).collect();
    drawing.line(&points, COLORS[0]);
    let found = format!("w = {:.6} after {STEPS} steps, both ways to {apart:.0e}", by_tape[STEPS]);
    Ok((found, drawing.finish()))
}
