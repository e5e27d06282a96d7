//! From cases to criterion.

use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::case::{Case, Work, Workload};
use crate::cases::{Dtype, Family};

/// The criterion suite of a family, with criterion's command line.
pub fn bench(family: Family) {
    if let Some(filter) = filter(std::env::args().skip(1)).filter(|filter| !is_known(filter)) {
        // criterion runs nothing then, and says nothing.
        eprintln!(
            "no id contains {filter:?}: they are <op>/<dtype>/<shape>/<implementation>, with operations {}",
            operations().join(", ")
        );
        std::process::exit(1);
    }
    let mut criterion = configured().configure_from_args();
    for dtype in Dtype::ALL {
        register(&mut criterion, family.cases(dtype));
    }
    criterion.final_summary();
}

/// Options of criterion that take the next argument as their value.
const WITH_VALUE: [&str; 15] = [
    "--baseline",
    "--baseline-lenient",
    "--color",
    "--colour",
    "--confidence-level",
    "--load-baseline",
    "--measurement-time",
    "--noise-threshold",
    "--nresamples",
    "--output-format",
    "--plotting-backend",
    "--sample-size",
    "--save-baseline",
    "--significance-level",
    "--warm-up-time",
];

/// The text that ids must contain, if the command line has one.
fn filter(arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut is_value = false;
    let mut positional = arguments.filter(|argument| {
        let skipped = std::mem::replace(&mut is_value, WITH_VALUE.contains(&argument.as_str()));
        !skipped && !argument.starts_with('-')
    });
    positional.next()
}

/// Whether any id contains `filter`, or cannot be known to contain it because it is a pattern.
fn is_known(filter: &str) -> bool {
    let is_pattern = filter.contains(|c: char| "\\^$.|?*+()[]{}".contains(c));
    let threads = rayon::current_num_threads();
    let contains = |case: Case| {
        let id = |by| format!("{}/{by}", case.id);
        case.id.contains(filter)
            || case.implementations(threads).into_iter().any(|by| id(by).contains(filter))
    };
    is_pattern || every_case().any(contains)
}

fn every_case() -> impl Iterator<Item = Case> {
    let of = |dtype| Family::ALL.into_iter().flat_map(move |family| family.cases(dtype));
    Dtype::ALL.into_iter().flat_map(of)
}

/// The first parts of all ids.
fn operations() -> Vec<String> {
    let op = |case: Case| case.id.split('/').next().unwrap_or_default().to_owned();
    let all: std::collections::BTreeSet<_> = every_case().map(op).collect();
    all.into_iter().collect()
}

/// Criterion with short runs: the suite has hundreds of entries, and noise here comes from the
/// machine's other work, which longer runs do not average away.
fn configured() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

/// Registers every implementation of every case, as `<op>/<dtype>/<shape>/<implementation>`.
/// Buffers are made, and results verified, only for entries that the command line selects.
fn register(criterion: &mut Criterion, cases: Vec<Case>) {
    for case in cases {
        let mut group = criterion.benchmark_group(&case.id);
        group.throughput(match case.work {
            Work::Flops(count) => Throughput::Elements(count),
            Work::Bytes(count) => Throughput::Bytes(count),
        });
        let mut prepared: Option<Box<dyn Workload>> = None;
        for by in case.implementations(rayon::current_num_threads()) {
            let mut verified = false;
            group.bench_function(by.to_string(), |bencher| {
                let workload = prepared.get_or_insert_with(|| case.prepare());
                if !verified {
                    workload.verify(by);
                    verified = true;
                }
                bencher.iter(|| workload.run(by));
            });
        }
        group.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(line: &str) -> Option<String> {
        filter(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_filter_is_the_first_argument_that_is_no_option_nor_its_value() {
        assert_eq!(filter_of("--bench"), None);
        assert_eq!(filter_of("--bench gemm/f32"), Some("gemm/f32".into()));
        assert_eq!(filter_of("--save-baseline new softmax --quick"), Some("softmax".into()));
        assert_eq!(filter_of("--sample-size 10"), None);
    }

    #[test]
    fn ids_are_known_in_part_and_in_whole() {
        for known in ["gemm/f32", "/naive", "adam/f32", "gemm/f32/512x512x512/portable", "gemm/.*"]
        {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["gemm/f33", "gem/f32/512", "softmax/f32/1x"] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }
}
