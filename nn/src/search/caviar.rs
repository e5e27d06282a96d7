//! Many trials at once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::search::record::State;
use crate::search::study::{Next, Study};
use crate::search::trial::Trial;

/// Trains many models at once, each in its own trial, within a budget of threads.
///
/// ```
/// use tilewise_nn::search::{Caviar, Study};
///
/// let study = Study::minimize("parabola").seed(1).open()?;
/// Caviar::new(50).run(&study, |trial| {
///     let alpha = trial.log("alpha", 1e-4, 1.0)?;
///     Ok((alpha.log10() + 2.3).powi(2))
/// })?;
/// let best = study.best()?.expect("fifty trials");
/// assert!(best.value < Some(0.1));
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Caviar {
    trials: u64,
    threads: usize,
    workers: usize,
    progress: bool,
}

impl Caviar {
    /// Until the study has `trials` trials, whoever ran them: those of other processes and of earlier
    /// runs count, too.
    pub fn new(trials: u64) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { trials, threads, workers: 0, progress: true }
    }

    /// Sets how many threads all trials together use (as many as the machine has).
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets how many trials run at once (as many as there are threads). Each gets its share of the
    /// threads, and at least one.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Turns the progress line on (the default) or off. It shows on a terminal only.
    pub fn progress(self, progress: bool) -> Self {
        Self { progress, ..self }
    }

    /// Runs trials until the study has enough.
    ///
    /// An error, a panic or NaN fails the trial and nothing else; the reason is kept with it. Trials
    /// whose worker was killed are run again under their number.
    ///
    /// # Errors
    /// If the journal cannot be read or written, or threads cannot be started. A trial that is cut short
    /// by that is left to be run again.
    pub fn run<F>(&self, study: &Study, objective: F) -> Result<()>
    where
        F: Fn(&mut Trial<'_>) -> Result<f64> + Sync,
    {
        let most = usize::try_from(self.trials).unwrap_or(usize::MAX);
        let (workers, share) = workers(self.threads, self.workers, most);
        let pools: Vec<ThreadPool> = (0..workers).map(|_| pool(share)).collect::<Result<_>>()?;
        let bar = self.progress_bar();
        let failed = Mutex::new(Ok(()));
        thread::scope(|scope| {
            for pool in &pools {
                scope.spawn(|| {
                    // The whole loop within the pool: a trial is not handed from thread to thread.
                    let outcome = pool.install(|| self.work(study, pool, &objective, &bar));
                    if let (Err(error), Ok(mut failed)) = (outcome, failed.lock()) {
                        *failed = Err(error);
                    }
                });
            }
        });
        bar.finish_and_clear();
        study.flush()?;
        failed.into_inner().unwrap_or(Ok(()))
    }

    fn work<F>(
        &self,
        study: &Study,
        pool: &ThreadPool,
        objective: &F,
        bar: &ProgressBar,
    ) -> Result<()>
    where
        F: Fn(&mut Trial<'_>) -> Result<f64> + Sync,
    {
        loop {
            let mut trial = match study.next(self.trials)? {
                Next::Run(trial) => trial,
                Next::Done => return Ok(()),
                Next::Wait => {
                    study.wait();
                    continue;
                }
            };
            trial.set_threads(pool.current_num_threads());
            let outcome = guarded(pool, || objective(&mut trial));
            trial.end(outcome)?;
            self.show(study, bar)?;
        }
    }

    fn progress_bar(&self) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        // Draws to stderr, and nothing where that is not a terminal.
        let bar = ProgressBar::new(self.trials);
        let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }

    fn show(&self, study: &Study, bar: &ProgressBar) -> Result<()> {
        if bar.is_hidden() {
            return Ok(());
        }
        let (done, message) = study.look(|history| {
            let count =
                |state| history.trials().iter().filter(|trial| trial.state == state).count();
            let [running, complete, pruned, failed] =
                [State::Running, State::Complete, State::Pruned, State::Failed].map(count);
            let best = history.ranked().next().map_or(String::new(), |best| {
                format!("  best {:.6} (trial {})", best.value.unwrap_or(f64::NAN), best.number)
            });
            let counts = format!("{running} running  {complete} done  {pruned} pruned");
            (history.finished(), format!("{counts}  {failed} failed{best}"))
        })?;
        bar.set_position(done as u64);
        bar.set_message(message);
        Ok(())
    }
}

/// How many workers share `threads`, and the threads of each: as many workers as are asked for, one
/// per thread for 0, and never more than there are jobs.
pub(crate) fn workers(threads: usize, asked: usize, jobs: usize) -> (usize, usize) {
    let workers = if asked == 0 { threads } else { asked }.clamp(1, jobs.max(1));
    (workers, (threads / workers).max(1))
}

/// Runs `job` in the pool; a panic becomes an error.
pub(crate) fn guarded(pool: &ThreadPool, job: impl FnOnce() -> Result<f64> + Send) -> Result<f64> {
    let outcome = pool.install(|| catch_unwind(AssertUnwindSafe(job)));
    outcome.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

pub(crate) fn pool(threads: usize) -> Result<ThreadPool> {
    let built = ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|error| Error::argument("threads of a worker", "as many as asked for", error))
}

/// What a panic said.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
    Error::failed(format!("panic: {}", text.unwrap_or("without a message")))
}
