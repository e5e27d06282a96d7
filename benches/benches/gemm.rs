//! `cargo bench --bench gemm`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Gemm);
}
