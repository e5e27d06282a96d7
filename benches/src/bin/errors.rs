//! How far products of `f32` are from those in `f64`: ours at every precision, and those of the libraries that
//! are here. Prints the table of `docs/numerics.md`.

use tilewise_benches::peers::{self, Peer};
use tilewise_benches::{Native, RustCrate};
use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, Precision, Result};
use tilewise_tests::scaled::{KINDS, SIDE, Scaled};

const PRECISIONS: [Precision; 4] =
    [Precision::F32, Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];

fn main() -> Result<()> {
    let natives = [Native::Mkl, Native::OpenBlas, Native::OneDnn].map(Peer::Native);
    let others: Vec<Peer> = natives.into_iter().chain([Peer::Crate(RustCrate::Gemm)]).collect();
    let others: Vec<Peer> = others.into_iter().filter(|&peer| is_here(peer)).collect();
    let names = PRECISIONS.map(|precision| precision.to_string()).into_iter();
    let names: Vec<String> = names.chain(others.iter().map(Peer::to_string)).collect();
    println!("| values | k | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (name, draw) in KINDS {
        for k in [64, 256, 1024, 4096, 16384] {
            let values = Scaled::new(k, draw);
            let (a, b) = (MatRef::new(&values.a, SIDE, k)?, MatRef::new(&values.b, k, SIDE)?);
            let mut errors = Vec::new();
            for precision in PRECISIONS {
                let mut c = [f32::NAN; SIDE * SIDE];
                let product = Gemm::new(a, b)?.precision(precision).batch_invariant(true);
                product.run(MatMut::new(&mut c, SIDE, SIDE)?, Exec::serial())?;
                errors.push(values.error(&c));
            }
            for &peer in &others {
                let mut c = [f32::NAN; SIDE * SIDE];
                peers::multiply(peer, a, b, MatMut::new(&mut c, SIDE, SIDE)?, 1);
                errors.push(values.error(&c));
            }
            let errors: Vec<String> = errors.iter().map(|error| format!("{error:.2e}")).collect();
            println!("| {name} | {k} | {} |", errors.join(" | "));
        }
    }
    Ok(())
}

/// Whether it can be asked, on one thread.
fn is_here(peer: Peer) -> bool {
    match peer {
        Peer::Native(native) => native.version(1).is_ok(),
        Peer::Crate(rust) => rust.version().is_ok(),
    }
}
