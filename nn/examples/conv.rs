//! A small convolutional network with batch normalisation: on Fashion-MNIST, where `--data` names the
//! directory of its four files, else on the embedded digits.
//!
//! ```text
//! cargo run --release --example conv -- --data /usr/share/datasets/fashion-mnist
//! ```

mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tilewise_nn::data::idx;
use tilewise_nn::prelude::*;

const USAGE: &str = "conv: trains a small convolutional network on images\n
  --data DIR  with the four idx.gz files of Fashion-MNIST; without it, digits";
const CLASSES: usize = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conv: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Training and test images, and the side of one.
fn images(data: Option<&Path>) -> Result<(Dataset, Dataset, usize)> {
    let Some(directory) = data else {
        let (train, test) = digits()?.stratified_split(360, 1)?;
        return Ok((train, test, 8));
    };
    let read = |part: &str| {
        let file = |kind: &str| directory.join(format!("{part}-{kind}-ubyte.gz"));
        idx::read_dataset(file("images-idx3"), file("labels-idx1"), CLASSES)
    };
    Ok((read("train")?, read("t10k")?, 28))
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 6)? else { return Ok(()) };
    let (train, test, side) = images(options.data.as_deref())?;
    let mut model = Sequential::new()
        .input_image(1, side, side)
        .conv2d_same(8, 3)
        .batch_norm()
        .relu()
        .max_pool(2)
        .conv2d_same(16, 3)
        .batch_norm()
        .relu()
        .global_average_pool()
        .flatten()
        .linear(16, CLASSES)
        .build(options.seed)?;
    println!("{}", model.summary());
    let adam = Adam::default().learning_rate(0.01);
    let trainer = Trainer::new(adam).schedule(Schedule::cosine(options.epochs as f64).smoothly());
    let trainer = trainer.epochs(options.epochs).seed(options.seed);
    let history = trainer.fit(&mut model, &train, &test)?;
    common::save_curve(&history, &options.out.join("conv.svg"))?;
    println!("conv: accuracy={:.4}", model.evaluate(&test)?.accuracy);
    Ok(())
}
