//! What the machine can do at most, measured in the same run as what is compared with it: the rate
//! of multiply-adds on each path, and the bandwidth of each level of memory.
//!
//! Written in the vector vocabulary of the kernels (but for AMX, which has none), so that a ceiling is
//! one of what our code may use. Of several ways to move data the fastest counts, and of several
//! attempts the best: a ceiling that is too low would flatter everybody.

#[allow(unsafe_code)]
mod amx;
mod arithmetic;
pub(crate) mod clock;
mod memory;
mod peak;

use std::fmt::Display;
use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tilewise_kernels::{Float, Isa, available};

use crate::case::Case;
use crate::record::Ceiling;
use amx::Source;

pub use peak::Peak;

/// All of them, for one number of threads.
#[derive(Debug, Clone, Default)]
pub struct Ceilings {
    /// In the order in which they were measured.
    pub list: Vec<Ceiling>,
    /// Names of the levels of memory and how many bytes they hold for all threads, smallest first.
    levels: Vec<(String, usize)>,
}

impl Ceilings {
    /// Measures for about `seconds`, on that many threads at once.
    ///
    /// # Panics
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn measure(threads: usize, seconds: f64) -> Self {
        let paths = available().unwrap_or_else(|error| panic!("{error}"));
        let levels = levels();
        // Two types per path, AMX from two places, three ways to move per level, two ways to stream.
        let parts = 2 * paths.len() + 2 + 3 * levels.len() + 2;
        let team = Team { threads, each: Duration::from_secs_f64(seconds / parts as f64) };
        let mut list = Vec::new();
        for &isa in paths {
            list.extend(team.multiply_adds(isa));
        }
        list.extend(team.tile_products());
        let best = *paths.last().expect("never empty");
        for (level, bytes) in &levels {
            list.extend(team.bandwidths(best, level, *bytes));
        }
        let shared = levels.into_iter().map(|(level, bytes)| (level, threads * bytes));
        Self { list, levels: shared.collect() }
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.list.iter().find(|ceiling| ceiling.name == name).map(|ceiling| ceiling.rate)
    }

    /// The seconds below which no call of `case` can take on a path: its operations at the rate of
    /// multiply-adds or its bytes at the bandwidth of the levels that hold them, whichever is longer.
    /// Of what does not fit into a level, as much as fits counts as found there, since some of it may be.
    /// `None` where nothing is counted.
    pub fn shortest(&self, case: &Case, path: impl Display) -> Option<f64> {
        let dtype = case.id.split('/').nth(1)?;
        let arithmetic = match case.flops {
            0 => 0.0,
            flops => flops as f64 / self.flops(dtype, &path.to_string())?,
        };
        let longest = arithmetic.max(self.moving(case.bytes as f64, case.held as f64)?);
        (longest > 0.0).then_some(longest)
    }

    /// The seconds that moving `bytes` of data takes that fill `held` bytes of memory.
    fn moving(&self, bytes: f64, held: f64) -> Option<f64> {
        let (mut left, mut inside, mut seconds) = (held, 0.0, 0.0);
        for (i, (level, size)) in self.levels.iter().enumerate() {
            let is_last = i + 1 == self.levels.len();
            // A level holds what the one before it holds, too.
            let here = if is_last { left } else { left.min(*size as f64 - inside).max(0.0) };
            if here > 0.0 {
                seconds += bytes * (here / held) / self.bandwidth(level, held < bytes)?;
            }
            left -= here;
            inside += here;
        }
        Some(seconds)
    }

    /// The rate of multiply-adds of a type on a path. Tiles multiply `bf16` where there are any, even
    /// for a path that does not use them: this is what the machine can do. Other halves are widened.
    fn flops(&self, dtype: &str, path: &str) -> Option<f64> {
        let vectors = if path == "amx" { "avx512" } else { path };
        let tiles = || self.rate("flops/bf16/amx").filter(|_| vectors == "avx512");
        match dtype {
            "bf16" => tiles().or_else(|| self.rate(&format!("flops/f32/{vectors}"))),
            "f64" => self.rate(&format!("flops/f64/{vectors}")),
            _ => self.rate(&format!("flops/f32/{vectors}")),
        }
    }

    /// The fastest way to move data in a level. What is written where it was read travels faster than a
    /// copy: nothing else has to make room for it.
    fn bandwidth(&self, level: &str, in_place: bool) -> Option<f64> {
        let ways = ["read", "copy", "copy-streaming", "write-streaming", "update"];
        let ways = ways.into_iter().filter(|way| in_place || *way != "update");
        let rates = ways.filter_map(|way| self.rate(&format!("{way}/{level}")));
        rates.reduce(f64::max)
    }
}

