//! Which instruction sets can run here, slowest first; the last one is used.
//!
//! `cargo run -p tilewise-kernels --example isa`

use std::process::ExitCode;

use tilewise_kernels::{available, available_for_halves};

fn main() -> ExitCode {
    match available().and_then(|paths| Ok([paths, available_for_halves()?])) {
        Ok(lists) => {
            for (what, paths) in ["isa", "products of halves"].into_iter().zip(lists) {
                let names: Vec<_> = paths.iter().map(|isa| isa.name()).collect();
                println!("{what}: {}", names.join(" "));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
