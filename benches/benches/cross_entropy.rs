//! `cargo bench --bench cross_entropy`

use criterion::Criterion;
use tilewise_benches::{cases::cross_entropy, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, cross_entropy::cases::<f32>());
    register(&mut criterion, cross_entropy::cases::<f64>());
    criterion.final_summary();
}
