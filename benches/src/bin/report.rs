//! Reads records of `compare --record`, prints their tables and writes one page about all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tilewise_benches::record::Record;
use tilewise_benches::report;

const USAGE: &str = "\
usage: report RECORD... [OPTIONS]

Prints the tables of records that `compare --record` made and writes one page about all of them.

  --html FILE         where the page goes [default: target/report.html]
  --fail-under R      fails where ours is below R times the best of the others
  --baseline RECORD   also lists what of ours has become slower since that record
  --readme FILE       rewrites the table between the marks of FILE; without RECORDs, of those that
                      its first mark names, and nothing else is done
  --check             with --readme: changes nothing, and fails if the table is not up to date
  --help              this text

Ends with 0; with 1 where --fail-under or --check fails, or a record was broken in part; with 2 where
there was nothing to do it with: an unknown option, or no readable record.";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("report: {message}\nreport --help lists the options");
            return ExitCode::from(2);
        }
    };
    match options.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("report: {message}");
            ExitCode::from(2)
        }
    }
}

#[derive(Default)]
struct Options {
    records: Vec<PathBuf>,
    html: Option<PathBuf>,
    fail_under: Option<f64>,
    baseline: Option<PathBuf>,
    readme: Option<PathBuf>,
    check: bool,
}

impl Options {
    /// What the arguments say; nothing where they ask for help.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            // An option's value may stand after `=`, too.
            let (name, mut given) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (&*argument, None),
            };
            let mut value = |what: &str| {
                let value = given.take().or_else(|| arguments.next());
                value.ok_or_else(|| format!("{name}: expected {what} after it, got nothing"))
            };
            match name {
                "--help" | "-h" => return Ok(None),
                "--check" => options.check = true,
                "--html" => options.html = Some(value("a file")?.into()),
                "--baseline" => options.baseline = Some(value("a record")?.into()),
                "--readme" => options.readme = Some(value("a file")?.into()),
                "--fail-under" => options.fail_under = Some(positive(name, &value("a ratio")?)?),
                _ if name.starts_with('-') => return Err(format!("unknown option {name}")),
                _ => options.records.push(argument.clone().into()),
            }
            if given.is_some() {
                return Err(format!("{name}: expected no value, got {argument}"));
            }
        }
        options.checked().map(Some)
    }

    fn checked(self) -> Result<Self, String> {
        if self.check && self.readme.is_none() {
            return Err("--check: expected --readme FILE beside it".into());
        }
        if self.records.is_empty() && self.readme.is_none() {
            return Err("expected at least one record".into());
        }
        Ok(self)
    }

    /// Whether everything could be read and nothing failed that was asked for.
    fn run(&self) -> Result<bool, String> {
        let mut good = true;
        if let Some(readme) = &self.readme {
            good &= self.headline(readme)?;
            if self.records.is_empty() {
                return Ok(good);
            }
        }
        let (records, whole) = read(&self.records);
        good &= whole;
        if records.is_empty() {
            return Err("no record could be read".into());
        }
        let baseline = self.baseline.as_deref().map(Record::read).transpose()?;
        for record in &records {
            println!("{}", report::table(record));
        }
        if records.len() > 1 {
            println!("{}", report::side_by_side(&records));
        }
        if let Some(baseline) = &baseline {
            print_regressions(&records, baseline);
        }
        if let Some(limit) = self.fail_under {
            good &= nothing_below(&records, limit);
        }
        let html = self.html.as_deref().unwrap_or(Path::new("target/report.html"));
        write(html, &report::html::page(&records, baseline.as_ref()))?;
        println!("page: {}", html.display());
        Ok(good)
    }

    /// Rewrites or checks the table of a text.
    fn headline(&self, file: &Path) -> Result<bool, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let named = report::readme::records(&text).map_err(|why| wrong(&why))?;
        // The mark's names are relative to the text, the command line's to where we are.
        let home = file.parent().unwrap_or(Path::new(""));
        let (names, paths): (Vec<PathBuf>, Vec<PathBuf>) = if self.records.is_empty() {
            (named.clone(), named.iter().map(|name| home.join(name)).collect())
        } else {
            let inside = |path: &PathBuf| path.strip_prefix(home).unwrap_or(path).to_owned();
            (self.records.iter().map(inside).collect(), self.records.clone())
        };
        if paths.is_empty() {
            return Err(wrong(
                &"its first mark names no record, and neither does the command line",
            ));
        }
        let records: Vec<Record> =
            paths.iter().map(|path| Record::read(path)).collect::<Result<_, _>>()?;
        let new = report::readme::rewritten(&text, &names, &records).map_err(|why| wrong(&why))?;
        if new == text {
            println!("{}: its table is up to date", file.display());
            return Ok(true);
        }
        if self.check {
            eprintln!(
                "report: {}: its table is not what its records say; report --readme {0} rewrites it",
                file.display()
            );
            return Ok(false);
        }
        write(file, &new)?;
        println!("{}: its table has been rewritten", file.display());
        Ok(true)
    }
}

fn positive(name: &str, value: &str) -> Result<f64, String> {
    let ratio = value.parse().ok().filter(|ratio: &f64| *ratio > 0.0 && ratio.is_finite());
    ratio.ok_or_else(|| format!("{name}: expected a positive ratio, got {value}"))
}

/// The readable ones, and whether all were whole.
fn read(paths: &[PathBuf]) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let mut whole = true;
    for path in paths {
        match Record::read(path) {
            Ok(record) => {
                whole &= record.broken.is_empty();
                let left = record.broken.iter().chain(&record.skipped);
                left.for_each(|why| eprintln!("report: {why} (left out)"));
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

fn print_regressions(records: &[Record], baseline: &Record) {
    for record in records {
        let slower = report::regressions(record, baseline);
        println!(
            "{}: {} of {} rows of ours slower than in {}",
            record.name,
            slower.len(),
            report::comparable(record, baseline),
            baseline.name
        );
        slower.iter().for_each(|line| println!("  {line}"));
    }
    println!();
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

fn write(path: &Path, text: &str) -> Result<(), String> {
    let wrong = |error| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(wrong)?;
    }
    fs::write(path, text).map_err(wrong)
}
