//! `cargo bench --bench vector_math`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::VectorMath);
}
