//! What a run was made on and with.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ceilings;

/// The first line of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The day, as year-month-day in UTC.
    pub date: String,
    /// What was measured, such as `gemm-f32`.
    pub what: String,
    /// The CPU's own name.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The feature bits that kernels may care about.
    pub features: Vec<String>,
    /// The data caches of a CPU, as level and bytes.
    pub caches: Vec<(u32, usize)>,
    /// GHz of plain code, by instructions of known latency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_ghz: Option<f64>,
    /// GHz while the widest vectors multiply and add, by their rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vector_clock_ghz: Option<f64>,
    /// The kernel's name and version.
    pub kernel: String,
    /// The compiler that built this.
    pub compiler: String,
    /// The commit, with `-dirty` where files had changed.
    pub commit: String,
    /// Our path.
    pub isa: String,
    /// Threads that everybody was allowed.
    pub threads: usize,
    /// What time was taken by.
    pub clock: String,
    /// The peers' versions, or why they could not run.
    pub peers: BTreeMap<String, String>,
}

impl Machine {
    /// This machine; the rest is the caller's to fill in.
    pub fn here(what: String) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").unwrap_or_default();
        let clock = ceilings::clock::scalar();
        let ghz = |clock: f64| (clock / 1e7).round() / 100.0;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            date: today(),
            what,
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            features: flags.split(' ').filter(|flag| matters(flag)).map(str::to_owned).collect(),
            caches: ceilings::caches(),
            clock_ghz: clock.map(ghz),
            vector_clock_ghz: ceilings::clock::vector(clock).map(ghz),
            // What follows the version names who built it.
            kernel: format!(
                "{} {}",
                std::env::consts::OS,
                kernel.split('-').next().unwrap_or("").trim()
            ),
            compiler: env!("TILEWISE_RUSTC").into(),
            commit: commit(),
            isa: String::new(),
            threads: 1,
            clock: String::new(),
            peers: BTreeMap::new(),
        }
    }

    /// The CPU's name as a directory's.
    pub fn slug(&self) -> String {
        let plain = self.cpu.to_lowercase().replace("(r)", "").replace("(tm)", "");
        let words =
            plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }
}

fn matters(flag: &str) -> bool {
    let families = ["sse", "avx", "amx", "fma", "f16c", "asimd", "sve", "fphp", "bf16", "i8mm"];
    families.iter().any(|family| flag.starts_with(family))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn commit() -> String {
    let Some(hash) = output("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    match output("git", &["status", "--porcelain", "--untracked-files=no"]) {
        Some(changed) if changed.is_empty() => hash,
        _ => format!("{hash}-dirty"),
    }
}

/// The day in UTC.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant's `civil_from_days`, whose
/// years begin in March so that the leap day comes last).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// Who runs beside us in this process on that many threads: names, and versions or why not.
pub fn peers(threads: usize) -> BTreeMap<String, String> {
    let mut all: Vec<_> =
        crate::RustCrate::ALL.iter().map(|rust| (rust.name(), rust.version())).collect();
    if threads == 1 {
        all.extend(crate::Native::ALL.iter().map(|native| (native.name(), native.version(1))));
    }
    let told = |(name, version): (&str, Result<&str, String>)| {
        (name.to_owned(), version.map_or_else(|why| why, str::to_owned))
    };
    all.into_iter().map(told).collect()
}
