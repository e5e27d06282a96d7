//! `cargo bench --bench batch_norm`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::BatchNorm);
}
