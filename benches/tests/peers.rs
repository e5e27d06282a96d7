//! Who can run what; and native libraries that are not there, or not what they seem: each is named with
//! what is wrong, and the rest runs.
#![cfg(all(feature = "peers", target_os = "linux"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tilewise_benches::{Native, PEERS_VARIABLE, RustCrate};

/// Where the suite first looks for each library, and what it first misses in another.
const FILES: [(&str, &str, &str); 5] = [
    ("mkl", "libmkl_rt.so.3", "cblas_sgemm"),
    ("openblas", "libscipy_openblas.so", "scipy_cblas_sgemm"),
    ("blis", "libblis.so.4", "cblas_sgemm"),
    ("libxsmm", "libxsmm.so.1", "libxsmm_smmdispatch"),
    ("onednn", "libdnnl.so.3", "dnnl_version"),
];

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // From a run before.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

/// Compares a small product on every path's behalf, with the libraries of that directory.
fn compare(libraries: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(["gemm", "--quick", "--sizes", "16", "--rounds", "1"]);
    command.env(PEERS_VARIABLE, libraries).output().expect("a program that was built for this test")
}

/// Checks that each library is named as `why` says, and that the crates have run.
fn check(output: &Output, why: impl Fn(&str, &str) -> String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{all}");
    for (name, file, missing) in FILES {
        let said = format!("{name}: {}", why(file, missing));
        assert!(text.lines().any(|line| line.starts_with(&said)), "expected {said:?} in\n{all}");
        let row = format!("gemm/f32/16x16x16 {name} ");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!text.lines().any(|line| words(line).starts_with(&row)), "{name} has run\n{all}");
    }
    for name in ["gemm", "matrixmultiply"] {
        let row = |line: &str| line.starts_with("gemm/f32/16x16x16") && line.contains(name);
        assert!(text.lines().any(row), "no row of {name} in\n{all}");
    }
}

#[test]
fn libraries_without_the_functions_are_named_with_what_they_lack() {
    // This program has the C library mapped already, whatever its path.
    let maps = fs::read_to_string("/proc/self/maps").expect("a system that tells");
    let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let libc = libc.into_iter().find(|path| path.contains("libc.so")).expect("a shared C library");
    let libraries = directory("without-functions");
    for (_, file, _) in FILES {
        symlink(libc, libraries.join(file)).expect("a link in an own directory");
    }
    check(&compare(&libraries), |file, missing| format!("{file} has no {missing}"));
}

#[test]
fn files_that_are_no_libraries_are_named_as_such() {
    let libraries = directory("no-libraries");
    for (_, file, _) in FILES {
        fs::write(libraries.join(file), "not a library\n").expect("a file in an own directory");
    }
    check(&compare(&libraries), |_, _| "could not be opened: ".into());
}

#[test]
fn without_directories_each_is_absent_or_the_systems() {
    let output = compare(&directory("empty"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for (name, ..) in FILES {
        let said = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let said = said.unwrap_or_else(|| panic!("{name} is not named in\n{text}"));
        let ran = |line: &str| line.starts_with("gemm/f32/16x16x16") && line.contains(name);
        assert_eq!(text.lines().any(ran), said != "absent", "{name}: {said}\n{text}");
    }
}

#[test]
fn everybody_knows_what_he_can_do() {
    let knows = |native: Native, case: &str| native.knows(case);
    for native in Native::ALL {
        assert!(knows(native, "gemm/f32/64x64x64"), "{}", native.name());
        for case in
            ["gemm/f32", "gemm/f32/64", "gemm/f32/x64x64", "", "exp/f32/4096", "gemm/i8/8x8x8"]
        {
            assert!(!knows(native, case), "{} and {case:?}", native.name());
        }
    }
    assert!(
        !knows(Native::OneDnn, "gemm/f64/64x64x64") && knows(Native::Blis, "gemm/f64/8x8x8-tt")
    );
    assert!(knows(Native::Mkl, "gemm/bf16/64x64x64") && !knows(Native::Blis, "gemm/f16/64x64x64"));
    // One short side, and the right operand as it lies.
    assert!(knows(Native::LibXsmm, "gemm/f64/64x25x12288"));
    assert!(knows(Native::LibXsmm, "gemm/f32/10x256x128-tn"));
    assert!(!knows(Native::LibXsmm, "gemm/f32/256x256x256"));
    assert!(!knows(Native::LibXsmm, "gemm/f32/128x784x512-nt"));
    // A fused ReLU's gradient needs the forward pass.
    assert!(knows(Native::OneDnn, "batch_norm/f32/512x1024-relu"));
    assert!(!knows(Native::OneDnn, "batch_norm_backward/f32/512x1024-relu"));
    assert!(knows(Native::OneDnn, "batch_norm_backward/f32/32x64x56x56-nchw"));
    assert!(
        !knows(Native::OneDnn, "log_softmax/f64/128x10")
            && !knows(Native::Mkl, "softmax/f32/128x10")
    );
}

#[test]
fn crates_run_where_they_were_built_in() {
    for (rust, built) in
        [(RustCrate::Gemm, cfg!(feature = "peers")), (RustCrate::Faer, cfg!(feature = "all-peers"))]
    {
        assert_eq!(rust.can("gemm/f32/64x64x64", 2), built);
        match rust.version() {
            Ok(version) => assert!(built && version.starts_with("0."), "{version}"),
            Err(why) => assert!(!built && why.contains("needs the feature"), "{why}"),
        }
    }
    assert!(!RustCrate::MatrixMultiply.can("gemm/f32/64x64x64", 2));
    assert!(!RustCrate::NanoGemm.can("gemm/f32/64x64x65", 1));
    assert!(!RustCrate::Gemm.can("gemm/bf16/64x64x64", 1));
}
