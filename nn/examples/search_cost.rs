//! What a search costs besides the training: per trial, and in a study of ten thousand.
//!
//! ```text
//! cargo run --release --example search_cost
//! ```

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use tilewise_nn::search::{Asha, Caviar, RandomSearch, Sampler, Study, StudyBuilder, Tpe, Trial};

/// Of the study whose trials are counted singly.
const FEW: u64 = 2000;
/// Of the large one.
const MANY: u64 = 10_000;

/// Four hyperparameters, three reports, no training.
fn objective(trial: &mut Trial<'_>) -> tilewise_nn::Result<f64> {
    let alpha = trial.log("alpha", 1e-4, 1.0)?;
    let beta = trial.one_minus_log("beta", 0.9, 0.999)?;
    let units = trial.int("hidden_units", 50, 100)?;
    let size = *trial.choice("minibatch", &[16, 32, 64, 128])?;
    let loss = (alpha.log10() + 2.3).powi(2) + (beta - 0.97).abs() + 1e-3 * (units - size) as f64;
    for step in [1, 3, 9] {
        trial.report(step, loss + 1.0 / step as f64)?;
    }
    Ok(loss)
}

fn timed(study: &Study, trials: u64) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    Caviar::new(trials).threads(1).progress(false).run(study, objective)?;
    Ok(start.elapsed())
}

fn study(name: &str, sampler: impl Sampler + 'static) -> Result<StudyBuilder, Box<dyn Error>> {
    Ok(Study::minimize(name).seed(1).sampler(sampler).pruner(Asha::new(1, 3)?))
}

fn micros(time: Duration, trials: u64) -> f64 {
    time.as_secs_f64() * 1e6 / trials as f64
}

fn large(directory: &Path) -> Result<String, Box<dyn Error>> {
    let path = directory.join("large.journal");
    let random = study("large", RandomSearch)?.journal(&path).open()?;
    let written = timed(&random, MANY)?;
    drop(random);
    let start = Instant::now();
    let again = study("large", Tpe::default())?.journal(&path).open()?;
    let best = again.best()?.and_then(|best| best.value).ok_or("no trial is complete")?;
    let list = start.elapsed();
    let tpe = timed(&again, MANY + 100)?;
    let start = Instant::now();
    again.save_html(directory.join("large.html"))?;
    let report = start.elapsed();
    let start = Instant::now();
    let importance = again.look(|history| history.importance())?;
    let most = importance.first().ok_or("no importance")?;
    println!("{MANY} trials: best {best:.5}, `{}` mattered most", most.name);
    Ok(format!(
        "journal_s={:.2} list_s={:.3} journal_tpe_us={:.0} report_s={:.3} importance_s={:.3}",
        written.as_secs_f64(),
        list.as_secs_f64(),
        micros(tpe, 100),
        report.as_secs_f64(),
        start.elapsed().as_secs_f64()
    ))
}

/// The middle of five studies in memory: the machine may have other work.
fn middle(sampler: impl Sampler + Clone + 'static) -> Result<f64, Box<dyn Error>> {
    let run = |_| timed(&study("small", sampler.clone())?.open()?, FEW);
    let mut times = (0..5).map(run).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(micros(times[2], FEW))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (random, tpe) = (middle(RandomSearch)?, middle(Tpe::default())?);
    let directory = std::env::temp_dir().join(format!("tilewise-cost-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let large = large(&directory);
    std::fs::remove_dir_all(&directory)?;
    println!("search_cost: random_us={random:.1} tpe_us={tpe:.1} {}", large?);
    Ok(())
}
