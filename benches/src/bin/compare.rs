//! All implementations of an operation, interleaved in one process, as a table.
//!
//! On a machine that does other things too, only ratios between neighbours in time mean something:
//! every round times each implementation once, a few milliseconds each, in rotating order; medians
//! over the rounds are shown, and the median over the rounds of the ratio to the best peer (for
//! operations without peers: to the naive twin). One thread is timed by its own processor time, more
//! by the wall clock.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tilewise_benches::cases::{self, gemm::Shape};
use tilewise_benches::ceilings::Ceilings;
use tilewise_benches::machine::Machine;
use tilewise_benches::measure::{self, Clock, Effort, Summary};
use tilewise_benches::noise::Watch;
use tilewise_benches::record::{Line, Row, Writer};
use tilewise_benches::{Case, Implementation, Who, report};
use tilewise_kernels::{Isa, available};

/// The shortest sample, and the same in a hurry.
const SAMPLE: Duration = Duration::from_millis(2);
const QUICK_SAMPLE: Duration = Duration::from_micros(500);

/// How long the ceilings are measured before everything else, and the same in a hurry.
const CEILINGS: Duration = Duration::from_secs(4);
const QUICK_CEILINGS: Duration = Duration::from_secs(1);

/// Cases with more bytes or operations are left out in a hurry.
const QUICK_BYTES: u64 = 16 << 20;
const QUICK_FLOPS: u64 = 1 << 29;

/// Quartiles farther apart than that, relative to the median, earn a warning.
const NOISY: f64 = 0.1;

const USAGE: &str = "\
usage: compare gemm|memory|training [--threads N] [--dtype f32|f64] [--rounds N]
               [--sizes 64,128x10x256,784x512x128-tn,...]   (gemm: N or MxNxK)
               [--only TEXT]                                (cases whose id contains TEXT)
               [--quick]                                    (small cases, few rounds)
               [--paths]                                    (our slower paths and the naive twin too)
               [--record]                                   (keeps a record for `report`)
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
    quick: bool,
    paths: bool,
    record: bool,
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
            quick: false,
            paths: false,
            record: false,
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--quick" => (options.quick, options.rounds) = (true, 5),
                "--paths" => options.paths = true,
                "--record" => options.record = true,
                _ => options.set(&name, arguments.next())?,
            }
        }
        Ok(options)
    }

    /// Reads an option with a value.
    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), String> {
        let value = value.ok_or_else(|| format!("{name} needs a value, or is unknown\n{USAGE}"))?;
        match name {
            "--threads" => self.threads = count(name, &value)?,
            "--rounds" => self.rounds = count(name, &value)?,
            "--dtype" => self.dtype = value,
            "--only" => self.only = value,
            "--sizes" => {
                self.shapes = value.split(',').map(str::parse).collect::<Result<_, String>>()?;
            }
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
        Ok(())
    }

    /// What is to be measured: what the options name, without the big cases in a hurry.
    fn cases(&self) -> Result<Vec<Case>, String> {
        let mut cases = self.family()?;
        cases.retain(|case| case.id.contains(&self.only));
        if cases.is_empty() {
            return Err(format!("--only: no case of {} contains {:?}", self.what, self.only));
        }
        if self.quick {
            cases.retain(|case| case.bytes <= QUICK_BYTES && case.flops <= QUICK_FLOPS);
        }
        Ok(cases)
    }

    fn family(&self) -> Result<Vec<Case>, String> {
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
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build();
        let pool = pool.map_err(|error| error.to_string())?;
        let cases = self.cases()?;
        let mut watch = Watch::start();
        let machine = self.machine(isa);
        self.print_head(&machine);
        let seconds = if self.quick { QUICK_CEILINGS } else { CEILINGS };
        let ceilings = Ceilings::measure(self.threads, seconds.as_secs_f64());
        let cpus = machine.cpus;
        let mut log = Log::new(self.record, machine)?;
        for ceiling in ceilings.list.iter().cloned() {
            println!("ceiling {:<22} {:>7.1} G/s", ceiling.name, ceiling.rate / 1e9);
            log.write(Line::Ceiling(ceiling))?;
        }
        println!(
            "{:<44} {:<24} {:>12} {:>7} {:>15} {:>8} {:>6}",
            "case", "implementation", "median", "IQR", "rate", "of roof", "ratio"
        );
        let sample = if self.quick { QUICK_SAMPLE } else { SAMPLE };
        let (effort, clock) = (Effort { rounds: self.rounds, sample }, Clock::of(self.threads));
        for case in cases {
            let candidates = candidates(&case, isa, self.threads, self.paths);
            watch.probe();
            let mut workload = case.prepare();
            let work = || {
                let candidates = measure::verified(&case, &mut workload, candidates);
                let samples = measure::interleaved(workload.as_mut(), &candidates, effort, clock);
                (candidates, samples)
            };
            // One thread stays outside any pool, as in a program that has none.
            let (candidates, samples) = if self.threads > 1 { pool.install(work) } else { work() };
            for row in rows(&case, &candidates, &samples, ceilings.shortest(&case, isa)) {
                print(&row);
                log.write(Line::Row(row))?;
            }
        }
        let noise = watch.finish();
        println!("machine: {noise}");
        if let Some(warning) = noise.warning(cpus) {
            eprintln!("compare: {warning}");
        }
        log.write(Line::Noise(noise))?;
        log.finish();
        Ok(())
    }

    fn machine(&self, isa: Isa) -> Machine {
        let what = format!("{}-{}", self.what, self.dtype);
        let mut machine = Machine::here(what);
        machine.isa = isa.to_string();
        machine.threads = self.threads;
        machine.clock = Clock::of(self.threads).name().into();
        if self.what == "gemm" {
            machine.peers = tilewise_benches::machine::peers(self.threads);
        }
        machine
    }

    fn print_head(&self, machine: &Machine) {
        println!(
            "{}, {} thread(s), {}, our path {}, medians of {} interleaved rounds",
            machine.what, machine.threads, machine.clock, machine.isa, self.rounds
        );
        if let (Some(clock), Some(vectors)) = (machine.clock_ghz, machine.vector_clock_ghz) {
            println!("clock about {clock:.2} GHz, {vectors:.2} GHz under the widest vectors");
        }
        for (name, version) in &machine.peers {
            println!("{name}: {version}");
        }
    }
}

