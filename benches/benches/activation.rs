//! `cargo bench --bench activation`

use criterion::Criterion;
use tilewise_benches::{cases::activation, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, activation::cases::<f32>());
    register(&mut criterion, activation::cases::<f64>());
    criterion.final_summary();
}
