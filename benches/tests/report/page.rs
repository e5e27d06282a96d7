//! The page: whole, self-contained, safe against what records hold, and readable as text.

use serde_json::json;
use tilewise_benches::report;

use crate::synthetic::{Synthetic, everything};

/// Elements without an end tag.
const VOID: [&str; 4] = ["meta", "br", "wbr", "!doctype"];

/// Panics unless all tags are closed in order.
fn assert_balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for (at, _) in page.match_indices('<') {
        let tag = &page[at + 1..];
        let end = tag.find('>').unwrap_or_else(|| panic!("a tag that does not end: {:.60}", tag));
        let tag = &tag[..end];
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {:.80}", &page[at..]);
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
            assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// What a reader without a browser sees.
fn text(page: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            _ if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// Panics if the page would fetch or run anything.
fn assert_self_contained(page: &str) {
    for wanted in [
        "http:", "https:", "//cdn", "src=", "@import", "url(", "<script", "<link", "<img",
        "<iframe",
    ] {
        assert!(!page.contains(wanted), "the page contains {wanted}");
    }
    let local = |(at, _)| page[at..].starts_with("href=\"#");
    assert!(page.match_indices("href=").all(local), "a link leaves the page");
}

#[test]
fn it_is_whole_and_self_contained() {
    let record = everything().record();
    let other = everything().named("other.jsonl");
    for (page, name) in [
        (report::html::page(std::slice::from_ref(&record), None), "one"),
        (report::html::page(&[record.clone(), other.clone()], None), "two"),
        (report::html::page(&[record], Some(&other)), "with a baseline"),
        (report::html::page(&[Synthetic::new().named("empty.jsonl")], None), "without rows"),
        (report::html::page(&[], None), "none"),
    ] {
        assert!(page.contains("prefers-color-scheme:dark"), "{name}");
        assert_balanced(&page);
        assert_self_contained(&page);
    }
}

#[test]
fn it_holds_the_table_as_text() {
    let page = text(&report::html::page(&[everything().record()], None));
    for wanted in [
        "gemm/f32/64x64x64",
        "mkl",
        "0.90",
        "10.00 µs",
        "avx512-packed",
        "packed before, does not count",
        "softmax",
        "Geometric mean of 7 workloads",
        "no other library was timed",
        "The machine was quiet",
        "Our own paths",
        "Example CPU",
        "2026-11-22",
        "0123456789ab",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not on the page");
    }
}

#[test]
fn the_share_of_the_peak_is_on_it_where_it_was_measured() {
    let without = everything();
    let with =
        without.clone().with("gemm/f32/8x8x8/avx512", 1e-6, |row| row["of_peak"] = json!(0.37));
    let page = |made: &Synthetic| report::html::page(&[made.record()], None);
    for (made, columns) in [(&without, 0), (&with, 2)] {
        let page = page(made);
        assert_balanced(&page);
        assert_eq!(page.matches(">of peak<").count(), columns);
        assert_eq!(page.matches(">37 %<").count(), columns);
        assert!(report::table(&made.record()).contains("of peak"));
    }
    assert!(report::table(&with.record()).contains(" 37 % "));
}

#[test]
fn it_draws_a_sweep_for_each_operation_with_three_sizes() {
    let page = report::html::page(&[everything().record()], None);
    for title in ["gemm, f32, squares", "softmax, f32", "adam, f32", "Roofline"] {
        assert!(page.contains(&format!("<figcaption>{title}")), "no plot of {title}");
    }
    for wanted in ["bf16 amx 3000", "memory 20 GB/s", "copy-streaming: 20.0 GB/s"] {
        assert!(page.contains(wanted), "{wanted:?} is not in the roofline");
    }
    let two = Synthetic::new().row("exp/f32/8/avx512", 1e-6).row("exp/f32/16/avx512", 1e-6);
    let page = report::html::page(&[two.record()], None);
    assert!(!page.contains("<figcaption>exp"), "two sizes are no sweep");
}

#[test]
fn what_records_hold_is_escaped() {
    let evil = "<script>alert('x')</script>&\"";
    let mut made = Synthetic::new();
    for field in ["cpu", "what", "kernel", "compiler", "commit", "isa", "clock", "date"] {
        made.machine[field] = json!(evil);
    }
    made.machine["features"] = json!([evil]);
    made.machine["peers"] = json!({evil: evil});
    made.lines.push(json!({"kind": "ceiling", "name": format!("flops/f32/{evil}"), "rate": 1e9}));
    // An id has four parts, so its slashes must go.
    let part = evil.replace('/', "");
    for size in ["1x1x1", "2x2x2", "3x3x3"] {
        for who in ["avx512", &part] {
            let id = format!("gemm/f32/{size}/{who}");
            made = made.with(&id, 1e-6, |row| row["warning"] = json!(evil));
        }
        made = made.row(&format!("{part}/{part}/{part}{size}/avx512"), 1e-6);
    }
    let records = [made.named(&format!("{evil}.jsonl")), made.named("second.jsonl")];
    let page = report::html::page(&records, Some(&records[1]));
    assert!(page.contains("&lt;script&gt;"), "nothing was there to be escaped");
    assert_balanced(&page);
    assert_self_contained(&page);
}

#[test]
fn extreme_numbers_give_a_whole_page() {
    let mut made = Synthetic::new();
    for (n, time) in [1e-12, 1e-9, 1.0, 80_000.0].into_iter().enumerate() {
        let huge = |row: &mut serde_json::Value| {
            row["flops"] = json!(u64::MAX);
            row["bytes"] = json!(u64::MAX - n as u64);
            row["ratio"] = json!(1e8);
            row["roofline"] = json!(1e8);
        };
        made = made.with(&format!("gemm/f32/{0}x{0}x{0}/avx512", n + 1), time, huge);
        made = made.row(&format!("gemm/f32/{0}x{0}x{0}/mkl", n + 1), 80_000.0 - time / 2.0);
        made = made.row(&format!("exp/f32/{n}/avx512"), time);
    }
    made = made.row("gemm/f32/0x0x0/avx512", 1e-9).row("exp/f32/-3/avx512", 1e-9);
    let page = report::html::page(&[made.record()], None);
    assert_balanced(&page);
    for wrong in ["NaN", "inf\"", "inf "] {
        assert!(!page.contains(wrong), "the page contains {wrong}");
    }
}
