//! All implementations of an operation, interleaved, as a table.
//!
//! On a machine that does other things too, only ratios between neighbours in time mean something:
//! every round times each implementation once, a few milliseconds each, in rotating order; medians
//! over the rounds are shown, and the median over the rounds of the ratio to the best peer (for
//! operations without peers: to the naive twin). One thread is timed by its own processor time, more
//! by the wall clock.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tilewise_benches::cases::{self, Family, gemm::Shape};
use tilewise_benches::ceilings::Ceilings;
use tilewise_benches::contest::{self, Timed};
use tilewise_benches::machine::Machine;
use tilewise_benches::measure::{self, Clock, Effort, Summary};
use tilewise_benches::noise::Watch;
use tilewise_benches::record::{Line, Row, Writer};
use tilewise_benches::worker::{self, Order, Worker};
use tilewise_benches::{Case, Implementation, Native, Who, report};
use tilewise_kernels::Isa;

/// The shortest sample, and the same in a hurry.
const SAMPLE: Duration = Duration::from_millis(2);
const QUICK_SAMPLE: Duration = Duration::from_micros(500);

/// How many samples of each implementation, and the same in a hurry.
const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 5;

/// How long the ceilings are measured before everything else, and the same in a hurry.
const CEILINGS: Duration = Duration::from_secs(4);
const QUICK_CEILINGS: Duration = Duration::from_secs(1);

/// Cases with more bytes or operations are left out in a hurry.
const QUICK_BYTES: u64 = 16 << 20;
const QUICK_FLOPS: u64 = 1 << 29;

/// The naive twin is timed, where there are others, up to so many bytes.
const NAIVE_BYTES: u64 = 4 << 20;

/// Quartiles farther apart than that, relative to the median, earn a warning.
const NOISY: f64 = 0.1;

/// Times all implementations of operations, interleaved, and shows how they compare.
///
/// TILEWISE_MAX_ISA caps our path, TILEWISE_PEERS lists directories of native libraries, and
/// TILEWISE_PYTHON names the interpreter of Python workers.
#[derive(Parser)]
#[command(name = "compare", disable_version_flag = true)]
struct Options {
    /// Which operations
    what: What,
    /// Everybody's threads
    #[arg(long, default_value_t = 1, value_parser = count)]
    threads: usize,
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    /// Samples of each implementation [default: 21, or 5 with --quick]
    #[arg(long, value_parser = count)]
    rounds: Option<usize>,
    /// Shapes of matrix products: N or MxNxK, perhaps with -tn, -nt or -tt, separated by commas
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Shape>,
    /// Only cases whose id contains one of these texts, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Small cases, few rounds: to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Our slower paths and the naive twin, too
    #[arg(long)]
    paths: bool,
    /// Peers in processes of their own, separated by commas: torch, jax, tensorflow, paddle, or any
    /// program that speaks the protocol, by a path with a slash
    #[arg(long, value_delimiter = ',')]
    workers: Vec<String>,
    /// Keeps a record for `report`
    #[arg(long)]
    record: bool,
    /// Where records are kept
    #[arg(long, default_value = "benches/record", value_name = "DIR")]
    record_dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Matrix products
    Gemm,
    /// What is bound by memory or by elementary functions
    Memory,
    /// Whole training steps
    Training,
    /// Everything
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    F64,
    /// Matrix products and batches that are stored so
    Bf16,
    /// Matrix products and batches that are stored so
    F16,
}

