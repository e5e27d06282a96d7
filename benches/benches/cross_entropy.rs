//! `cargo bench --bench cross_entropy`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::CrossEntropy);
}
