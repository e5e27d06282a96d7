//! What the report makes of numbers that can be worked out by hand.

use serde_json::json;
use tilewise_benches::record::Record;
use tilewise_benches::report::{self, Duel, Outcome, Standing};

use crate::synthetic::{Synthetic, everything};

fn close(got: Option<f64>, expected: f64) {
    let got = got.expect("a number");
    assert!((got / expected - 1.0).abs() < 1e-12, "expected {expected}, got {got}");
}

/// The only duel of a record.
fn only(record: &Record) -> Duel<'_> {
    let mut duels = report::duels(record);
    assert_eq!(duels.len(), 1);
    duels.remove(0)
}

#[test]
fn the_ratio_is_to_the_best_of_the_others() {
    let made = Synthetic::new()
        .row("gemm/f32/64x64x64/avx512", 2e-6)
        .row("gemm/f32/64x64x64/mkl", 3e-6)
        .row("gemm/f32/64x64x64/gemm", 5e-6)
        .row("gemm/f32/64x64x64/naive", 1e-6);
    let record = made.record();
    let duel = only(&record);
    assert_eq!(duel.peer.expect("a peer").implementation(), "mkl");
    close(duel.ratio(), 1.5);
    // The naive twin does not replace a library, not even a slower one.
    close(duel.against_naive(), 0.5);
    assert!(!duel.is_with_naive());
}

#[test]
fn packed_operands_count_for_nobody() {
    let made = Synthetic::new()
        .row("gemm/f32/64x64x64/avx512", 2e-6)
        .row("gemm/f32/64x64x64/avx512-packed", 1e-6)
        .row("gemm/f32/64x64x64/mkl-packed", 1e-7)
        .row("gemm/f32/64x64x64/mkl", 3e-6);
    let record = made.record();
    close(only(&record).ratio(), 1.5);
    // Nor where there is nothing else of ours.
    let packed = Synthetic::new()
        .row("gemm/f32/64x64x64/avx512-packed", 1e-6)
        .row("gemm/f32/64x64x64/mkl", 3e-6);
    assert!(report::duels(&packed.record()).is_empty());
}

#[test]
fn the_naive_twin_counts_only_where_nobody_else_ran() {
    let made = Synthetic::new().row("sum/f32/4096/avx512", 2e-6).row("sum/f32/4096/naive", 8e-6);
    let record = made.record();
    let duel = only(&record);
    assert!(duel.is_with_naive());
    close(duel.ratio(), 4.0);
    assert_eq!(duel.against_peer(), None);
}

#[test]
fn ours_is_the_path_that_programs_get_and_not_the_luckiest() {
    let made = Synthetic::new()
        .row("gemm/f32/64x64x64/avx2", 1e-6)
        .row("gemm/f32/64x64x64/avx512", 2e-6)
        .row("gemm/f32/64x64x64/portable", 1e-7)
        .row("gemm/f32/64x64x64/mkl", 2e-6);
    close(only(&made.record()).ratio(), 1.0);
}

#[test]
fn more_threads_are_compared_with_everybody() {
    let threads = |row: &mut serde_json::Value| row["threads"] = json!(4);
    let made = Synthetic::new()
        .row("gemm/f32/64x64x64/avx512", 1e-6)
        .with("gemm/f32/64x64x64/avx512-4threads", 2e-6, threads)
        .with("gemm/f32/64x64x64/mkl-4threads", 4e-6, threads)
        .row("gemm/f32/64x64x64/matrixmultiply", 3e-6);
    close(only(&made.record()).ratio(), 1.5);
}

#[test]
fn the_recorded_ratio_counts_where_it_is_to_the_same_peer() {
    let case = |naive: f64| {
        Synthetic::new()
            .with("gemm/f32/8x8x8/avx512", 2e-6, |row| row["ratio"] = json!(1.4))
            .row("gemm/f32/8x8x8/mkl", 3e-6)
            .row("gemm/f32/8x8x8/naive", naive)
            .record()
    };
    close(only(&case(9e-6)).ratio(), 1.4);
    // Round by round the best was the naive twin: that ratio is not to a library.
    close(only(&case(2.8e-6)).ratio(), 1.5);
}