/// Where lines go if a record is wanted.
struct Log(Option<Writer>);

impl Log {
    fn new(wanted: bool, mut machine: Machine) -> Result<Self, String> {
        if !wanted {
            return Ok(Self(None));
        }
        // The loader's messages name directories, which records do not.
        for version in machine.peers.values_mut().filter(|version| version.contains('/')) {
            *version = "could not be opened".into();
        }
        let writer = Writer::create(Path::new("benches/record"), machine);
        writer.map(|writer| Self(Some(writer))).map_err(|error| format!("record: {error}"))
    }

    fn write(&mut self, line: Line) -> Result<(), String> {
        let Some(writer) = &mut self.0 else { return Ok(()) };
        writer.write(&line).map_err(|error| format!("{}: {error}", writer.path.display()))
    }

    fn finish(self) {
        if let Some(writer) = self.0 {
            println!("record: {}", writer.path.display());
        }
    }
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    let wrong = || format!("{name}: expected a count of at least 1, got {value}");
    value.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)
}

/// Ours first, then whom we measure ourselves against, then, if wanted, our other paths.
fn candidates(case: &Case, isa: Isa, threads: usize, paths: bool) -> Vec<Implementation> {
    let mut list = vec![Implementation { who: Who::Tilewise(isa), threads }];
    let others = case.implementations(threads).into_iter().filter(|by| !by.is_tilewise());
    if case.packs {
        list.push(Implementation { who: Who::Prepacked(isa), threads });
        // The naive twin of a product is too slow to be waited for unasked.
        let naive = |by: &Implementation| by.who == Who::Naive;
        list.extend(others.filter(|by| if naive(by) { paths } else { by.threads == threads }));
    } else {
        list.extend(others);
    }
    if paths {
        // The names have been read already, or `isa` would not be known.
        let rest = available().unwrap_or_default().iter().filter(|&&other| other != isa);
        list.extend(rest.map(|&other| Implementation { who: Who::Tilewise(other), threads }));
    }
    list
}

fn rows(
    case: &Case,
    list: &[Implementation],
    samples: &[Vec<f64>],
    limit: Option<f64>,
) -> Vec<Row> {
    let summaries: Vec<Summary> = samples.iter().map(|seconds| Summary::new(seconds)).collect();
    let peers = (0..list.len()).filter(|&i| !list[i].is_tilewise());
    let best = peers.min_by(|&i, &j| summaries[i].median.total_cmp(&summaries[j].median));
    let row = |i: usize| {
        let Summary { median, lower, upper } = summaries[i];
        let spread = summaries[i].spread();
        let noisy = || format!("quartiles {:.0} % apart: a noisy machine", spread * 100.0);
        Row {
            id: format!("{}/{}", case.id, list[i]),
            ours: list[i].is_tilewise(),
            median,
            lower,
            upper,
            rounds: samples[i].len(),
            flops: case.flops,
            bytes: case.bytes,
            threads: list[i].threads,
            ratio: best.map(|best| measure::speedup(&samples[i], &samples[best])),
            roofline: limit.map(|limit| limit / median),
            warning: (spread > NOISY).then(noisy),
        }
    };
    (0..list.len()).map(row).collect()
}

fn print(row: &Row) {
    println!(
        "{:<44} {:<24} {:>9.2} us {:>5.1} % {:>15} {:>8} {:>6}",
        row.case(),
        row.implementation(),
        row.median * 1e6,
        (row.upper - row.lower) / row.median * 100.0,
        report::rate(row),
        report::percent(row.roofline),
        report::times(row.ratio),
    );
}
