//! Reading and writing records: whole ones, broken ones, and those of other versions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tilewise_benches::machine::Machine;
use tilewise_benches::record::{Ceiling, Line, Record, Row, Writer};

use crate::synthetic::{Synthetic, scratch};

const ID: &str = "gemm/f32/64x64x64/avx512";

fn parsed(text: &str) -> Result<Record, String> {
    Record::parse(Path::new("dir/name.jsonl"), text)
}

fn machine() -> Machine {
    let Line::Machine(machine) = serde_json::from_value(Synthetic::new().machine).expect("valid")
    else {
        unreachable!("its kind says machine")
    };
    *machine
}

#[test]
fn what_is_written_is_read() {
    let directory = scratch("what_is_written_is_read");
    let row = Row {
        id: ID.into(),
        ours: true,
        median: 1.25e-6,
        lower: 1.2e-6,
        upper: 1.3e-6,
        rounds: 21,
        flops: 524_288,
        bytes: 49_152,
        threads: 1,
        ratio: Some(1.5),
        roofline: None,
        of_peak: Some(0.875),
        warning: Some("a \"noisy\" machine".into()),
    };
    let ceiling = Ceiling { name: "flops/f32/avx512".into(), rate: 2.0e11 };
    let mut writer = Writer::create(&directory, machine()).expect("a record");
    for line in [Line::Ceiling(ceiling), Line::Row(row.clone())] {
        writer.write(&line).expect("a line");
    }
    let second = Writer::create(&directory, machine()).expect("another record of the same day");
    assert_ne!(writer.path, second.path);

    let record = Record::read(&writer.path).expect("what was just written");
    assert_eq!(record.broken, Vec::<String>::new());
    assert_eq!(record.name, "2026-11-22-all-f32");
    assert_eq!(record.machine.peers, BTreeMap::from([("mkl".into(), "2026.2".into())]));
    assert_eq!(
        (record.ceilings[0].name.as_str(), record.ceilings[0].rate),
        ("flops/f32/avx512", 2e11)
    );
    // Every field survives: they are compared as they are written.
    let json = |row: &Row| serde_json::to_value(row).expect("a row");
    assert_eq!(json(&record.rows[0]), json(&row));
    assert_eq!((record.rows[0].roofline, record.rows[0].of_peak), (None, Some(0.875)));
    assert_eq!(record.rows[0].warning.as_deref(), Some("a \"noisy\" machine"));
}

#[test]
fn a_file_without_a_machine_is_refused_with_a_reason() {
    let no_machine = Synthetic::new().row(ID, 1e-6).lines.pop().expect("a row").to_string();
    for (text, why) in [
        ("", "empty"),
        (" \n\n", "empty"),
        (no_machine.as_str(), "expected the description of a machine first"),
        ("{\"kind\":\"machine\"}", "missing field"),
        ("not a record", "expected the description of a machine"),
        ("{\"kind\":\"mach", "expected the description of a machine"),
    ] {
        let error = parsed(text).expect_err(text);
        assert!(error.contains(why) && error.starts_with("dir/name.jsonl"), "{text:?}: {error}");
    }
}

