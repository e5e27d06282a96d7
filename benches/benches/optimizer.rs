//! `cargo bench --bench optimizer`

use criterion::Criterion;
use tilewise_benches::{cases::optimizer, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, optimizer::cases::<f32>());
    register(&mut criterion, optimizer::cases::<f64>());
    criterion.final_summary();
}
