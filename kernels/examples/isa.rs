//! Which instruction sets can run here, slowest first; the last one is used.
//!
//! `cargo run -p tilewise-kernels --example isa`

use std::process::ExitCode;

fn main() -> ExitCode {
    match tilewise_kernels::available() {
        Ok(paths) => {
            let names: Vec<_> = paths.iter().map(|isa| isa.name()).collect();
            println!("isa: {}", names.join(" "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
