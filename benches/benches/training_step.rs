//! `cargo bench --bench training_step`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::TrainingStep);
}
