//! `cargo bench --bench reduce`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Reduce);
}