/// Threads that measure together, and how long each ceiling takes them.
#[derive(Debug, Clone, Copy)]
struct Team {
    threads: usize,
    each: Duration,
}

impl Team {
    fn multiply_adds(self, isa: Isa) -> [Ceiling; 2] {
        [
            (f32::NAME, self.rate(|| arithmetic::flops::<f32>(isa))),
            (f64::NAME, self.rate(|| arithmetic::flops::<f64>(isa))),
        ]
        .map(|(name, rate)| Ceiling { name: format!("flops/{name}/{isa}"), rate })
    }

    /// None where there is no AMX, or `TILEWISE_MAX_ISA` forbids it.
    fn tile_products(self) -> Vec<Ceiling> {
        let isa = Isa::best_for_halves().unwrap_or_else(|error| panic!("{error}"));
        let there = amx::tiles(isa, Source::Registers).is_some();
        let from = [(Source::Registers, "amx"), (Source::FirstLevel, "amx-from-L1")];
        let measured = from.into_iter().filter(|_| there).map(|(from, name)| {
            let rate = self.rate(|| amx::tiles(isa, from).expect("found just now"));
            Ceiling { name: format!("flops/bf16/{name}"), rate }
        });
        measured.collect()
    }

    fn bandwidths(self, isa: Isa, level: &str, bytes: usize) -> Vec<Ceiling> {
        // Half of a level: other data needs room too.
        let values = bytes / 2 / size_of::<f32>();
        let mut rates = vec![
            ("read", self.rate(|| memory::reader(isa, values))),
            ("copy", self.rate(|| memory::copier(isa, values))),
            ("update", self.rate(|| memory::updater(isa, values))),
        ];
        if level == MEMORY {
            rates.extend([
                ("copy-streaming", self.rate(|| memory::streaming_copier(isa, values))),
                ("write-streaming", self.rate(|| memory::streaming_writer(isa, values))),
            ]);
        }
        let ceiling = |(way, rate)| Ceiling { name: format!("{way}/{level}"), rate };
        rates.into_iter().map(ceiling).collect()
    }

    /// The rates of all threads in sum. `make` builds on each thread a body that does some work and
    /// returns how much; the best of many calls within the time counts.
    fn rate<B: FnMut() -> f64>(self, make: impl Fn() -> B + Sync) -> f64 {
        let barrier = Barrier::new(self.threads);
        let one = || {
            let mut body = make();
            body();
            barrier.wait();
            let start = Instant::now();
            let mut best = 0.0_f64;
            while best == 0.0 || start.elapsed() < self.each {
                let call = Instant::now();
                let amount = body();
                best = best.max(amount / call.elapsed().as_secs_f64());
            }
            best
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..self.threads).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|thread| thread.join().expect("a ceiling's thread")).sum()
        })
    }
}

/// The name of the level behind all caches.
const MEMORY: &str = "memory";

/// Bytes of the array that stands for main memory: more than what one core gets of a cache shared by
/// dozens, and little enough for a small machine.
const MAIN_MEMORY: usize = 512 << 20;

/// The largest array that counts as inside a shared third-level cache, of which virtual machines
/// report the whole although neighbours use it too.
const SHARED_CACHE: usize = 32 << 20;

/// The data caches of the first CPU as (level, bytes).
pub fn caches() -> Vec<(u32, usize)> {
    let mut found = Vec::new();
    for index in 0..8 {
        let read = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
        };
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size"))
        else {
            continue;
        };
        let kibibytes = size.strip_suffix('K').and_then(|digits| digits.parse::<usize>().ok());
        if let (Ok(level), Some(kibibytes), true) =
            (level.parse(), kibibytes, kind != "Instruction")
        {
            found.push((level, kibibytes << 10));
        }
    }
    found
}

/// Names and sizes of the levels to measure. Where the system tells no caches, usual sizes.
fn levels() -> Vec<(String, usize)> {
    let mut caches = caches();
    if caches.is_empty() {
        caches = vec![(1, 32 << 10), (2, 512 << 10), (3, 8 << 20)];
    }
    let bounded = |(level, bytes): (u32, usize)| (format!("L{level}"), bytes.min(SHARED_CACHE));
    let mut levels: Vec<_> = caches.into_iter().map(bounded).collect();
    levels.push((MEMORY.into(), MAIN_MEMORY));
    levels
}
