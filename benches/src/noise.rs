//! How disturbed the machine was while it measured.
//!
//! Interleaving makes ratios hold on a busy machine, up to a point. A record says how busy it was, so
//! that nobody reads more into it than it can bear.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What was seen of other work on the machine during a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noise {
    /// Processes that wanted a CPU in the minute before the run, on average.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub load: Option<f64>,
    /// The share of the CPUs' time during the run that a hypervisor gave to other machines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steal: Option<f64>,
    /// How far apart the times of one and the same short computation are: the ninth decile less the
    /// first, relative to the median.
    pub spread: f64,
    /// How often it was timed.
    pub probes: usize,
}

/// What more than that is called noisy. A clock that follows the load moves the times of the
/// computation by a tenth on a machine that does nothing else.
const SPREAD: f64 = 0.15;
const STEAL: f64 = 0.02;
/// Of all CPUs.
const LOAD: f64 = 0.5;

impl Noise {
    /// Why not to trust absolute figures of this run, if there is a reason.
    pub fn warning(&self, cpus: usize) -> Option<String> {
        let mut reasons = Vec::new();
        if self.spread > SPREAD {
            let percent = self.spread * 100.0;
            reasons.push(format!("the same computation took times {percent:.0} % apart"));
        }
        if let Some(steal) = self.steal.filter(|steal| *steal > STEAL) {
            let percent = steal * 100.0;
            reasons.push(format!("other machines took {percent:.0} % of the processor time"));
        }
        if let Some(load) = self.load.filter(|load| *load > LOAD * cpus as f64) {
            reasons.push(format!("{load:.1} processes wanted {cpus} CPUs before the run"));
        }
        (!reasons.is_empty()).then(|| format!("a noisy machine: {}", reasons.join("; ")))
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let load = self.load.map_or_else(unknown, |load| format!("{load:.2}"));
        let steal = self.steal.map_or_else(unknown, |steal| format!("{:.1} %", steal * 100.0));
        let Self { spread, probes, .. } = self;
        write!(
            f,
            "load before {load}, stolen time {steal}, probes {:.1} % apart ({probes})",
            spread * 100.0
        )
    }
}

/// Looks at the machine from the start of a run to its end.
#[derive(Debug)]
pub struct Watch {
    load: Option<f64>,
    times: Option<CpuTimes>,
    probes: Vec<f64>,
}

/// Ticks of all CPUs since the machine started.
#[derive(Debug, Clone, Copy)]
struct CpuTimes {
    all: u64,
    stolen: u64,
}

impl Watch {
    /// Starts, before anything that raises the load itself.
    pub fn start() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        let mut watch = Self { load, times: cpu_times(), probes: Vec::new() };
        watch.probe();
        watch
    }

    /// Times the computation, about a millisecond; call it now and then.
    pub fn probe(&mut self) {
        for _ in 0..8 {
            let start = Instant::now();
            computation();
            self.probes.push(start.elapsed().as_secs_f64());
        }
    }

    /// What was seen.
    pub fn finish(mut self) -> Noise {
        self.probe();
        let stolen = self.times.zip(cpu_times()).and_then(|(before, after)| {
            let all = after.all.saturating_sub(before.all);
            let stolen = after.stolen.saturating_sub(before.stolen);
            (all > 0).then(|| stolen as f64 / all as f64)
        });
        self.probes.sort_by(f64::total_cmp);
        let at = |tenths: usize| self.probes[(self.probes.len() - 1) * tenths / 10];
        let spread = (at(9) - at(1)) / at(5);
        Noise { load: self.load, steal: stolen, spread, probes: self.probes.len() }
    }
}

/// Always the same work, of one chain of instructions and no memory: only the clock and the neighbours
/// can change its time.
fn computation() {
    let mut x = black_box(1_u64);
    for _ in 0..100_000 {
        x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29);
    }
    black_box(x);
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and two that
/// the first two contain.
fn cpu_times() -> Option<CpuTimes> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(CpuTimes { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
}
