//! Records made up for tests.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tilewise_benches::record::Record;

/// A record in the making.
#[derive(Clone)]
pub(crate) struct Synthetic {
    pub(crate) machine: Value,
    /// The lines after the first.
    pub(crate) lines: Vec<Value>,
}

/// How far each quartile is from the median.
const SPREAD: f64 = 0.01;

impl Synthetic {
    /// A machine, and nothing measured yet.
    pub(crate) fn new() -> Self {
        let machine = json!({
            "kind": "machine", "date": "2026-11-22", "what": "all-f32", "cpu": "Example CPU", "cpus": 2,
            "features": ["avx2", "fma"], "caches": [[1, 49152], [2, 2_097_152]], "kernel": "linux 6.1",
            "compiler": "rustc 1.95.0", "commit": "0123456789ab", "isa": "avx512", "threads": 1,
            "clock": "processor time", "peers": {"mkl": "2026.2"}
        });
        let ceilings = [
            ("flops/f32/avx512", 200e9),
            ("flops/bf16/amx", 3000e9),
            ("read/L1", 400e9),
            ("copy/L1", 300e9),
            ("copy-streaming/memory", 20e9),
        ];
        let ceiling = |(name, rate)| json!({"kind": "ceiling", "name": name, "rate": rate});
        Self { machine, lines: ceilings.map(ceiling).to_vec() }
    }

    /// Adds a row with a median, in seconds.
    pub(crate) fn row(self, id: &str, median: f64) -> Self {
        self.with(id, median, |_| {})
    }

    /// The same, changed before it is added.
    pub(crate) fn with(mut self, id: &str, median: f64, change: impl FnOnce(&mut Value)) -> Self {
        let who = id.rsplit('/').next().unwrap_or_default();
        let ours = ["portable", "avx2", "avx512", "amx"].iter().any(|path| who.starts_with(path));
        let mut row = json!({
            "kind": "row", "id": id, "ours": ours, "median": median, "lower": median * (1.0 - SPREAD),
            "upper": median * (1.0 + SPREAD), "rounds": 21, "flops": 1_000_000, "bytes": 20_000,
            "threads": 1
        });
        change(&mut row);
        self.lines.push(row);
        self
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// As read from a file of that name.
    pub(crate) fn named(&self, name: &str) -> Record {
        Record::parse(Path::new(name), &self.text()).expect("a machine first")
    }

    /// As read, and nothing wrong with it.
    pub(crate) fn record(&self) -> Record {
        let record = self.named("made-up.jsonl");
        assert_eq!(record.broken, Vec::<String>::new());
        record
    }
}

/// A directory of its own for a test, empty at first.
pub(crate) fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    // Nothing to remove the first time; a failure shows when it is made anew.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a scratch directory");
    path
}

/// A record with several families, peers and paths.
pub(crate) fn everything() -> Synthetic {
    let mut made = Synthetic::new();
    for (n, side) in [16, 64, 256, 1024].into_iter().enumerate() {
        let case = format!("gemm/f32/{side}x{side}x{side}");
        let time = 1e-6 * 10.0_f64.powi(n as i32);
        for (who, factor) in
            [("avx512", 1.0), ("avx512-packed", 0.5), ("avx2", 2.0), ("mkl", 0.9), ("gemm", 1.2)]
        {
            made = made.row(&format!("{case}/{who}"), time * factor);
        }
    }
    for shape in ["128x10", "4096x1000", "512x32000"] {
        for (who, factor) in [("avx512", 1.0), ("naive", 12.0), ("torch", 3.0)] {
            made = made.with(&format!("softmax/f32/{shape}/{who}"), 1e-3 * factor, |row| {
                row["flops"] = json!(0);
            });
        }
    }
    for count in [10_000, 1_000_000, 25_000_000] {
        for (who, factor) in [("avx512", 1.0), ("naive", 4.0)] {
            let id = format!("adam/f32/{count}/{who}");
            made = made.with(&id, 1e-9 * f64::from(count) * factor, |row| {
                row["bytes"] = json!(28 * count);
                row["flops"] = json!(0);
                row["roofline"] = json!(0.8 / factor);
            });
        }
    }
    made
}