/// A name as on the command line.
fn text(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

fn count(value: &str) -> Result<usize, String> {
    value.parse().ok().filter(|&n| n > 0).ok_or("expected a count of at least 1".into())
}

fn main() -> ExitCode {
    // As a worker this program talks to itself; nobody types that.
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("worker") => serve(&arguments.next().unwrap_or_default()),
        _ => Options::parse().run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// What is to be measured, without the big cases in a hurry, and whether all that was asked for was
    /// found.
    fn cases(&self) -> Result<(Vec<Case>, bool), String> {
        let mut cases = self.all_cases();
        let known = |wanted: &&String| cases.iter().any(|case| case.id.contains(*wanted));
        let (known, unknown): (Vec<_>, Vec<_>) = self.only.iter().partition(known);
        for wanted in &unknown {
            eprintln!("compare: --only: no case of {} contains {wanted:?}", text(self.what));
        }
        if !self.only.is_empty() {
            cases.retain(|case| known.iter().any(|wanted| case.id.contains(*wanted)));
        }
        if self.quick {
            cases.retain(|case| case.bytes <= QUICK_BYTES && case.flops <= QUICK_FLOPS);
        }
        let left =
            if cases.is_empty() { Err("nothing is left to be measured".into()) } else { Ok(cases) };
        left.map(|cases| (cases, unknown.is_empty()))
    }

    fn all_cases(&self) -> Vec<Case> {
        let dtype = match self.dtype {
            Dtype::F32 => cases::Dtype::F32,
            Dtype::F64 => cases::Dtype::F64,
            Dtype::Bf16 => cases::Dtype::Bf16,
            Dtype::F16 => cases::Dtype::F16,
        };
        let wanted = |family: &Family| match self.what {
            What::Gemm => *family == Family::Gemm,
            What::Memory => family.is_bound_by_memory(),
            What::Training => *family == Family::TrainingStep,
            What::All => true,
        };
        let of = |family| match family {
            Family::Gemm if !self.sizes.is_empty() => cases::products(dtype, &self.sizes),
            _ => family.cases(dtype),
        };
        Family::ALL.into_iter().filter(wanted).flat_map(of).collect()
    }

    /// Whether everything that was asked for was found.
    fn run(&self) -> Result<bool, String> {
        let isa = match self.dtype {
            Dtype::F32 | Dtype::F64 => Isa::best(),
            Dtype::Bf16 | Dtype::F16 => Isa::best_for_halves(),
        };
        let isa = isa.map_err(|error| error.to_string())?;
        // The pool of the whole process, which everybody finds who calls from outside it, as programs do.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global();
        pool.map_err(|error| error.to_string())?;
        let (cases, found) = self.cases()?;
        let mut watch = Watch::start();
        let mut machine = self.machine(isa);
        let mut workers = self.recruit(&cases, &mut machine);
        self.print_head(&machine);
        let seconds = if self.quick { QUICK_CEILINGS } else { CEILINGS };
        let ceilings = Ceilings::measure(self.threads, seconds.as_secs_f64());
        let cpus = machine.cpus;
        let mut log = Log::new(self.record.then_some(&*self.record_dir), machine)?;
        for ceiling in ceilings.list.iter().cloned() {
            println!("ceiling {:<22} {:>7.1} G/s", ceiling.name, ceiling.rate / 1e9);
            log.write(Line::Ceiling(ceiling))?;
        }
        println!(
            "{:<44} {:<24} {:>12} {:>7} {:>15} {:>8} {:>8} {:>6}",
            "case", "implementation", "median", "IQR", "rate", "of roof", "of peak", "ratio"
        );
        let clock = Clock::of(self.threads);
        for case in cases {
            // Products at a precision of their own have a path that other operations of `f32` have not.
            let paths = (case.paths)().map_err(|error| error.to_string())?;
            let isa = paths.last().copied().unwrap_or(isa);
            let here = candidates(&case, isa, self.threads, self.paths);
            watch.probe();
            let timed = contest::hold(&case, &here, &mut workers, self.effort(), clock);
            for row in rows(&case, &timed, ceilings.shortest(&case, isa)) {
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
        Ok(found)
    }

    fn effort(&self) -> Effort {
        let (rounds, sample) =
            if self.quick { (QUICK_ROUNDS, QUICK_SAMPLE) } else { (ROUNDS, SAMPLE) };
        Effort { rounds: self.rounds.unwrap_or(rounds), sample }
    }

    fn machine(&self, isa: Isa) -> Machine {
        let mut machine = Machine::here(format!("{}-{}", text(self.what), text(self.dtype)));
        machine.isa = isa.to_string();
        machine.threads = self.threads;
        machine.clock = Clock::of(self.threads).name().into();
        machine.peers = tilewise_benches::machine::peers(self.threads);
        machine
    }

    /// Starts the peers that need processes of their own: those asked for, and on several threads the
    /// native libraries, whose pools spin.
    fn recruit(&self, cases: &[Case], machine: &mut Machine) -> Vec<Worker> {
        let natives = if self.threads > 1 { natives(cases) } else { Vec::new() };
        let asked = self.workers.iter().map(|name| Ok(Order::named(name, self.threads)));
        let mut workers = Vec::new();
        for order in natives.iter().map(|name| Order::native(name, self.threads)).chain(asked) {
            let (asked, recruited) = match &order {
                Ok(order) => (order.name.clone(), Worker::recruit(order)),
                Err(why) => (String::new(), Err(why.clone())),
            };
            let [name, version] = match recruited {
                Ok((told, variants)) => {
                    workers.extend(variants);
                    told
                }
                Err(why) => [asked, why],
            };
            // A program is asked for by its path, and records name no directories.
            machine.peers.insert(name.rsplit('/').next().unwrap_or_default().into(), version);
        }
        workers
    }

    fn print_head(&self, machine: &Machine) {
        println!(
            "{}, {} thread(s), {}, our path {}, medians of {} interleaved rounds",
            machine.what,
            machine.threads,
            machine.clock,
            machine.isa,
            self.effort().rounds
        );
        if let (Some(clock), Some(vectors)) = (machine.clock_ghz, machine.vector_clock_ghz) {
            println!("clock about {clock:.2} GHz, {vectors:.2} GHz under the widest vectors");
        }
        for (name, version) in &machine.peers {
            println!("{name}: {version}");
        }
    }
}

/// The native libraries that could run any of the cases.
fn natives(cases: &[Case]) -> Vec<&'static str> {
    let all = Native::ALL.into_iter();
    let able = all.filter(|native| cases.iter().any(|case| native.knows(&case.id)));
    able.map(Native::name).collect()
}

/// Answers for a native library, on as many threads as the parent says.
fn serve(name: &str) -> Result<bool, String> {
    let all = Native::ALL.into_iter();
    let native = all.into_iter().find(|native| native.name() == name);
    let native = native.ok_or_else(|| format!("worker: no native library is called {name:?}"))?;
    let told = std::env::var(worker::THREADS_VARIABLE).unwrap_or("1".into());
    let threads = count(&told).map_err(|why| format!("{}: {why}", worker::THREADS_VARIABLE))?;
    let version = native.version(threads);
    let by = Implementation { who: Who::Native(native), threads };
    let (requests, replies) = (std::io::stdin().lock(), std::io::stdout().lock());
    worker::serve(by, version, requests, replies).map_err(|error| error.to_string())?;
    Ok(true)
}

/// Where lines go if a record is wanted.
struct Log(Option<Writer>);

impl Log {
    fn new(directory: Option<&Path>, mut machine: Machine) -> Result<Self, String> {
        let Some(directory) = directory else { return Ok(Self(None)) };
        // The loader's messages name directories, which records do not.
        for version in machine.peers.values_mut().filter(|version| version.contains('/')) {
            *version = "could not be opened".into();
        }
        let writer = Writer::create(directory, machine);
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

/// Ours first, then whom we measure ourselves against in this process, then, if wanted, our other paths.
fn candidates(case: &Case, isa: Isa, threads: usize, paths: bool) -> Vec<Implementation> {
    let mut list = vec![Implementation { who: Who::Tilewise(isa), threads }];
    if case.packs {
        list.push(Implementation { who: Who::Prepacked(isa), threads });
    }
    let mut others = case.crates(threads);
    if threads == 1 {
        others.extend(case.natives());
    }
    // The naive twin of a product, or of much data, is too slow to be waited for unasked; without it
    // there would be nobody beside us in some cases.
    let is_slow = case.packs || (case.bytes > NAIVE_BYTES && !others.is_empty());
    if case.naive && (paths || !is_slow) {
        list.push(Implementation::serial(Who::Naive));
    }
    list.extend(others);
    if paths {
        // The names have been read already, or `isa` would not be known.
        let rest = (case.paths)().unwrap_or_default().iter().filter(|&&other| other != isa);
        list.extend(rest.map(|&other| Implementation { who: Who::Tilewise(other), threads }));
        if threads > 1 {
            list.push(Implementation::serial(Who::Tilewise(isa)));
        }
    }
    list
}

fn rows(case: &Case, timed: &[Timed], limit: Option<f64>) -> Vec<Row> {
    let summaries: Vec<Summary> = timed.iter().map(|one| Summary::new(&one.samples)).collect();
    let peers = (0..timed.len()).filter(|&i| !timed[i].ours);
    let best = peers.min_by(|&i, &j| summaries[i].median.total_cmp(&summaries[j].median));
    let row = |i: usize| {
        let Summary { median, lower, upper } = summaries[i];
        let spread = summaries[i].spread();
        let noisy = || format!("quartiles {:.0} % apart: a noisy machine", spread * 100.0);
        let ratio = |best: usize| measure::speedup(&timed[i].samples, &timed[best].samples);
        Row {
            id: format!("{}/{}", case.id, timed[i].name),
            ours: timed[i].ours,
            median,
            lower,
            upper,
            rounds: timed[i].samples.len(),
            flops: case.flops,
            bytes: case.bytes,
            threads: timed[i].threads,
            ratio: best.map(ratio),
            roofline: limit.map(|limit| limit / median),
            of_peak: measure::share(case.flops as f64, &timed[i].samples, &timed[i].peaks),
            warning: (spread > NOISY).then(noisy),
        }
    };
    (0..timed.len()).map(row).collect()
}

fn print(row: &Row) {
    println!(
        "{:<44} {:<24} {:>9.2} us {:>5.1} % {:>15} {:>8} {:>8} {:>6}",
        row.case(),
        row.implementation(),
        row.median * 1e6,
        (row.upper - row.lower) / row.median * 100.0,
        report::rate(row),
        report::percent(row.roofline),
        report::percent(row.of_peak),
        report::times(row.ratio),
    );
}
