//! What several of these tests need.

use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tilewise_nn::Result;
use tilewise_nn::search::{Caviar, History, Study, Trial, TrialRecord};

/// A directory that is empty at first and removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("tilewise-search-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for something that comes sooner or later, with a look after every `pause`. Looks are counted and
/// not seconds: where the machine stands still for a while, nothing is late.
pub(crate) fn wait_until(what: &str, pause: Duration, mut there: impl FnMut() -> bool) {
    for _ in 0..Duration::from_secs(600).div_duration_f64(pause) as u64 {
        if there() {
            return;
        }
        sleep(pause);
    }
    panic!("in vain: {what}");
}

/// The time of the quickest of several calls: what else the machine does, or that it stands still,
/// seldom falls into every one of them.
pub(crate) fn quickest(calls: usize, mut call: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        call();
        start.elapsed()
    };
    (0..calls).map(time).min().unwrap()
}

/// Lets the first calls return together, when there are so many: as many workers take part.
pub(crate) struct Together {
    begun: AtomicUsize,
    workers: usize,
    all: Barrier,
}

impl Together {
    pub(crate) fn new(workers: usize) -> Self {
        Self { begun: AtomicUsize::new(0), workers, all: Barrier::new(workers) }
    }

    pub(crate) fn begin(&self) {
        if self.begun.fetch_add(1, Ordering::SeqCst) < self.workers {
            self.all.wait();
        }
    }
}

/// `(log10 α + 2.3)²` for α in 1e-4..=1.
pub(crate) fn parabola(trial: &mut Trial<'_>) -> Result<f64> {
    Ok((trial.log("alpha", 1e-4, 1.0)?.log10() + 2.3).powi(2))
}

/// Runs quietly.
pub(crate) fn run<F>(study: &Study, trials: u64, workers: usize, objective: F)
where
    F: Fn(&mut Trial<'_>) -> Result<f64> + Sync,
{
    let caviar = Caviar::new(trials).workers(workers).threads(workers).progress(false);
    caviar.run(study, objective).unwrap();
}

/// The distance of the best α from 10^-2.3, in decades.
pub(crate) fn gap(study: &Study) -> f64 {
    let best = study.best().unwrap().unwrap();
    (best.number_of("alpha").unwrap().log10() + 2.3).abs()
}

/// Number, values of the parameters and result of a trial, bit for bit.
pub(crate) type Essence = (u64, Vec<(String, u64)>, Option<u64>);

/// That of every trial.
pub(crate) fn essence(study: &Study) -> Vec<Essence> {
    let one = |trial: &TrialRecord| {
        let mut params: Vec<_> =
            trial.params.iter().map(|p| (p.name.clone(), p.kept.to_bits())).collect();
        params.sort();
        (trial.number, params, trial.value.map(f64::to_bits))
    };
    study.look(|history: History<'_>| history.trials().iter().map(one).collect()).unwrap()
}
