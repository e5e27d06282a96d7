//! Trains 784-512-256-10 with batch normalisation on Fashion-MNIST (Xiao, Rasul and Vollgraf 2017).
//!
//! The four idx.gz files are in Debian's package `dataset-fashion-mnist`
//! (`/usr/share/datasets/fashion-mnist`) and at <https://github.com/zalandoresearch/fashion-mnist>.
//!
//! ```text
//! cargo run --release --example fashion -- --data DIR
//! ```

mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tilewise_kernels::Isa;
use tilewise_nn::data::idx;
use tilewise_nn::prelude::*;

const USAGE: &str = "fashion: trains on 60000 and tests on 10000 images of clothes\n
  --data DIR  with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,
              t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz";
/// Of the 60000 training images, those that show the course.
const VALID_ROWS: usize = 5000;
const SPLIT_SEED: u64 = 2;
const CLASSES: usize = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fashion: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The images and labels whose files begin with `part`.
fn read(directory: &Path, part: &str) -> Result<Dataset> {
    let images = directory.join(format!("{part}-images-idx3-ubyte.gz"));
    let labels = directory.join(format!("{part}-labels-idx1-ubyte.gz"));
    idx::read_dataset(images, labels, CLASSES)
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 12)? else { return Ok(()) };
    let data = options.data.ok_or("--data: expected the directory of the four idx.gz files")?;
    let (train, valid) = read(&data, "train")?.stratified_split(VALID_ROWS, SPLIT_SEED)?;
    let test = read(&data, "t10k")?;

    let mut model = Sequential::new()
        .linear(784, 512)
        .batch_norm()
        .relu()
        .linear(512, 256)
        .batch_norm()
        .relu()
        .linear(256, CLASSES)
        .build(options.seed)?;
    // The last quarter of the epochs takes steps a tenth as long, to settle.
    let settling = options.epochs / 4;
    let fit = |model: &mut Sequential, learning_rate: f64, epochs: u64, seed: u64| {
        let adam = Adam::default().learning_rate(learning_rate);
        let trainer = Trainer::new(adam).epochs(epochs).batch_size(128).seed(seed);
        trainer.fit(model, &train, &valid)
    };
    let mut history = fit(&mut model, 1e-3, options.epochs - settling, options.seed)?;
    history.epochs.extend(fit(&mut model, 1e-4, settling, options.seed.wrapping_add(1))?.epochs);
    common::save_curve(&history, &options.out.join("fashion.svg"))?;
    let path = options.out.join("fashion.safetensors");
    model.save(&path)?;
    println!("model: {}", path.display());

    println!(
        "fashion: accuracy={:.4} steps_per_s={:.1} isa={} threads={}",
        model.evaluate(&test)?.accuracy,
        history.steps_per_second(),
        Isa::best()?,
        rayon::current_num_threads()
    );
    Ok(())
}
