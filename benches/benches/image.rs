//! `cargo bench --bench image`

fn main() {
    tilewise_benches::bench(tilewise_benches::cases::Family::Image);
}
