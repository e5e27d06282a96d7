//! Watches over one training on Fashion-MNIST: nudges it by a script, lets it diverge, goes back to a
//! kept state and trains on. Then makes the same training again from the journal of the nudges.
//!
//! The data is that of the example `fashion`.
//!
//! ```text
//! cargo run --release --example babysit -- --data DIR
//! ```
//!
//! While it runs, `babysit.html` shows the learning curve, and lines that are added to
//! `babysit.control` nudge it, such as `learning_rate *0.5`.

mod common;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tilewise_nn::data::idx;
use tilewise_nn::prelude::*;
use tilewise_nn::search::Panda;

const USAGE: &str = "babysit: one training on 10000 images of clothes, watched closely\n
  --data DIR  with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz";
/// Of the 60000 training images, those that are trained on and those that show the course.
const ROWS: usize = 10_000;
const VALID_ROWS: usize = 2000;
const CLASSES: usize = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("babysit: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A fresh model, trained in the panda's company.
fn train(
    panda: &mut Panda,
    options: &common::Options,
    [train, valid]: [&Dataset; 2],
) -> Result<(Sequential, History)> {
    let layers = Sequential::new().linear(784, 128).batch_norm().relu().linear(128, CLASSES);
    let mut model = layers.build(options.seed)?;
    let trainer = Trainer::new(Sgd::momentum(0.9).learning_rate(0.02)).batch_size(100);
    let trainer = trainer.epochs(options.epochs).seed(options.seed);
    let history = trainer.fit_with(&mut model, train, valid, &mut [panda])?;
    Ok((model, history))
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 6)? else { return Ok(()) };
    let data = options.data.as_ref().ok_or("--data: expected the directory of the idx.gz files")?;
    std::fs::create_dir_all(&options.out)?;
    let file = |name: &str| Path::new(data).join(name);
    let all = idx::read_dataset(
        file("train-images-idx3-ubyte.gz"),
        file("train-labels-idx1-ubyte.gz"),
        CLASSES,
    )?;
    let some: Vec<usize> = (0..ROWS + VALID_ROWS).collect();
    let (fit, valid) = all.select(&some)?.stratified_split(VALID_ROWS, 2)?;

    let (page, journal) = (options.out.join("babysit.html"), options.out.join("babysit.jsonl"));
    println!("learning curve: {}", page.display());
    // Two epochs, then a learning rate that is far too high; what it ruined is undone, and the last
    // epochs settle with a tenth of the first learning rate.
    let mut panda = Panda::new()
        .control(options.out.join("babysit.control"))?
        .journal(&journal)
        .page(&page)
        .at(200, "keep good")?
        .at(220, "learning_rate *1000")?
        .at(300, "back good")?
        .at(500, "learning_rate *0.1")?
        .at(500, "momentum 0.95")?;
    let (model, history) = train(&mut panda, &options, [&fit, &valid])?;
    common::save_curve(&history, &options.out.join("babysit.svg"))?;
    for nudged in panda.nudges() {
        println!("after step {:4}: {}", nudged.moment, nudged.nudge);
    }
    let mut again = Panda::replay(&journal)?;
    let (replayed, _) = train(&mut again, &options, [&fit, &valid])?;
    let same = model.logits(valid.features())?.data() == replayed.logits(valid.features())?.data();
    let accuracy = history.epochs.last().map_or(0.0, |epoch| epoch.valid_accuracy);
    println!(
        "babysit: accuracy={accuracy:.4} nudges={} replay_same_bits={same}",
        again.nudges().len()
    );
    if same { Ok(()) } else { Err("the replay differs".into()) }
}
