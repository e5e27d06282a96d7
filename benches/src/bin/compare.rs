//! All implementations of an operation, interleaved in one process, as a table.
//!
//! On a machine that does other things too, only ratios between neighbours in time mean something:
//! every round times each implementation once, a few milliseconds each, in rotating order; medians
//! over the rounds are shown, and the median over the rounds of the ratio to the best peer (for
//! operations without peers: to the naive twin). One thread is timed by its own processor time, more
//! by the wall clock.

use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "peers")]
use tilewise_benches::Native;
use tilewise_benches::cases::{self, gemm::Shape};
use tilewise_benches::ceilings::Ceilings;
use tilewise_benches::measure::{self, Clock, Effort, Summary};
use tilewise_benches::{Case, Implementation, Who, Work};
use tilewise_kernels::Isa;

/// The shortest sample.
const SAMPLE: Duration = Duration::from_millis(2);

/// How long the ceilings are measured before everything else.
const CEILINGS_SECONDS: f64 = 3.0;

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
        let clock = Clock::of(self.threads);
        println!(
            "{} {}, {} thread(s), {}, our path {isa}, medians of {} interleaved rounds",
            self.what,
            self.dtype,
            self.threads,
            clock.name(),
            self.rounds
        );
        #[cfg(feature = "peers")]
        if self.what == "gemm" {
            for native in Native::ALL {
                let version = native.version(self.threads).map(str::to_owned);
                println!("{native}: {}", version.unwrap_or_else(|why| why));
            }
        }
        let ceilings = Ceilings::measure(self.threads, CEILINGS_SECONDS);
        for ceiling in &ceilings.list {
            println!("ceiling {:<22} {:>7.1} G/s", ceiling.name, ceiling.rate / 1e9);
        }
        println!(
            "{:<44} {:<24} {:>12} {:>7} {:>15} {:>8} {:>6}",
            "case", "implementation", "median", "IQR", "rate", "of roof", "ratio"
        );
        let effort = Effort { rounds: self.rounds, sample: SAMPLE };
        for case in self.cases()?.iter().filter(|case| case.id.contains(&self.only)) {
            let candidates = candidates(case, isa, self.threads);
            let mut workload = case.prepare();
            let mut work = || measure::interleaved(workload.as_mut(), &candidates, effort, clock);
            // One thread stays outside any pool, as in a program that has none.
            let samples = if self.threads > 1 { pool.install(work) } else { work() };
            for row in rows(&candidates, &samples, ceilings.shortest(case, isa)) {
                print(case, &row);
            }
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

/// The candidates' samples with what is said about them.
struct Row {
    by: Implementation,
    summary: Summary,
    /// The median over the rounds of the best peer's time divided by this one's.
    ratio: Option<f64>,
    /// The share of the speed that the measured ceilings allow.
    roofline: Option<f64>,
}

fn rows(list: &[Implementation], samples: &[Vec<f64>], limit: Option<f64>) -> Vec<Row> {
    let summaries: Vec<Summary> = samples.iter().map(|seconds| Summary::new(seconds)).collect();
    let peers = (0..list.len()).filter(|&i| !list[i].is_tilewise());
    let best = peers.min_by(|&i, &j| summaries[i].median.total_cmp(&summaries[j].median));
    let row = |i: usize| Row {
        by: list[i],
        summary: summaries[i],
        ratio: best.map(|best| measure::speedup(&samples[i], &samples[best])),
        roofline: limit.map(|limit| limit / summaries[i].median),
    };
    (0..list.len()).map(row).collect()
}

fn print(case: &Case, row: &Row) {
    let (amount, unit) = match case.work {
        Work::Flops(count) => (count, "GFLOP/s"),
        Work::Bytes(count) => (count, "GB/s"),
    };
    println!(
        "{:<44} {:<24} {:>9.2} us {:>5.1} % {:>7.1} {unit:<7} {:>8} {:>6}",
        case.id,
        row.by.to_string(),
        row.summary.median * 1e6,
        row.summary.spread() * 100.0,
        amount as f64 / row.summary.median / 1e9,
        row.roofline.map_or("-".into(), |share| format!("{:.0} %", share * 100.0)),
        row.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
    );
}
