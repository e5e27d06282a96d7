//! All implementations of an operation, interleaved in one process, as a table.
//!
//! On a machine that does other things too, only ratios between neighbours in time mean something:
//! every round times each implementation once, a few milliseconds each, in rotating order; medians
//! over the rounds are shown, and the median over the rounds of the ratio to the best peer (for
//! operations without peers: to the naive twin). One thread is timed by its own processor time, more
//! by the wall clock.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use tilewise_benches::cases::{self, gemm::Shape};
use tilewise_benches::{Case, Implementation, Who, Work, Workload};
use tilewise_kernels::Isa;

/// Long enough that the clock's resolution and the loop around the calls do not show.
const SAMPLE: Duration = Duration::from_millis(2);

const USAGE: &str = "\
usage: compare gemm|memory|training [--threads N] [--dtype f32|f64] [--rounds N]
               [--sizes 64,128x10x256,784x512x128-tn,...]   (gemm: N or MxNxK)
               [--only TEXT]                                (cases whose id contains TEXT)
TILEWISE_MAX_ISA chooses our path.";

fn main() -> ExitCode {
    let done = Options::parse(std::env::args().skip(1)).and_then(|options| options.run());
    if let Err(message) = done {
        eprintln!("compare: {message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Options {
    what: String,
    threads: usize,
    dtype: String,
    rounds: usize,
    shapes: Vec<Shape>,
    only: String,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let what = arguments.next().ok_or(USAGE)?;
        let mut options = Self {
            what,
            threads: 1,
            dtype: "f32".into(),
            rounds: 21,
            shapes: cases::gemm::shapes(),
            only: String::new(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            match name.as_str() {
                "--threads" => options.threads = count(&name, &value)?,
                "--rounds" => options.rounds = count(&name, &value)?,
                "--dtype" => options.dtype = value,
                "--only" => options.only = value,
                "--sizes" => {
                    options.shapes =
                        value.split(',').map(str::parse).collect::<Result<_, String>>()?;
                }
                _ => return Err(format!("unknown option {name}\n{USAGE}")),
            }
        }
        Ok(options)
    }

    fn cases(&self) -> Result<Vec<Case>, String> {
        match (self.what.as_str(), self.dtype.as_str()) {
            ("gemm", "f32") => Ok(cases::gemm::cases::<f32>(&self.shapes)),
            ("gemm", "f64") => Ok(cases::gemm::cases::<f64>(&self.shapes)),
            ("memory", "f32") => Ok(cases::memory_bound::<f32>()),
            ("memory", "f64") => Ok(cases::memory_bound::<f64>()),
            ("training", "f32") => Ok(cases::training_step::cases::<f32>()),
            ("training", "f64") => Ok(cases::training_step::cases::<f64>()),
            ("gemm" | "memory" | "training", other) => {
                Err(format!("--dtype: expected f32 or f64, got {other}"))
            }
            _ => Err(USAGE.into()),
        }
    }

    fn run(&self) -> Result<(), String> {
        let isa = Isa::best().map_err(|error| error.to_string())?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .build()
            .map_err(|error| error.to_string())?;
        let clock = if self.threads == 1 { Clock::Thread } else { Clock::Wall };
        println!(
            "{} {}, {} thread(s), {}, our path {isa}, medians of {} interleaved rounds",
            self.what,
            self.dtype,
            self.threads,
            clock.name(),
            self.rounds
        );
        println!(
            "{:<44} {:<24} {:>12} {:>7} {:>9} {:>8}",
            "case", "implementation", "median", "IQR", "rate", "ratio"
        );
        for case in self.cases()?.iter().filter(|case| case.id.contains(&self.only)) {
            let candidates = candidates(case, isa, self.threads);
            let mut workload = case.prepare();
            let mut work = || measure(workload.as_mut(), &candidates, self.rounds, clock);
            // One thread stays outside any pool, as in a program that has none.
            let samples = if self.threads > 1 { pool.install(work) } else { work() };
            report(case, &candidates, &samples);
        }
        Ok(())
    }
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    let wrong = || format!("{name}: expected a count of at least 1, got {value}");
    value.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)
}

/// Ours first, then whom we measure ourselves against.
fn candidates(case: &Case, isa: Isa, threads: usize) -> Vec<Implementation> {
    let mut list = vec![Implementation { who: Who::Tilewise(isa), threads }];
    let others = case.implementations(threads).into_iter().filter(|by| !by.is_tilewise());
    if case.product {
        list.push(Implementation { who: Who::Prepacked(isa), threads });
        list.extend(others.filter(|by| by.who != Who::Naive && by.threads == threads));
    } else {
        list.extend(others);
    }
    list
}

/// Seconds per call, one list per candidate, one entry per round.
fn measure(
    work: &mut dyn Workload,
    candidates: &[Implementation],
    rounds: usize,
    clock: Clock,
) -> Vec<Vec<f64>> {
    let mut calls = Vec::new();
    for &by in candidates {
        work.verify(by);
        calls.push(calls_per_sample(work, by, clock));
    }
    let mut samples = vec![Vec::with_capacity(rounds); candidates.len()];
    for round in 0..rounds {
        for turn in 0..candidates.len() {
            let i = (round + turn) % candidates.len();
            // The first call brings the candidate's data and code back into the caches.
            work.run(candidates[i]);
            let seconds = clock.time(|| repeat(work, candidates[i], calls[i]));
            samples[i].push(seconds / calls[i] as f64);
        }
    }
    samples
}

/// What time is taken by.
#[derive(Clone, Copy)]
enum Clock {
    /// The thread's own processor time: what other processes take away does not count.
    Thread,
    /// The wall clock, the only one that several threads share.
    Wall,
}

impl Clock {
    fn name(self) -> &'static str {
        match self {
            Self::Thread => "processor time",
            Self::Wall => "wall clock",
        }
    }

    /// The seconds that `body` takes.
    fn time(self, body: impl FnOnce()) -> f64 {
        let elapsed = match self {
            Self::Thread => {
                let start = ThreadTime::now();
                body();
                start.elapsed()
            }
            Self::Wall => {
                let start = Instant::now();
                body();
                start.elapsed()
            }
        };
        elapsed.as_secs_f64()
    }
}

