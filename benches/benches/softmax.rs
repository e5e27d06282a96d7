//! `cargo bench --bench softmax`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Softmax);
}
