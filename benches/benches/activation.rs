//! `cargo bench --bench activation`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Activation);
}
