//! CSV files: tables of one's own, with names of columns and classes.
//!
//! ```
//! use tilewise_nn::data::csv::Csv;
//!
//! let text = "length,width,kind\n1.4,0.2,setosa\n4.7,1.4,versicolor\n1.3,0.2,setosa\n";
//! let table = Csv::new().from_bytes(text.as_bytes(), "flowers.csv")?;
//! let flowers = table.classes_in::<f32>("kind")?;
//! assert_eq!(flowers.names.features, ["length", "width"]);
//! assert_eq!(flowers.names.classes, ["setosa", "versicolor"]);
//! assert_eq!(flowers.data.labels(), [0, 1, 0]);
//! assert_eq!(flowers.data.features().row(1), [4.7, 1.4]);
//! # Ok::<(), tilewise_nn::Error>(())
//! ```

mod columns;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tilewise_kernels::Float;

use super::{Dataset, Regression};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Csv {
    separator: u8,
    header: bool,
}

impl Default for Csv {
    fn default() -> Self {
        Self::new()
    }
}

impl Csv {
    /// Cells with commas between them and a first line of names.
    pub fn new() -> Self {
        Self { separator: b',', header: true }
    }

    /// Sets what is between cells, such as `b';'` or `b'\t'`.
    pub fn separator(self, separator: u8) -> Self {
        Self { separator, ..self }
    }

    /// Whether the first line has names; else columns are named by their number from 0.
    pub fn header(self, header: bool) -> Self {
        Self { header, ..self }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8, or lines have different numbers of cells; the error names
    /// the line.
    pub fn read(self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        self.from_bytes(&bytes, &path.display().to_string())
    }

    /// The same from bytes; `source` names them in errors.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn from_bytes(self, bytes: &[u8], source: &str) -> Result<Table> {
        let mut lines = Lines { bytes, at: 0, line: 1 };
        let failed = |error: &::csv::Error| {
            Error::format(source, "table", "lines of as many cells each, in UTF-8", error)
        };
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(self.separator)
            .has_headers(self.header)
            .trim(::csv::Trim::All)
            .from_reader(bytes);
        let mut columns: Vec<String> = Vec::new();
        if self.header {
            columns.extend(
                reader.headers().map_err(|error| failed(&error))?.iter().map(str::to_owned),
            );
        }
        let mut rows = Vec::new();
        for record in reader.into_records() {
            let record = record.map_err(|error| match error.kind() {
                ::csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let what = format!("line {}", pos.as_ref().map_or(0, |pos| lines.number(pos)));
                    Error::format(source, what, format!("{expected_len} cells, as before"), len)
                }
                _ => failed(&error),
            })?;
            rows.push((record.position().map_or(0, |pos| lines.number(pos)), record));
        }
        if !self.header {
            let width = rows.first().map_or(0, |(_, record)| record.len());
            columns.extend((0..width).map(|column| column.to_string()));
        }
        // The bytes of marks that some programs put in front.
        if let Some(first) = columns.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_owned();
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = columns.iter().find(|name| !seen.insert(*name)) {
            let got = format!("two called {:?}", twice);
            return Err(Error::format(source, "header", "a name for each column", got));
        }
        Ok(Table { source: source.to_owned(), columns, rows })
    }
}

/// Counts the lines of a file. The reader's own count lags behind where lines end with `\r\n`.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a record that comes after those asked for before.
    fn number(&mut self, record: &::csv::Position) -> u64 {
        let start = usize::try_from(record.byte()).unwrap_or(usize::MAX).min(self.bytes.len());
        // What is left of the line before, and empty lines.
        let ends = self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let end = start + ends.count();
        for at in self.at..end {
            let alone = self.bytes.get(at + 1) != Some(&b'\n');
            self.line += u64::from(match self.bytes[at] {
                b'\n' => true,
                b'\r' => alone,
                _ => false,
            });
        }
        self.at = self.at.max(end);
        self.line
    }
}