#[test]
fn files_that_are_no_text_or_no_files_are_refused() {
    let directory = scratch("files_that_are_no_text");
    let garbage = directory.join("garbage.jsonl");
    fs::write(&garbage, (0..=255).cycle().take(5000).collect::<Vec<u8>>()).expect("a file");
    let huge = directory.join("huge.jsonl");
    fs::File::create(&huge).and_then(|file| file.set_len(1 << 27)).expect("a sparse file");
    for (path, why) in [
        (garbage.as_path(), "expected the description of a machine"),
        (huge.as_path(), "at most 64 MiB"),
        (directory.as_path(), "irectory"),
        (Path::new("/no/such/record.jsonl"), "No such file"),
    ] {
        let error = Record::read(path).expect_err("no record");
        assert!(error.contains(why), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn garbage_in_the_middle_costs_that_line_only() {
    let made = Synthetic::new().row(ID, 1e-6);
    let mut bytes = made.text().into_bytes();
    bytes.extend([0xff, 0xfe, 0x00, b'\n']);
    bytes.extend(b"{\"kind\":\"row\",\"id\":\"gemm/f32/1x1x1/mkl\",\"ours\":fal");
    let path = scratch("garbage_in_the_middle").join("cut.jsonl");
    fs::write(&path, bytes).expect("a file");
    let record = Record::read(&path).expect("a machine first");
    assert_eq!(record.rows.len(), 1);
    let lines: Vec<usize> = (8..=9).collect();
    assert_eq!(record.broken.len(), lines.len(), "{:?}", record.broken);
    for (line, why) in lines.iter().zip(&record.broken) {
        assert!(why.contains(&format!("cut.jsonl:{line}: ")), "{why}");
    }
}

/// A row with one field changed, and what must be said about it.
fn refused(field: &str, value: Value, why: &str) {
    let made = Synthetic::new().row("gemm/f32/1x1x1/mkl", 1e-6);
    let made = made.with(ID, 1e-6, |row| row[field] = value.clone());
    let record = made.named("name.jsonl");
    assert_eq!(record.rows.len(), 1, "{field} = {value} was taken");
    let [said] = &record.broken[..] else { panic!("{:?}", record.broken) };
    assert!(said.contains(why) && said.starts_with("name.jsonl:8: "), "{field} = {value}: {said}");
}

#[test]
fn absurd_rows_are_refused() {
    for (field, value, why) in [
        // What a NaN and an infinity become in JSON.
        ("median", Value::Null, "expected f64"),
        ("median", json!(-1e-6), "quartiles in order"),
        ("median", json!(0.0), "quartiles in order"),
        ("upper", json!(1e-7), "quartiles in order"),
        ("upper", json!(1e300), "below a day"),
        ("median", json!("fast"), "expected f64"),
        ("rounds", json!(0), "at least one round"),
        ("rounds", json!(-3), "-3"),
        ("threads", json!(0), "at least one round and one thread"),
        ("flops", json!(-1), "-1"),
        ("bytes", json!(0.5), "0.5"),
        ("ratio", json!(0.0), "plausible ratios"),
        ("ratio", json!(-2.0), "plausible ratios"),
        ("ratio", json!(1e300), "plausible ratios"),
        ("roofline", json!(1e300), "plausible ratios"),
        ("of_peak", json!(0.0), "plausible ratios"),
        ("of_peak", json!("all"), "expected f64"),
        ("id", json!("gemm/f32/64"), "<op>/<dtype>/<shape>/<implementation>"),
        ("id", json!("gemm/f32/64/avx512/more"), "<op>/<dtype>/<shape>/<implementation>"),
        ("id", json!("gemm//64/avx512"), "<op>/<dtype>/<shape>/<implementation>"),
        ("id", json!(""), "<op>/<dtype>/<shape>/<implementation>"),
        ("id", json!("gemm/f32/1x1x1/mkl"), "a second row"),
        ("kind", json!("machine"), "missing field"),
    ] {
        refused(field, value, why);
    }
}

#[test]
fn absurd_ceilings_and_second_machines_are_refused() {
    let mut made = Synthetic::new().row(ID, 1e-6);
    let good = made.lines.len() - 1;
    for rate in [json!(0), json!(-1.0), json!(1e300), Value::Null] {
        made.lines.push(json!({"kind": "ceiling", "name": "read/L9", "rate": rate}));
    }
    made.lines.push(made.machine.clone());
    let record = made.named("name.jsonl");
    assert_eq!(record.ceilings.len(), good);
    assert_eq!(record.broken.len(), 5, "{:?}", record.broken);
}

#[test]
fn records_of_newer_versions_are_read() {
    let mut made = Synthetic::new().with(ID, 1e-6, |row| row["energy"] = json!({"joules": 3}));
    made.machine["microcode"] = json!("0x2b000603");
    made.lines.push(json!({"kind": "ceiling", "name": "hops/moon", "rate": 3.0, "unit": "hop"}));
    made.lines.push(json!({"kind": "weather", "sky": "blue"}));
    let record = made.record();
    assert_eq!(record.rows.len(), 1);
    let [skipped] = &record.skipped[..] else { panic!("{:?}", record.skipped) };
    assert!(skipped.contains("weather"), "{skipped}");
}

#[test]
fn records_of_older_versions_are_read() {
    let made = Synthetic::new().row(ID, 1e-6).with("gemm/f32/8x8x8/avx512", 1e-6, |row| {
        row["of_peak"] = json!(0.9);
    });
    let record = made.record();
    assert_eq!(record.rows.iter().map(|row| row.of_peak).collect::<Vec<_>>(), [None, Some(0.9)]);
    // What is not known is not written either.
    assert!(!serde_json::to_string(&record.rows[0]).expect("a row").contains("of_peak"));
}

#[test]
fn a_record_without_rows_says_so() {
    let record = Synthetic::new().named("name.jsonl");
    assert_eq!(record.broken, ["name.jsonl: no row was measured"]);
}

#[test]
fn implementations_are_taken_apart() {
    for (implementation, who, packed) in [
        ("avx512", "avx512", false),
        ("avx512-packed", "avx512", true),
        ("avx512-packed-16threads", "avx512", true),
        ("torch-compiled-2threads", "torch-compiled", false),
        ("nano-gemm", "nano-gemm", false),
        ("green-threads", "green-threads", false),
        ("naive", "naive", false),
    ] {
        let id = format!("gemm/f32/64x64x64-tn/{implementation}");
        let record = Synthetic::new().row(&id, 1e-6).record();
        let row = &record.rows[0];
        assert_eq!((row.who(), row.is_packed()), (who, packed), "{id}");
        assert_eq!(
            (row.op(), row.shape(), row.case()),
            ("gemm", "64x64x64-tn", "gemm/f32/64x64x64-tn")
        );
    }
}
