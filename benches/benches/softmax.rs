//! `cargo bench --bench softmax`

use criterion::Criterion;
use tilewise_benches::{cases::softmax, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, softmax::cases::<f32>());
    register(&mut criterion, softmax::cases::<f64>());
    criterion.final_summary();
}
