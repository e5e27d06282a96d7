//! Tables made ready: columns left out, gaps dealt with, texts as numbers.

use super::{Source, Table, in_order};
use crate::error::{Error, Result};

impl Table {
    /// The table without the named columns, such as numbers of rows.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn without(self, columns: &[&str]) -> Result<Self> {
        let dropped: Vec<usize> =
            columns.iter().map(|name| self.column(name)).collect::<Result<_>>()?;
        let kept = (0..self.columns.len()).filter(|column| !dropped.contains(column));
        Ok(self.rebuilt(&kept.map(Source::Cell).collect::<Vec<_>>()))
    }

    /// The table without the rows that have an empty cell or one of `marks` in any column, such as `"NA"`
    /// or `"?"`.
    #[must_use]
    pub fn drop_missing(mut self, marks: &[&str]) -> Self {
        self.rows.retain(|(_, record)| !record.iter().any(|cell| is_missing(cell, marks)));
        self
    }

    /// The table with `text` in the place of every cell of a column that is empty or one of `marks`: what
    /// is missing can be a text of its own, or a usual number. Tables that come later want the same.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn fill_missing(mut self, column: &str, marks: &[&str], text: &str) -> Result<Self> {
        let at = self.column(column)?;
        for (_, record) in &mut self.rows {
            let filled = |(index, cell)| match index == at && is_missing(cell, marks) {
                true => text,
                false => cell,
            };
            *record = record.iter().enumerate().map(filled).collect();
        }
        Ok(self)
    }

    /// The table with a column of texts made one column of 0 and 1 for each text, such as `colour=red`.
    /// Other tables, to predict or to test on, need not be changed: columns of such names are found in
    /// theirs.
    ///
    /// # Errors
    /// If there is no such column, or a name would be that of another one.
    pub fn one_hot(self, column: &str) -> Result<Self> {
        let at = self.column(column)?;
        let texts = in_order((0..self.len()).filter_map(|row| self.cell(row, at)));
        for text in &texts {
            // As a table that comes later is asked for it.
            let name = format!("{column}={text}");
            match self.source_of(&name)? {
                Source::Is(found, other) if found == at && other == text => {}
                _ => {
                    let what = format!("column {column:?}");
                    let got = format!("{name:?}, which names something else, too");
                    return Err(Error::format(
                        &self.source,
                        what,
                        "texts that make new names",
                        got,
                    ));
                }
            }
        }
        let mut sources = Vec::with_capacity(self.columns.len() + texts.len());
        for other in 0..self.columns.len() {
            match other == at {
                true => sources.extend(texts.iter().map(|text| Source::Is(at, text))),
                false => sources.push(Source::Cell(other)),
            }
        }
        Ok(self.rebuilt(&sources))
    }

    /// A table of other columns.
    fn rebuilt(&self, sources: &[Source<'_>]) -> Self {
        let columns = sources.iter().map(|source| match source {
            Source::Cell(column) => self.columns[*column].clone(),
            Source::Is(column, text) => format!("{}={text}", self.columns[*column]),
        });
        let cell = |record: &::csv::StringRecord, source: &Source<'_>| match *source {
            Source::Cell(column) => record.get(column).unwrap_or("").to_owned(),
            Source::Is(column, text) => u8::from(record.get(column) == Some(text)).to_string(),
        };
        let rows = self.rows.iter().map(|(line, record)| {
            (*line, sources.iter().map(|source| cell(record, source)).collect())
        });
        Self { source: self.source.clone(), columns: columns.collect(), rows: rows.collect() }
    }
}

fn is_missing(cell: &str, marks: &[&str]) -> bool {
    cell.is_empty() || marks.contains(&cell)
}