/// The cells of a file as text.
#[derive(Debug, Clone)]
pub struct Table {
    source: String,
    columns: Vec<String>,
    /// Each with the number of its line.
    rows: Vec<(u64, ::csv::StringRecord)>,
}

/// Where a value of a row comes from.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    /// The cell of a column.
    Cell(usize),
    /// 1 where the cell of a column is this text, else 0.
    Is(usize, &'a str),
}

/// What the numbers of a data set stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The columns of the features, in order.
    pub features: Vec<String>,
    /// The classes, by number.
    pub classes: Vec<String>,
}

/// A data set from a table, with its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<T = f32> {
    /// Features and labels.
    pub data: Dataset<T>,
    /// What they stand for.
    pub names: Names,
}

/// What the numbers of a data set stand for whose targets are values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueNames {
    /// The columns of the features, in order.
    pub features: Vec<String>,
    /// Those of the values.
    pub values: Vec<String>,
}

/// A data set of values from a table, with its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured<T = f32> {
    /// Features and values.
    pub data: Regression<T>,
    /// What they stand for.
    pub names: ValueNames,
}

impl Table {
    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of rows, the names not counted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The cell of a row and a column, if both exist.
    pub fn cell(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.1.get(column)
    }

    /// A data set whose classes are the texts in the column `label` and whose features are the numbers
    /// in all other columns. Classes are numbered in the order of their names, or of their values where
    /// all are numbers.
    ///
    /// # Errors
    /// If there is no such column, or a cell has no finite number or an empty class; the error names
    /// line and column.
    pub fn classes_in<T: Float>(&self, label: &str) -> Result<Labelled<T>> {
        let at = self.column(label)?;
        let cells = (0..self.len()).filter_map(|row| self.cell(row, at));
        let classes = in_order(cells.filter(|cell| !cell.is_empty()));
        let others = self.columns.iter().filter(|name| *name != label);
        let names = Names { features: others.cloned().collect(), classes };
        let data = self.like(label, &names)?;
        Ok(Labelled { data, names })
    }

    /// A data set whose targets are the numbers in the columns `values` and whose features are the
    /// numbers in all others.
    ///
    /// # Errors
    /// If there is no such column, or a cell has no finite number; the error names line and column.
    pub fn values_in<T: Float>(&self, values: &[&str]) -> Result<Measured<T>> {
        let values: Vec<String> = values.iter().map(|&name| name.to_owned()).collect();
        let others = self.columns.iter().filter(|name| !values.contains(name));
        let names = ValueNames { features: others.cloned().collect(), values };
        let data = Regression::new(self.features(&names.features)?, self.features(&names.values)?)?;
        Ok(Measured { data, names })
    }

    /// A data set with the same columns and numbers of classes as another one: test data beside
    /// training data.
    ///
    /// # Errors
    /// As for [`classes_in`](Self::classes_in), and if a class is none of those.
    pub fn like<T: Float>(&self, label: &str, names: &Names) -> Result<Dataset<T>> {
        let at = self.column(label)?;
        let class = |row: usize| {
            let text = self.cell(row, at).unwrap_or("");
            let class = names.classes.iter().position(|class| class == text);
            class.filter(|_| !text.is_empty()).ok_or_else(|| {
                let expected = match &names.classes[..] {
                    [] => "a class".to_owned(),
                    all => format!("one of {}", list(all)),
                };
                self.wrong(row, label, &expected, text)
            })
        };
        let labels: Vec<usize> = (0..self.len()).map(class).collect::<Result<_>>()?;
        Dataset::new(self.features(&names.features)?, labels, names.classes.len())
    }

    /// The numbers in the named columns, in that order.
    ///
    /// # Errors
    /// If there is no such column, or a cell has no finite number; the error names line and column.
    pub fn features<T: Float>(&self, names: &[String]) -> Result<Matrix<T>> {
        let sources: Vec<Source<'_>> =
            names.iter().map(|name| self.source_of(name)).collect::<Result<_>>()?;
        self.check_known(&sources)?;
        let mut values = Vec::with_capacity(self.len() * sources.len());
        for row in 0..self.len() {
            for (source, name) in sources.iter().zip(names) {
                values.push(match *source {
                    Source::Cell(column) => self.number(row, column, name)?,
                    Source::Is(column, text) => {
                        let is = self.cell(row, column) == Some(text);
                        T::from_f64(f64::from(u8::from(is)))
                    }
                });
            }
        }
        Matrix::new(values, self.len(), sources.len())
    }

