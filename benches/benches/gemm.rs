//! `cargo bench --bench gemm`

use criterion::Criterion;
use tilewise_benches::cases::gemm::{cases, shapes};
use tilewise_benches::{configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, cases::<f32>(&shapes()));
    register(&mut criterion, cases::<f64>(&shapes()));
    criterion.final_summary();
}