#[test]
fn a_ratio_that_the_medians_contradict_earns_a_warning() {
    let case = |ratio: f64| {
        let made = Synthetic::new()
            .with("gemm/f32/8x8x8/avx512", 2e-6, |row| row["ratio"] = json!(ratio))
            .row("gemm/f32/8x8x8/mkl", 3e-6);
        only(&made.record()).warning()
    };
    assert_eq!(case(1.5), None);
    assert!(case(3.0).expect("a warning").contains("medians 1.50"));
}

#[test]
fn outcomes_follow_the_quartiles() {
    let case = |peer: f64, upper: f64| {
        let made = Synthetic::new().row("gemm/f32/8x8x8/avx512", 2e-6).with(
            "gemm/f32/8x8x8/mkl",
            peer,
            |row| row["upper"] = json!(upper),
        );
        only(&made.record()).outcome()
    };
    assert_eq!(case(3e-6, 3e-6), Some(Outcome::Faster));
    assert_eq!(case(1e-6, 1.1e-6), Some(Outcome::Slower));
    assert_eq!(case(1.5e-6, 1.99e-6), Some(Outcome::Level));
}

#[test]
fn means_are_geometric() {
    let made = Synthetic::new()
        .row("gemm/f32/8x8x8/avx512", 1e-6)
        .row("gemm/f32/8x8x8/mkl", 2e-6)
        .row("gemm/f32/16x16x16/avx512", 1e-6)
        .row("gemm/f32/16x16x16/mkl", 8e-6)
        .row("sum/f32/8/avx512", 1e-6)
        .row("sum/f32/8/naive", 100e-6);
    let record = made.record();
    let duels = report::duels(&record);
    let all = Standing::of(&duels);
    let (mean, cases) = all.against_peers().expect("a mean");
    close(Some(mean), 4.0);
    assert_eq!(cases, 2, "the case without a library must not raise the mean");
    let (worst, best) = all.with_peers().extremes().expect("cases");
    assert_eq!((worst.case, best.case), ("gemm/f32/8x8x8", "gemm/f32/16x16x16"));
    assert_eq!(report::mean(std::iter::empty()), None);
}

#[test]
fn operations_find_their_families() {
    let made = [
        "gemm/f32/8x8x8",
        "gemm/f64/8x8x8",
        "batch_norm_backward/f32/64x256",
        "row_sums/f32/8x8",
        "cross_entropy_loss/f32/8x8",
        "convert/f32-bf16/100",
        "training_step/f32-as-bf16x6/128x784-512-256-10",
        "dance/f32/8",
    ];
    let made =
        made.iter().fold(Synthetic::new(), |made, case| made.row(&format!("{case}/avx512"), 1e-6));
    let record = made.record();
    let duels = report::duels(&record);
    let names: Vec<String> =
        report::standings(&duels).into_iter().map(|(family, _)| family.name).collect();
    let expected = [
        "matrix products",
        "matrix products, f64",
        "training steps, f32 as bf16x6",
        "batch normalisation",
        "losses on logits",
        "reductions",
        "conversions",
        "dance",
    ];
    assert_eq!(names, expected);
}

#[test]
fn paths_are_compared_over_common_cases() {
    let made = Synthetic::new()
        .row("exp/f32/8/avx512", 1e-6)
        .row("exp/f32/8/avx2", 2e-6)
        .row("exp/f32/8/naive", 8e-6)
        .row("exp/f32/16/avx512", 1e-6)
        .row("exp/f32/16/avx2", 8e-6)
        .row("exp/f32/16/naive", 32e-6)
        .row("exp/f32/32/avx512", 1e-6)
        .row("exp/f32/32/naive", 1.0);
    let paths = report::paths(&made.record()).expect("several paths");
    assert_eq!(paths.columns, ["naive", "avx2", "avx512"]);
    let [(family, cases, gains)] = &paths.rows[..] else { panic!("{:?}", paths.rows) };
    assert_eq!((family.name.as_str(), *cases), ("elementary functions", 2));
    for (gain, expected) in gains.iter().zip([1.0, 4.0, 16.0]) {
        close(*gain, expected);
    }
    let one = Synthetic::new().row("exp/f32/8/avx512", 1e-6).row("exp/f32/8/mkl", 2e-6);
    assert!(report::paths(&one.record()).is_none());
}

