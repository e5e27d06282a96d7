//! Trains a network with batch normalisation on the embedded handwritten digits, saves it, loads it
//! again and measures it on images that it never saw.
//!
//! ```text
//! cargo run --release --example digits
//! ```

mod common;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use tilewise_kernels::Isa;
use tilewise_nn::prelude::*;

const USAGE: &str = "digits: trains on 1437 and tests on 360 handwritten digits\n";
/// Of the 1797 images, 360 are held out, stratified by class and always the same. They show the
/// course of training and measure its end; nothing is chosen by them.
const TEST_ROWS: usize = 360;
const SPLIT_SEED: u64 = 1;

fn main() -> ExitCode {
    let start = Instant::now();
    match run(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn network(seed: u64) -> Result<Sequential> {
    Sequential::new().linear(64, 256).batch_norm().relu().dropout(0.3).linear(256, 10).build(seed)
}

fn run(start: Instant) -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 40)? else { return Ok(()) };
    let (train, test) = digits()?.stratified_split(TEST_ROWS, SPLIT_SEED)?;
    println!(
        "stratified split with seed {SPLIT_SEED}: {} training and {} test images",
        train.len(),
        test.len()
    );

    let mut model = network(options.seed)?;
    let trainer = Trainer::new(Adam::default()).epochs(options.epochs).seed(options.seed);
    let history = trainer.fit(&mut model, &train, &test)?;
    common::save_curve(&history, &options.out.join("digits.svg"))?;
    let accuracy = model.evaluate(&test)?.accuracy;

    let path = options.out.join("digits.safetensors");
    model.save(&path)?;
    let mut reloaded = network(options.seed.wrapping_add(1))?;
    reloaded.load(&path)?;
    if reloaded.predict(test.features())? != model.predict(test.features())? {
        return Err("the reloaded model predicts something else".into());
    }
    println!("model: {}, reloaded with the same predictions", path.display());

    let first_step = history.first_step.map_or(0.0, |at| (at - start).as_secs_f64() * 1e3);
    println!(
        "digits: accuracy={accuracy:.4} steps_per_s={:.0} first_step_ms={first_step:.1} isa={} \
         threads={}",
        history.steps_per_second(),
        Isa::best()?,
        rayon::current_num_threads()
    );
    Ok(())
}
