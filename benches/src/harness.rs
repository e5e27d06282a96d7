//! From cases to criterion.

use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::case::{Case, Work, Workload};
use crate::cases::{Dtype, Family};

/// The criterion suite of a family, with criterion's command line.
pub fn bench(family: Family) {
    let mut criterion = configured().configure_from_args();
    for dtype in Dtype::ALL {
        register(&mut criterion, family.cases(dtype));
    }
    criterion.final_summary();
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
