//! `TILEWISE_MAX_ISA` and `TILEWISE_REQUIRE_ISA` are read once per process: each case gets one.

use std::process::{Command, Output};

use tilewise_kernels::{Exec, Gemm, ISA_NAMES, MAX_ISA_VARIABLE, MatMut, MatRef, available, bf16};
use tilewise_tests::isas::{REQUIRE_VARIABLE, each_isa};

/// Runs one of the ignored tests below in a process of its own with the given variables.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let this = std::env::current_exe().expect("the path of this test");
    let mut command = Command::new(this);
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.env_remove(MAX_ISA_VARIABLE).env_remove(REQUIRE_VARIABLE);
    command.envs(variables.iter().copied()).output().expect("this test can be started")
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn a_wrong_cap_is_a_clear_error_of_every_operation() {
    let output = child("reports_an_operation", &[(MAX_ISA_VARIABLE, "avx1024")]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in ["TILEWISE_MAX_ISA", "expected one of portable", "avx1024", "nothing written"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_cap_leaves_the_slower_paths() {
    let output = child("reports_an_operation", &[(MAX_ISA_VARIABLE, "portable")]);
    let text = text(&output);
    assert!(output.status.success() && text.contains("ran on [\"portable\"]"), "{text}");
}

/// The path that a product of halves takes under a cap.
fn halves_run_on(cap: &str) -> String {
    let output = child("multiplies_halves", &[(MAX_ISA_VARIABLE, cap)]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let found = text.lines().find_map(|line| line.strip_prefix("halves on "));
    found.unwrap_or_else(|| panic!("no path in: {text}")).to_owned()
}

/// Tiles are a path of their own: capped, products of halves run on vectors, and everything else
/// never left them.
#[test]
fn products_of_halves_run_without_tiles() {
    let rank = |name: &str| ISA_NAMES.iter().position(|&known| known == name);
    let fastest = halves_run_on(ISA_NAMES[ISA_NAMES.len() - 1]);
    for cap in ISA_NAMES {
        let found = halves_run_on(cap);
        assert_eq!(rank(&found), rank(cap).min(rank(&fastest)), "{found} under {cap}");
    }
}

#[test]
fn a_required_path_that_is_capped_fails_loudly() {
    let Some(fastest) = ISA_NAMES.iter().skip(1).next_back() else { return };
    let variables = [(MAX_ISA_VARIABLE, "portable"), (REQUIRE_VARIABLE, *fastest)];
    let output = child("runs_on_every_path", &variables);
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(&format!("{fastest} is required")), "{text}");
}

#[test]
#[ignore = "run by the tests above in processes of their own"]
fn reports_an_operation() {
    let mut y = [7.0f32; 3];
    let outcome = tilewise_kernels::exp(&[0.0; 3], &mut y);
    match outcome {
        Ok(()) => {
            let names: Vec<_> = available().unwrap().iter().map(|isa| isa.name()).collect();
            assert_eq!(Exec::default().path().unwrap().name(), names[names.len() - 1]);
            println!("ran on {names:?}");
        }
        Err(error) if y == [7.0; 3] => println!("{error}; nothing written"),
        Err(error) => panic!("{error}, after something was written"),
    }
}

#[test]
#[ignore = "run by the tests above in processes of their own"]
fn multiplies_halves() {
    let ones = [bf16::ONE; 40 * 40];
    let view = MatRef::new(&ones, 40, 40).unwrap();
    let gemm = Gemm::new(view, view).unwrap();
    println!("\nhalves on {}", gemm.plan(Exec::default()).unwrap().isa());
    let mut c = [f32::NAN; 40 * 40];
    gemm.run(MatMut::new(&mut c, 40, 40).unwrap(), Exec::default()).unwrap();
    assert_eq!(c, [40.0; 40 * 40]);
    assert!(available().unwrap().iter().all(|isa| isa.name() != "amx"));
}

#[test]
#[ignore = "run by the tests above in processes of their own"]
fn runs_on_every_path() {
    each_isa(|_| {});
}
