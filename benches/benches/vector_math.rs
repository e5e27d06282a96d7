//! `cargo bench --bench vector_math`

use criterion::Criterion;
use tilewise_benches::{cases::vector_math, configured, register};

fn main() {
    let mut criterion: Criterion = configured().configure_from_args();
    register(&mut criterion, vector_math::cases::<f32>());
    register(&mut criterion, vector_math::cases::<f64>());
    criterion.final_summary();
}
