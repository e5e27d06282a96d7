//! 12288-25-12-6: images of 64 x 64 pixels in three colours, of six classes.
//!
//! `--data` names an npz file with the arrays `train_x` (of shape (rows, 64, 64, 3), bytes), `train_y`,
//! `test_x` and `test_y`. Without it, images are made: a disc in one of six places, among noise.
//!
//! ```text
//! cargo run --release --example images -- --data signs.npz
//! ```

mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tilewise_nn::data::npy;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

const USAGE: &str = "images: trains 12288-25-12-6 on images of 64 x 64 x 3\n
  --data FILE  an npz file with train_x, train_y, test_x and test_y; without it, made ones";
const SIDE: usize = 64;
const FEATURES: usize = SIDE * SIDE * 3;
const CLASSES: usize = 6;
/// The largest value of a byte.
const WHITE: f32 = 255.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The images and labels whose arrays begin with `part`.
fn read(file: &Path, part: &str) -> Result<Dataset> {
    let arrays = npy::read_npz(file)?;
    let find = |kind: &str| {
        let name = format!("{part}_{kind}");
        let array = arrays.iter().find(|(other, _)| *other == name).map(|(_, array)| array);
        array.ok_or_else(|| {
            tilewise_nn::Error::format(&file.display().to_string(), name, "an array", "none")
        })
    };
    let mut features = find("x")?.matrix::<f32>()?;
    features.data_mut().iter_mut().for_each(|x| *x /= WHITE);
    Dataset::new(features, find("y")?.labels()?, CLASSES)
}

/// Discs in six places, a little off, among noise.
fn made(rows: usize, seed: u64) -> Result<Dataset> {
    let mut random = Random::new(seed);
    let labels: Vec<usize> = (0..rows).map(|row| row % CLASSES).collect();
    let mut values = Vec::with_capacity(rows * FEATURES);
    for &label in &labels {
        let mut near = |place: usize| (place * 20 + 10) as f64 + 3.0 * random.normal();
        let (down, across) = (near(1 + label / 3), near(label % 3));
        for pixel in 0..SIDE * SIDE {
            let (y, x) = ((pixel / SIDE) as f64 - down, (pixel % SIDE) as f64 - across);
            let disc = if y * y + x * x < 64.0 { 0.6 } else { 0.2 };
            values.extend((0..3).map(|_| (disc + 0.1 * random.normal()) as f32));
        }
    }
    Dataset::new(Matrix::new(values, rows, FEATURES)?, labels, CLASSES)
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 12)? else { return Ok(()) };
    let (train, test) = match &options.data {
        Some(file) => (read(file, "train")?, read(file, "test")?),
        None => (made(300, options.seed)?, made(120, options.seed.wrapping_add(1))?),
    };
    let mut model = Sequential::new()
        .linear(FEATURES, 25)
        .batch_norm()
        .relu()
        .linear(25, 12)
        .batch_norm()
        .relu()
        .linear(12, CLASSES)
        .build(options.seed)?;
    let trainer = Trainer::new(Adam::default()).epochs(options.epochs).batch_size(32);
    let history = trainer.seed(options.seed).drop_last(true).fit(&mut model, &train, &test)?;
    common::save_curve(&history, &options.out.join("images.svg"))?;
    println!("images: accuracy={:.4}", model.evaluate(&test)?.accuracy);
    Ok(())
}
