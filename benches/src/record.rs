//! Records of runs: JSON lines, so that a run cut short leaves what it had, and two runs compare with
//! ordinary tools. The first line describes the machine, then come ceilings and rows.
//!
//! A record is meant to be published: it holds no names of hosts, users or directories.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::noise::Noise;

/// One line of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// What was run on what; the first line.
    Machine(Box<Machine>),
    /// What the machine can do at most.
    Ceiling(Ceiling),
    /// One implementation of one case.
    Row(Row),
    /// How disturbed the machine was; the last line.
    Noise(Noise),
}

/// A measured ceiling.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ceiling {
    /// `flops/<dtype>/<path>`, or `<way>/<level>`: `read`, `copy`, `update` (in place), and past the caches
    /// `copy-streaming` and `write-streaming`.
    pub name: String,
    /// Operations or bytes per second, all threads in sum.
    pub rate: f64,
}

/// The times of one implementation of one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// `<op>/<dtype>/<shape>/<implementation>`
    pub id: String,
    /// Whether this is our kernel.
    pub ours: bool,
    /// Median of the seconds of one call.
    pub median: f64,
    /// Lower quartile of them.
    pub lower: f64,
    /// Upper quartile of them.
    pub upper: f64,
    /// How many samples there are.
    pub rounds: usize,
    /// Floating-point operations of one call; 0 where they are not counted.
    pub flops: u64,
    /// Bytes that one call must move at least; 0 where they are not counted.
    pub bytes: u64,
    /// How many threads it was allowed.
    pub threads: usize,
    /// The median over the rounds of the best peer's time divided by this one's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ratio: Option<f64>,
    /// The share of the speed that the measured ceilings allow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub roofline: Option<f64>,
    /// The median over the rounds of the share of the rate that nothing but multiply-adds had right after.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of_peak: Option<f64>,
    /// Why not to trust this row.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

impl Row {
    /// The id without the implementation.
    pub fn case(&self) -> &str {
        self.id.rsplit_once('/').map_or(&self.id, |(case, _)| case)
    }

    /// The operation.
    pub fn op(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// The shape.
    pub fn shape(&self) -> &str {
        self.id.split('/').nth(2).unwrap_or_default()
    }

    /// The implementation.
    pub fn implementation(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(_, implementation)| implementation)
    }

    /// Whose code it is: the implementation without its threads and what was packed before.
    pub fn who(&self) -> &str {
        let who = self.without_threads();
        who.strip_suffix("-packed").unwrap_or(who)
    }

    /// Whether an operand had been packed before the clock ran.
    pub fn is_packed(&self) -> bool {
        self.without_threads().ends_with("-packed")
    }

    /// Whether this is the executable specification.
    pub fn is_naive(&self) -> bool {
        self.who() == "naive"
    }

    fn without_threads(&self) -> &str {
        let name = self.implementation();
        let stem = name.strip_suffix("threads").and_then(|rest| rest.rsplit_once('-'));
        match stem {
            Some((stem, count)) if count.parse::<usize>().is_ok() => stem,
            _ => name,
        }
    }
}

/// A record while it is written.
pub struct Writer {
    file: File,
    /// Where it goes.
    pub path: PathBuf,
}

impl Writer {
    /// Begins `<directory>/<cpu>/<date>-<what>.jsonl`, with the threads if there are several, and with a
    /// number where that exists already.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(directory: &Path, machine: Machine) -> io::Result<Self> {
        let directory = directory.join(machine.slug());
        fs::create_dir_all(&directory)?;
        let threads = match machine.threads {
            1 => String::new(),
            threads => format!("-{threads}threads"),
        };
        let stem = format!("{}-{}{threads}", machine.date, machine.what);
        let name = |n: u32| match n {
            1 => format!("{stem}.jsonl"),
            _ => format!("{stem}-{n}.jsonl"),
        };
        let free = (1..).map(|n| directory.join(name(n))).find(|path| !path.exists());
        let path = free.expect("a free name");
        let mut writer = Self { file: File::create_new(&path)?, path };
        writer.write(&Line::Machine(Box::new(machine)))?;
        Ok(writer)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_string(line)?;
        writeln!(self.file, "{text}")
    }
}

/// Bytes of the longest file that is read: hundreds of times more than a run of everything writes.
const LONGEST: u64 = 64 << 20;

/// A record as read.
#[derive(Debug, Clone)]
pub struct Record {
    /// The file's name without its directory and ending.
    pub name: String,
    /// What was run on what.
    pub machine: Machine,
    /// What the machine can do at most.
    pub ceilings: Vec<Ceiling>,
    /// Everything measured, in the order of the file.
    pub rows: Vec<Row>,
    /// How disturbed the machine was, where the run came to its end.
    pub noise: Option<Noise>,
    /// What is wrong with the file, each with its line: those lines are left out.
    pub broken: Vec<String>,
    /// Lines of kinds that this version does not know, which are no fault of the file.
    pub skipped: Vec<String>,
}

