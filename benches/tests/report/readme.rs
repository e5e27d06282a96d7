//! The README's headline table.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tilewise_benches::record::Record;
use tilewise_benches::report::readme;

use crate::synthetic::{Synthetic, everything};

const EMPTY: &str = "<!-- benchmark table of x -->\n<!-- end of the benchmark table -->";

fn table(records: &[Record]) -> String {
    readme::rewritten(EMPTY, &[PathBuf::from("a.jsonl")], records).expect("marks")
}

#[test]
fn the_committed_table_is_what_the_committed_records_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let text = fs::read_to_string(root.join("README.md")).expect("README.md");
    let names = readme::records(&text).expect("marks");
    assert!(!names.is_empty());
    let read = |name: &PathBuf| Record::read(&root.join(name)).expect("a committed record");
    let records: Vec<Record> = names.iter().map(read).collect();
    let whole = records.iter().all(|record| record.broken.is_empty());
    assert!(whole, "a committed record is broken");
    let new = readme::rewritten(&text, &names, &records).expect("marks");
    assert!(
        new == text,
        "the table is stale: cargo run -p tilewise-benches --bin report -- --readme README.md"
    );
}

#[test]
fn losses_are_as_visible_as_gains() {
    let table = table(&[everything().record()]);
    let products = "| matrix products | 4 | **0.90** | 0.90 `gemm ";
    assert!(table.contains(products), "{table}");
    assert!(table.contains("| 0, 0, 4 | 2: gemm and mkl |"), "{table}");
    assert!(table.contains("| optimiser steps | 3 | **4.00** |"), "{table}");
    assert!(table.contains("| 3, 0, 0 | only our naive twin"), "{table}");
    assert!(
        table.contains("Example CPU, path `avx512`, one thread, measured on 2026-11-22"),
        "{table}"
    );
}

#[test]
fn what_was_measured_again_counts_once_and_machines_stay_apart() {
    let again = everything().named("later.jsonl");
    let twice = table(&[everything().record(), again]);
    assert!(twice.contains("| matrix products | 4 |"), "{twice}");
    let mut other = everything();
    other.machine["cpu"] = json!("Another CPU");
    let both = table(&[everything().record(), other.record()]);
    assert_eq!(both.matches("| operations |").count(), 2, "{both}");
}

#[test]
fn nothing_in_a_record_ends_a_cell_or_a_comment() {
    let mut made = Synthetic::new().row("a|b--><b>/f32/1|2/avx512", 1e-6);
    made = made.row("a|b--><b>/f32/1|2/mk|l", 1e-6);
    made.machine["cpu"] = json!("x --> | <b>");
    let table = table(&[made.record()]);
    let line = table.lines().find(|line| line.starts_with("| a")).expect("its line");
    assert_eq!(line.replace("\\|", "").matches('|').count(), 8, "{line}");
    assert!(!line.contains("<b>"), "{line}");
}