fn repeat(work: &mut dyn Workload, by: Implementation, calls: usize) {
    for _ in 0..calls {
        work.run(by);
    }
}

fn calls_per_sample(work: &mut dyn Workload, by: Implementation, clock: Clock) -> usize {
    let mut calls = 1;
    while clock.time(|| repeat(work, by, calls)) < SAMPLE.as_secs_f64() {
        calls *= 2;
    }
    calls
}

/// The value below which `fraction` of the sorted values lie.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * fraction).round() as usize]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

fn report(case: &Case, candidates: &[Implementation], samples: &[Vec<f64>]) {
    let peers = (0..candidates.len()).filter(|&i| !candidates[i].is_tilewise());
    let best = peers.min_by(|&i, &j| {
        median(samples[i].iter().copied()).total_cmp(&median(samples[j].iter().copied()))
    });
    for (by, seconds) in candidates.iter().zip(samples) {
        let ordered = sorted(seconds.iter().copied());
        let middle = quantile(&ordered, 0.5);
        let spread = (quantile(&ordered, 0.75) - quantile(&ordered, 0.25)) / middle * 100.0;
        let ratio = best.map_or("-".into(), |best| {
            let rounds = samples[best].iter().zip(seconds).map(|(peer, own)| peer / own);
            format!("{:.2}", median(rounds))
        });
        let (amount, unit) = match case.work {
            Work::Flops(count) => (count, "GFLOP/s"),
            Work::Bytes(count) => (count, "GB/s"),
        };
        println!(
            "{:<44} {:<24} {:>9.2} us {:>5.1} % {:>7.1} {unit} {ratio:>6}",
            case.id,
            by.to_string(),
            middle * 1e6,
            spread,
            amount as f64 / middle / 1e9,
        );
    }
}
