//! `cargo bench --bench batch_norm`

use criterion::Criterion;
use tilewise_benches::{cases::batch_norm, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, batch_norm::cases::<f32>());
    register(&mut criterion, batch_norm::cases::<f64>());
    criterion.final_summary();
}