    /// Where the values of a feature come from: a column of that name, or one of texts that was made
    /// several where the name is from.
    fn source_of<'n>(&self, name: &'n str) -> Result<Source<'n>> {
        let place = |name: &str| self.columns.iter().position(|column| column == name);
        if place(name).is_none() {
            // Names of columns may hold `=`, and so may texts.
            for (end, _) in name.rmatch_indices('=') {
                if let Some(at) = place(&name[..end]) {
                    return Ok(Source::Is(at, &name[end + 1..]));
                }
            }
        }
        Ok(Source::Cell(self.column(name)?))
    }

    fn number<T: Float>(&self, row: usize, column: usize, name: &str) -> Result<T> {
        let finite = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        let text = self.cell(row, column).unwrap_or("");
        let value = finite(text).map(T::from_f64).filter(|value| value.is_finite());
        value.ok_or_else(|| {
            // What would help depends on what the rest of the column is.
            let others = (0..self.len()).filter_map(|row| self.cell(row, column));
            let marks = if text.is_empty() { String::new() } else { format!("{text:?}") };
            let hint = match others.filter(|cell| finite(cell).is_some()).count() {
                _ if finite(&text.replace(',', ".")).is_some() => {
                    "with a point before its fraction".to_owned()
                }
                0 => "Table::one_hot takes texts, Table::without leaves the column out".to_owned(),
                _ => format!("drop_missing(&[{marks}]) leaves such rows out"),
            };
            self.wrong(row, name, &format!("a finite number ({hint})"), text)
        })
    }

    /// Checks that texts are among those that have a column.
    fn check_known(&self, sources: &[Source<'_>]) -> Result<()> {
        let mut known: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for source in sources {
            if let Source::Is(column, text) = *source {
                known.entry(column).or_default().insert(text);
            }
        }
        for (column, texts) in known {
            let strange = |&row: &usize| !texts.contains(self.cell(row, column).unwrap_or(""));
            if let Some(row) = (0..self.len()).find(strange) {
                let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
                let expected = format!("one of {}", list(&texts));
                let got = self.cell(row, column).unwrap_or("");
                return Err(self.wrong(row, &self.columns[column], &expected, got));
            }
        }
        Ok(())
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            let mut expected = format!("one of {}", list(&self.columns));
            if let [only] = &self.columns[..]
                && let Some(other) = [',', ';', '\t', '|'].into_iter().find(|&c| only.contains(c))
            {
                expected += &format!(" (is the separator {other:?}? see Csv::separator)");
            }
            Error::format(&self.source, "column", expected, format!("{name:?}"))
        })
    }

    fn wrong(&self, row: usize, column: &str, expected: &str, got: &str) -> Error {
        let what = format!("line {}, column {column:?}", self.rows[row].0);
        let got = if got.is_empty() { "nothing".to_owned() } else { format!("{got:?}") };
        Error::format(&self.source, what, expected, got)
    }
}

/// Classes, each once, in the order of their names, or of their values where all are numbers.
pub(super) fn in_order<'a>(classes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut classes: Vec<&str> = classes.collect::<BTreeSet<_>>().into_iter().collect();
    if classes.iter().all(|class| class.parse::<f64>().is_ok_and(f64::is_finite)) {
        let value = |class: &&str| class.parse::<f64>().unwrap_or(0.0);
        classes.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    classes.into_iter().map(str::to_owned).collect()
}

/// Some names in quotes.
pub(super) fn list(names: &[String]) -> String {
    /// More would hide the rest of the message.
    const SHOWN: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &rest
}
