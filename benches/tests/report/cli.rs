//! The program: what it prints, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::synthetic::{Synthetic, everything, scratch};

/// How the program ended, and all that it said.
fn report(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    let output = command.current_dir(directory).args(arguments).output().expect("report runs");
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("it was not killed");
    (code, String::from_utf8(said).expect("text"))
}

/// A directory with `good.jsonl`.
fn with_a_record(test: &str) -> PathBuf {
    let directory = scratch(test);
    fs::write(directory.join("good.jsonl"), everything().text()).expect("a record");
    directory
}

#[test]
fn it_prints_tables_and_writes_the_page() {
    let directory = with_a_record("it_prints_tables");
    let (code, said) = report(&directory, &["good.jsonl", "--html", "deep/page.html"]);
    assert_eq!(code, 0, "{said}");
    for wanted in
        ["gemm/f32/64x64x64", "matrix products", "speed of our paths", "page: deep/page.html"]
    {
        assert!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    let page = fs::read_to_string(directory.join("deep/page.html")).expect("the page");
    assert!(page.starts_with("<!doctype html>"));
    // Twice the same record: side by side, all the same.
    let (code, said) = report(&directory, &["good.jsonl", "good.jsonl"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("mean of 10 common cases"), "{said}");
    assert!(directory.join("target/report.html").exists());
}

#[test]
fn fail_under_decides_the_exit_code() {
    let directory = with_a_record("fail_under");
    for (limit, code) in [("0.89", 0), ("0.91", 1)] {
        let (ended, said) = report(&directory, &["good.jsonl", "--fail-under", limit]);
        assert_eq!(ended, code, "{limit}: {said}");
        assert_eq!(said.contains("gemm/f32/64x64x64: 0.90 is below"), code == 1, "{said}");
    }
    let (ended, _) = report(&directory, &["good.jsonl", "--fail-under=0.91"]);
    assert_eq!(ended, 1);
}

#[test]
fn a_baseline_is_listed() {
    let directory = with_a_record("a_baseline");
    let slow = everything().text().replace("\"id\":\"adam", "\"id\":\"eve");
    fs::write(directory.join("other.jsonl"), slow).expect("a record");
    let arguments = ["other.jsonl", "--baseline", "good.jsonl"];
    let (code, said) = report(&directory, &arguments);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("other: 0 of 15 rows of ours slower than in good"), "{said}");
}

#[test]
fn broken_records_are_named_and_the_rest_is_shown() {
    let directory = with_a_record("broken_records");
    fs::write(directory.join("cut.jsonl"), everything().text() + "{\"kind\":\"ro")
        .expect("a record");
    fs::write(directory.join("empty.jsonl"), "").expect("a file");
    fs::write(directory.join("idle.jsonl"), Synthetic::new().text()).expect("a record");
    for (broken, why) in [
        ("cut.jsonl", "cut.jsonl:42: "),
        ("empty.jsonl", "empty.jsonl: the file is empty (left out)"),
        ("idle.jsonl", "idle.jsonl: no row was measured"),
        ("missing.jsonl", "missing.jsonl: No such file"),
    ] {
        let (code, said) = report(&directory, &[broken, "good.jsonl"]);
        assert_eq!(code, 1, "{broken}: {said}");
        assert!(said.contains(why) && said.contains("gemm/f32/64x64x64"), "{broken}: {said}");
    }
    let (code, said) = report(&directory, &["missing.jsonl"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no record could be read"), "{said}");
}

#[test]
fn wrong_arguments_are_explained() {
    let directory = with_a_record("wrong_arguments");
    for (arguments, why) in [
        (&[][..], "at least one record"),
        (&["good.jsonl", "--htlm", "x"], "unknown option --htlm"),
        (&["good.jsonl", "-x"], "unknown option -x"),
        (&["good.jsonl", "--html"], "--html: expected a file after it, got nothing"),
        (&["good.jsonl", "--fail-under", "fast"], "expected a positive ratio, got fast"),
        (&["good.jsonl", "--fail-under", "-1"], "expected a positive ratio, got -1"),
        (&["good.jsonl", "--fail-under", "nan"], "expected a positive ratio, got nan"),
        (&["good.jsonl", "--check"], "expected --readme FILE"),
        (&["good.jsonl", "--check=yes"], "expected no value"),
        (&["good.jsonl", "--baseline", "none.jsonl"], "none.jsonl: No such file"),
    ] {
        let (code, said) = report(&directory, arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let (code, said) = report(&directory, &["--help"]);
    assert_eq!(code, 0);
    for option in ["--html", "--fail-under", "--baseline", "--readme", "--check"] {
        assert!(said.contains(option), "{option} is not in {said}");
    }
}

#[test]
fn a_text_is_checked_and_rewritten() {
    let directory = with_a_record("a_text_is_rewritten");
    let readme = directory.join("README.md");
    let begin =
        "before\n<!-- benchmark table of  -->\nold\n<!-- end of the benchmark table -->\nafter\n";
    fs::write(&readme, begin).expect("a text");
    let run = |arguments: &[&str]| report(&directory, arguments);
    assert_eq!(run(&["--readme", "README.md"]).0, 2, "no records are named anywhere");
    assert_eq!(run(&["good.jsonl", "--readme", "README.md", "--check"]).0, 1);
    assert_eq!(fs::read_to_string(&readme).expect("a text"), begin, "--check changes nothing");
    assert_eq!(run(&["good.jsonl", "--readme", "README.md"]).0, 0);
    assert_eq!(run(&["--readme", "README.md", "--check"]).0, 0);
    let text = fs::read_to_string(&readme).expect("a text");
    assert!(text.starts_with("before\n<!-- benchmark table of good.jsonl -->\n"), "{text}");
    assert!(text.ends_with("<!-- end of the benchmark table -->\nafter\n"), "{text}");
    fs::write(&readme, text.replace("| 4 |", "| 5 |")).expect("a text");
    let (code, said) = run(&["--readme", "README.md", "--check"]);
    assert_eq!(code, 1, "{said}");
    fs::write(&readme, "no marks").expect("a text");
    let (code, said) = run(&["--readme", "README.md", "--check"]);
    assert!(
        code == 2 && said.contains("README.md: expected a line `<!-- benchmark table of"),
        "{said}"
    );
}
