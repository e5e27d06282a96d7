//! `cargo bench --bench optimizer`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Optimizer);
}