#[test]
fn records_stand_side_by_side_over_common_cases() {
    let record = |factor: f64| {
        Synthetic::new()
            .row("gemm/f32/8x8x8/avx512", 1e-6 * factor)
            .row("gemm/f32/8x8x8/mkl", 2e-6)
            .row("gemm/f32/16x16x16/avx512", 4e-6 * factor)
            .row("gemm/f32/16x16x16/mkl", 2e-6)
    };
    let more = record(0.5).row("sum/f32/8/avx512", 1.0).row("sum/f32/8/naive", 2.0);
    let first = record(1.0).row("exp/f32/8/avx512", 1.0).row("exp/f32/8/naive", 50.0);
    let more = more.row("exp/f32/8/avx512", 0.5).row("exp/f32/8/naive", 50.0);
    let comparison = report::comparison(&[first.record(), more.record()]);
    assert_eq!((comparison.rows.len(), comparison.common), (4, 3));
    // The naive twin does not raise the mean of the ratios to libraries.
    for (got, expected) in comparison.ratios.iter().zip([1.0, 2.0]) {
        close(*got, expected);
    }
    for (got, expected) in comparison.speeds.iter().zip([1.0, 2.0]) {
        close(*got, expected);
    }
}

/// `everything` with times multiplied where the id says so.
fn slowed(who: impl Fn(&str) -> bool, factor: f64) -> Record {
    let mut made = everything();
    for line in &mut made.lines {
        if line["id"].as_str().is_some_and(&who) {
            for field in ["median", "lower", "upper"] {
                line[field] = json!(line[field].as_f64().expect("a time") * factor);
            }
        }
    }
    made.record()
}

#[test]
fn a_planted_regression_is_flagged_and_nothing_else() {
    let new = slowed(|id| id == "gemm/f32/64x64x64/avx512", 1.2);
    let found = report::regressions(&new, &everything().record());
    let [line] = &found[..] else { panic!("{found:?}") };
    assert!(line.starts_with("gemm/f32/64x64x64/avx512: 0.83 of its former speed"), "{line}");
    assert!(report::comparable(&new, &everything().record()) > 10);
}

#[test]
fn noise_is_no_regression() {
    let old = everything().record();
    let none = Vec::<String>::new();
    assert_eq!(report::regressions(&old, &old), none);
    // The whole machine is slower.
    assert_eq!(report::regressions(&slowed(|_| true, 1.5), &old), none);
    // Less than a twentieth.
    assert_eq!(report::regressions(&slowed(|id| id.ends_with("/avx512"), 1.04), &old), none);
    // As much as before the fix, but the samples lie that far apart.
    let mut wide = everything();
    for line in &mut wide.lines {
        if line["id"] == json!("gemm/f32/64x64x64/avx512") {
            let median = line["median"].as_f64().expect("a time");
            (line["median"], line["upper"]) = (json!(median * 1.2), json!(median * 1.7));
        }
    }
    assert_eq!(report::regressions(&wide.record(), &old), none);
}

#[test]
fn the_noise_of_a_machine_is_said() {
    let quiet = everything();
    assert!(report::noise(&quiet.record()).contains("was quiet"));
    let mut spread = quiet.clone();
    for line in &mut spread.lines {
        if let Some(median) = line["median"].as_f64() {
            line["upper"] = json!(median * 1.3);
        }
    }
    assert!(report::noise(&spread.record()).contains("noisy"));
    let mut stolen = quiet;
    stolen.lines.push(json!({"kind": "noise", "steal": 0.4, "spread": 0.01, "probes": 90}));
    assert!(report::noise(&stolen.record()).contains("other machines took 40 %"));
}
