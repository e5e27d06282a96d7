//! Reads records of `compare --record`, prints their tables and writes one page about all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tilewise_benches::record::Record;
use tilewise_benches::report;

const USAGE: &str = "\
usage: report RECORD... [--html FILE]        (default: target/report.html)
              [--fail-under R]               (fails where ours is below R times the best other)
              [--baseline RECORD]            (lists what has become slower since)";

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| options.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("report: {message}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    records: Vec<PathBuf>,
    html: PathBuf,
    fail_under: Option<f64>,
    baseline: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let html = "target/report.html".into();
        let mut options = Self { records: Vec::new(), html, fail_under: None, baseline: None };
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                options.records.push(argument.into());
                continue;
            }
            let value = arguments.next();
            let value = value.ok_or_else(|| format!("{argument} needs a value\n{USAGE}"))?;
            match argument.as_str() {
                "--html" => options.html = value.into(),
                "--baseline" => options.baseline = Some(value.into()),
                "--fail-under" => {
                    let ratio = value.parse().ok().filter(|ratio: &f64| *ratio > 0.0);
                    let wrong = || format!("--fail-under: expected a positive ratio, got {value}");
                    options.fail_under = Some(ratio.ok_or_else(wrong)?);
                }
                _ => return Err(format!("unknown option {argument}\n{USAGE}")),
            }
        }
        if options.records.is_empty() { Err(USAGE.into()) } else { Ok(options) }
    }

    /// Whether everything could be read and nothing is below the limit.
    fn run(&self) -> Result<bool, String> {
        let (records, mut good) = read(&self.records);
        if records.is_empty() {
            return Err("no record could be read".into());
        }
        for record in &records {
            println!("{}", report::table(record));
        }
        if records.len() > 1 {
            print_comparison(&records);
        }
        if let Some(baseline) = &self.baseline {
            print_regressions(&records, &Record::read(baseline)?);
        }
        if let Some(limit) = self.fail_under {
            good &= nothing_below(&records, limit);
        }
        write(&self.html, &report::html::page(&records))?;
        println!("page: {}", self.html.display());
        Ok(good)
    }
}

/// The readable ones, and whether all were whole.
fn read(paths: &[PathBuf]) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let mut whole = true;
    for path in paths {
        match Record::read(path) {
            Ok(record) => {
                whole &= record.broken.is_empty();
                record.broken.iter().for_each(|why| eprintln!("report: {why} (left out)"));
                records.push(record);
            }
            Err(why) => {
                whole = false;
                eprintln!("report: {why} (left out)");
            }
        }
    }
    (records, whole)
}

fn print_comparison(records: &[Record]) {
    print!("{:<40}", "ratio to the best other");
    for record in records {
        print!("  {}", record.name);
    }
    println!();
    for (case, ratios) in report::comparison(records) {
        print!("{case:<40}");
        for (record, ratio) in records.iter().zip(ratios) {
            print!("  {:>width$}", report::times(ratio), width = record.name.len());
        }
        println!();
    }
    println!();
}

fn print_regressions(records: &[Record], baseline: &Record) {
    for record in records {
        let slower = report::regressions(record, baseline);
        println!("{}: {} slower than in {}", record.name, slower.len(), baseline.name);
        slower.iter().for_each(|line| println!("  {line}"));
    }
}

fn nothing_below(records: &[Record], limit: f64) -> bool {
    let mut good = true;
    for record in records {
        for duel in report::duels(record) {
            if let Some(ratio) = duel.ratio().filter(|ratio| *ratio < limit) {
                println!("{}: {}: {ratio:.2} is below {limit}", record.name, duel.case);
                good = false;
            }
        }
    }
    good
}

fn write(path: &Path, page: &str) -> Result<(), String> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}
