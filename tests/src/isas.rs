//! The paths that tests run on.

use tilewise_kernels::{ISA_NAMES, Isa, available, available_for_halves};

/// A comma-separated list of paths that must be there, so that a machine without one fails the
/// tests instead of quietly testing less.
pub const REQUIRE_VARIABLE: &str = "TILEWISE_REQUIRE_ISA";

/// Runs `test` on every available path and says which ones those were.
///
/// # Panics
/// If a path named by `TILEWISE_REQUIRE_ISA` is not among them, or among those for halves.
pub fn each_isa(test: impl Fn(Isa)) {
    each_of(available(), test);
}

/// The same on every path of products of half-precision matrices.
///
/// # Panics
/// If a path named by `TILEWISE_REQUIRE_ISA` is not among them.
pub fn each_isa_for_halves(test: impl Fn(Isa)) {
    each_of(available_for_halves(), test);
}

fn each_of(isas: tilewise_kernels::Result<&[Isa]>, test: impl Fn(Isa)) {
    let there = available_for_halves().unwrap_or_else(|error| panic!("{error}"));
    if let Err(missing) = required(std::env::var(REQUIRE_VARIABLE).ok().as_deref(), there) {
        panic!("{missing}");
    }
    for &isa in isas.unwrap_or_else(|error| panic!("{error}")) {
        println!("on {isa}");
        test(isa);
    }
}

fn required(list: Option<&str>, isas: &[Isa]) -> Result<(), String> {
    for name in list.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !ISA_NAMES.contains(&name) {
            let known = ISA_NAMES.join(", ");
            return Err(format!("{REQUIRE_VARIABLE}: expected some of {known}, got {name:?}"));
        }
        if !isas.iter().any(|isa| isa.name() == name) {
            let found: Vec<_> = isas.iter().map(|isa| isa.name()).collect();
            let found = found.join(", ");
            return Err(format!(
                "{REQUIRE_VARIABLE}: {name} is required, but only {found} run here"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_path_must_be_there() {
        let portable = &available().unwrap()[..1];
        assert_eq!(required(None, portable), Ok(()));
        assert_eq!(required(Some("portable"), portable), Ok(()));
        assert!(required(Some("avx1024"), portable).unwrap_err().contains("avx1024"));
        if let Some(last) = ISA_NAMES.iter().skip(1).next_back() {
            assert!(required(Some(&format!("portable, {last}")), portable).is_err());
        }
    }
}
