//! `cargo bench --bench training_step`

use criterion::Criterion;
use tilewise_benches::{cases::training_step, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, training_step::cases::<f32>());
    register(&mut criterion, training_step::cases::<f64>());
    criterion.final_summary();
}
