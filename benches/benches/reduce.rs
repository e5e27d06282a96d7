//! `cargo bench --bench reduce`

use criterion::Criterion;
use tilewise_benches::{cases::reduce, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, reduce::cases::<f32>());
    register(&mut criterion, reduce::cases::<f64>());
    criterion.final_summary();
}