impl Record {
    /// Reads a file. Broken lines are left out and listed.
    ///
    /// # Errors
    /// If it cannot be read at all, is too long to be a record, or its first line does not describe a
    /// machine.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(wrong)?
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(wrong)?;
        if bytes.len() as u64 > LONGEST {
            let most = LONGEST >> 20;
            return Err(format!("{}: expected a record of at most {most} MiB", path.display()));
        }
        Self::parse(path, &String::from_utf8_lossy(&bytes))
    }

    /// Reads the text of a file whose path appears in messages.
    ///
    /// # Errors
    /// If its first line does not describe a machine.
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let wrong = |n: usize, why: &dyn Display| format!("{}:{}: {why}", path.display(), n + 1);
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (n, first) =
            lines.next().ok_or_else(|| format!("{}: the file is empty", path.display()))?;
        let machine = match serde_json::from_str(first) {
            Ok(Line::Machine(machine)) => *machine,
            Ok(_) => return Err(wrong(n, &"expected the description of a machine first")),
            Err(error) => {
                return Err(wrong(n, &format!("expected the description of a machine: {error}")));
            }
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (ceilings, rows) = (Vec::new(), Vec::new());
        let (broken, skipped) = (Vec::new(), Vec::new());
        let mut record = Self { name, machine, ceilings, rows, noise: None, broken, skipped };
        let mut ids = HashSet::new();
        for (n, line) in lines {
            match record.add(line, &mut ids) {
                Ok(()) => {}
                Err(Refusal::Broken(why)) => record.broken.push(wrong(n, &why)),
                Err(Refusal::Unknown(kind)) => {
                    let why = format!("lines of kind {kind:?} are not known to this version");
                    record.skipped.push(wrong(n, &why));
                }
            }
        }
        if record.rows.is_empty() {
            record.broken.push(format!("{}: no row was measured", path.display()));
        }
        Ok(record)
    }

    /// Takes a line. `ids` are those of the rows so far.
    fn add(&mut self, line: &str, ids: &mut HashSet<String>) -> Result<(), Refusal> {
        match serde_json::from_str(line).map_err(|error| Refusal::of(line, &error))? {
            Line::Machine(_) => return Err(Refusal::Broken("a second machine".into())),
            Line::Ceiling(ceiling) => {
                if !(ceiling.rate > 0.0 && ceiling.rate < FASTEST) {
                    let Ceiling { name, rate } = ceiling;
                    let why = format!("{name}: expected a rate above 0, got {rate}");
                    return Err(Refusal::Broken(why));
                }
                self.ceilings.push(ceiling);
            }
            Line::Noise(noise) => self.noise = Some(noise),
            Line::Row(row) => {
                if let Some(why) = fault(&row) {
                    return Err(Refusal::Broken(why));
                }
                // The first stays: choosing among repetitions would be choosing the luckiest.
                if !ids.insert(row.id.clone()) {
                    let why = format!("{}: a second row of this id", row.id);
                    return Err(Refusal::Broken(why));
                }
                self.rows.push(row);
            }
        }
        Ok(())
    }
}

/// Why a line is left out.
enum Refusal {
    Broken(String),
    /// Of a kind that a newer version may know.
    Unknown(String),
}

impl Refusal {
    fn of(line: &str, error: &serde_json::Error) -> Self {
        /// What every line has.
        #[derive(Deserialize)]
        struct Any {
            kind: String,
        }
        match serde_json::from_str::<Any>(line) {
            Ok(Any { kind })
                if !["machine", "ceiling", "row", "noise"].contains(&kind.as_str()) =>
            {
                Self::Unknown(kind)
            }
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Operations or bytes per second that no machine reaches.
const FASTEST: f64 = 1e18;

/// Seconds that no call takes: a day.
const LONGEST_CALL: f64 = 86_400.0;

/// Factors between two implementations, or to a ceiling, that no measurement shows.
const FARTHEST: f64 = 1e9;

/// What makes a row useless although it parses.
fn fault(row: &Row) -> Option<String> {
    let parts: Vec<&str> = row.id.split('/').collect();
    if parts.len() != 4 || parts.iter().any(|part| part.is_empty()) {
        return Some(format!("expected <op>/<dtype>/<shape>/<implementation>, got {:?}", row.id));
    }
    let Row { id, lower, median, upper, rounds, threads, .. } = row;
    let ordered = 0.0 < *lower && lower <= median && median <= upper && *upper < LONGEST_CALL;
    if !ordered {
        return Some(format!(
            "{id}: expected quartiles in order, above 0 s and below a day, got {lower}, {median}, \
             {upper}"
        ));
    }
    if *rounds == 0 || *threads == 0 {
        return Some(format!(
            "{id}: expected at least one round and one thread, got {rounds} and {threads}"
        ));
    }
    let ratios = [row.ratio, row.roofline, row.of_peak];
    let plausible = |ratio: &f64| (1.0 / FARTHEST..FARTHEST).contains(ratio);
    (!ratios.iter().flatten().all(plausible))
        .then(|| format!("{id}: expected plausible ratios, got {ratios:?}"))
}
