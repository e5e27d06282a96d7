//! Records of runs: JSON lines, so that a run cut short leaves what it had, and two runs compare with
//! ordinary tools. The first line describes the machine, then come ceilings and rows.
//!
//! A record is meant to be published: it holds no names of hosts, users or directories.

use std::fs::{self, File};
use std::io::{self, Write};
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
    /// `flops/<dtype>/<path>`, or `<way>/<level>`: `read`, `copy`, and past the caches
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
    /// Why not to trust this row.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

impl Row {
    /// The id without the implementation.
    pub fn case(&self) -> &str {
        self.id.rsplit_once('/').map_or(&self.id, |(case, _)| case)
    }

    /// The implementation.
    pub fn implementation(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(_, implementation)| implementation)
    }
}

/// A record while it is written.
pub struct Writer {
    file: File,
    /// Where it goes.
    pub path: PathBuf,
}

impl Writer {
    /// Begins `<directory>/<cpu>/<date>-<what>.jsonl`, with a number where that exists already.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(directory: &Path, machine: Machine) -> io::Result<Self> {
        let directory = directory.join(machine.slug());
        fs::create_dir_all(&directory)?;
        let stem = format!("{}-{}", machine.date, machine.what);
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
}

impl Record {
    /// Reads a file. Broken lines are left out and listed.
    ///
    /// # Errors
    /// If it cannot be read at all, or its first line does not describe a machine.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(&name, &file.to_string(), &text)
    }

    fn parse(name: &str, file: &str, text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines.next().ok_or_else(|| format!("{file}: the file is empty"))?;
        let wrong = |n: usize, why: &dyn std::fmt::Display| format!("{file}:{}: {why}", n + 1);
        let machine = match serde_json::from_str(first) {
            Ok(Line::Machine(machine)) => *machine,
            Ok(_) => return Err(wrong(0, &"expected the description of a machine first")),
            Err(error) => return Err(wrong(0, &error)),
        };
        let (name, broken) = (name.to_owned(), Vec::new());
        let (ceilings, rows) = (Vec::new(), Vec::new());
        let mut record = Self { name, machine, ceilings, rows, noise: None, broken };
        for (n, line) in lines {
            match serde_json::from_str(line) {
                Ok(Line::Ceiling(ceiling)) => record.ceilings.push(ceiling),
                Ok(Line::Row(row)) => match fault(&row) {
                    Some(why) => record.broken.push(wrong(n, &why)),
                    None => record.rows.push(row),
                },
                Ok(Line::Noise(noise)) => record.noise = Some(noise),
                Ok(Line::Machine(_)) => record.broken.push(wrong(n, &"a second machine")),
                Err(error) => record.broken.push(wrong(n, &error)),
            }
        }
        Ok(record)
    }
}

/// What makes a row useless although it parses.
fn fault(row: &Row) -> Option<String> {
    if row.id.split('/').count() != 4 {
        return Some(format!("expected <op>/<dtype>/<shape>/<implementation>, got {:?}", row.id));
    }
    let ordered = 0.0 < row.lower && row.lower <= row.median && row.median <= row.upper;
    if !ordered {
        let Row { id, lower, median, upper, .. } = row;
        return Some(format!("{id}: expected quartiles in order, got {lower}, {median}, {upper}"));
    }
    let ratios = [row.ratio, row.roofline];
    let positive = ratios.iter().flatten().all(|ratio| *ratio > 0.0);
    (!positive).then(|| format!("{}: expected positive ratios, got {ratios:?}", row.id))
}
