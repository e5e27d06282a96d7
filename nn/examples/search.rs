//! Tunes a network on the embedded digits: coarse to fine, with successive halving, many trials at
//! once. 240 trials reach 98.5 % on the validation images. Trains the best again on all but the test images and measures it on those, once.
//!
//! ```text
//! cargo run --release --example search
//! ```
//!
//! Several processes share a study with `--journal FILE`, or with `--service URL` on many machines
//! (with `--features grpc`); `docs/launch` has templates that start them.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use tilewise_nn::prelude::*;
use tilewise_nn::search::{Asha, Caviar, CoarseToFine, State, Study, Trial, fingerprint};
use tilewise_nn::{Callback, Session};

const USAGE: &str = "search: tunes a network on 1437 of the handwritten digits\n
  --seed N        of all draws (1)
  --stage N       trials in each of the three stages (80)
  --epochs N      of a trial that is not stopped early (27)
  --threads N     all trials together use (as many as there are)
  --journal FILE  where the study is kept and shared (in memory)
  --service URL   the same, in Optuna's storage service
  --out FILE      the report (search.html)";
/// As in the example `digits`: never trained on and never chosen by.
const TEST_ROWS: usize = 360;
/// Of the others, those that trials are compared on.
const VALID_ROWS: usize = 287;
const STAGES: u64 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("search: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    seed: u64,
    stage: u64,
    epochs: u64,
    threads: Option<usize>,
    journal: Option<PathBuf>,
    service: Option<String>,
    out: PathBuf,
}

impl Options {
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        let (threads, journal, service, out) = (None, None, None, "search.html".into());
        let mut options = Self { seed: 1, stage: 80, epochs: 27, threads, journal, service, out };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("stage") => options.stage = parser.value()?.parse()?,
                Long("epochs") => options.epochs = parser.value()?.parse()?,
                Long("threads") => options.threads = Some(parser.value()?.parse()?),
                Long("journal") => options.journal = Some(parser.value()?.into()),
                Long("service") => options.service = Some(parser.value()?.string()?),
                Long("out") => options.out = parser.value()?.into(),
                Short('h') | Long("help") => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }

    fn open(&self, data: &Dataset) -> Result<Study, Box<dyn Error>> {
        let study = Study::maximize("digits, coarse to fine")
            .seed(self.seed)
            .sampler(CoarseToFine::new(STAGES, self.stage)?)
            .pruner(Asha::new(1, 3)?)
            .data(fingerprint(data));
        Ok(match (&self.journal, &self.service) {
            (None, None) => study.open()?,
            (Some(path), None) => study.journal(path).open()?,
            #[cfg(feature = "grpc")]
            (None, Some(url)) => study.service(url).open()?,
            #[cfg(not(feature = "grpc"))]
            (None, Some(_)) => return Err("--service: needs the feature `grpc`".into()),
            (Some(_), Some(_)) => return Err("expected --journal or --service, got both".into()),
        })
    }
}

/// Tells the trial how it gets on.
struct Report<'t, 's>(&'t mut Trial<'s>);

impl Callback for Report<'_, '_> {
    fn epoch(&mut self, session: &mut Session<'_>) -> Result<()> {
        let Some(last) = session.history().epochs.last() else { return Ok(()) };
        self.0.report(session.epochs() as i64, last.valid_accuracy)
    }
}

/// Asks for the course's first hyperparameters and trains with them; gives the accuracy on `valid`.
fn train(
    trial: &mut Trial<'_>,
    [train, valid]: [&Dataset; 2],
    epochs: u64,
    early: bool,
) -> Result<f64> {
    let alpha = trial.log("alpha", 1e-4, 1.0)?;
    let beta = trial.one_minus_log("beta", 0.9, 0.999)?;
    let units = trial.int("hidden_units", 50, 100)? as usize;
    let size = *trial.choice("minibatch", &[16, 32, 64, 128])?;
    let layers = Sequential::new().linear(64, units).batch_norm().relu().linear(units, 10);
    let mut model = layers.build(trial.seed())?;
    let optimizer = Sgd::momentum(beta).ewa().learning_rate(alpha);
    let trainer = Trainer::new(optimizer).epochs(epochs).batch_size(size as usize);
    let trainer = trainer.drop_last(true).seed(trial.seed()).progress(false);
    let mut report = Report(trial);
    let callbacks: &mut [&mut dyn Callback] = if early { &mut [&mut report] } else { &mut [] };
    let history = trainer.fit_with(&mut model, train, valid, callbacks)?;
    Ok(history.epochs.last().map_or(0.0, |epoch| epoch.valid_accuracy))
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse()? else { return Ok(()) };
    let data: Dataset = digits()?;
    let (rest, test) = data.stratified_split(TEST_ROWS, 1)?;
    let (fit, valid) = rest.stratified_split(VALID_ROWS, 2)?;
    let study = options.open(&data)?;
    let start = Instant::now();
    for stage in 1..=STAGES {
        let mut caviar = Caviar::new(stage * options.stage);
        if let Some(threads) = options.threads {
            caviar = caviar.threads(threads);
        }
        caviar.run(&study, |trial| train(trial, [&fit, &valid], options.epochs, true))?;
        let best = study.best()?.ok_or("no trial is complete")?;
        let values = best.params.iter().map(|param| format!("{} {}", param.name, param.value()));
        let values = values.collect::<Vec<_>>().join(", ");
        println!("after stage {stage}: {:.4} with {values}", best.value.unwrap_or(f64::NAN));
    }
    let seconds = start.elapsed().as_secs_f64();
    study.save_html(&options.out)?;
    println!("report: {}", options.out.display());

    let best = study.best()?.ok_or("no trial is complete")?;
    let again = study.retest(1, |trial| train(trial, [&rest, &test], options.epochs, false))?;
    let test = again[0].outcome.as_ref().map_err(String::as_str)?;
    let (trials, pruned) =
        study.look(|history| (history.trials().len(), history.count(State::Pruned)))?;
    println!(
        "search: validation={:.4} test={test:.4} trials={trials} pruned={pruned} seconds={seconds:.1}",
        best.value.unwrap_or(f64::NAN),
    );
    Ok(())
}
