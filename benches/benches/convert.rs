//! `cargo bench --bench convert`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Convert);
}
