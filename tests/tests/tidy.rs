//! The house rules: which room may hold what, how long things get, and that every operation has its
//! naive twin, its oracle, its benchmark and, where listed, its fuzz target.

use std::collections::BTreeSet;

use tilewise_tests::source::Source;

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;
/// About five; one more for the free function of an operation with two outputs.
const MAX_PARAMETERS: usize = 6;

/// The rooms that may hold `unsafe`: a directory ends in `/`.
const UNSAFE_ROOMS: [&str; 23] = [
    // Instructions that have no stable intrinsics.
    "benches/src/ceilings/amx.rs",
    // An allocator that counts, for a test.
    "nn/tests/allocations.rs",
    // The peers' own interfaces are unsafe.
    "benches/src/peers/",
    "kernels/src/simd/",
    "kernels/src/dispatch.rs",
    "kernels/src/gemm/batched.rs",
    "kernels/src/gemm/pack.rs",
    "kernels/src/gemm/driver.rs",
    "kernels/src/gemm/microkernel.rs",
    "kernels/src/gemm/moments.rs",
    "kernels/src/gemm/dots.rs",
    "kernels/src/gemm/element.rs",
    "kernels/src/gemm/few.rs",
    "kernels/src/gemm/narrow.rs",
    "kernels/src/gemm/on_the_way.rs",
    "kernels/src/gemm/region.rs",
    "kernels/src/gemm/scatter.rs",
    "kernels/src/gemm/tile_table.rs",
    "kernels/src/gemm/gemv.rs",
    "kernels/src/gemm/amx/",
    "kernels/src/parallel.rs",
    "kernels/src/parallel/gate.rs",
    "kernels/src/buffer.rs",
];

/// What a room must not mention: (room, pattern in its code, why).
const FORBIDDEN: [(&str, &str, &str); 22] = [
    ("kernels/src/ops/", "core::arch", "operations are written in the vector vocabulary"),
    ("kernels/src/ops/", "std::arch", "operations are written in the vector vocabulary"),
    ("kernels/src/ops/", "cfg(target_", "operations do not know the target"),
    ("kernels/src/ops/", "target_feature", "operations do not know the target"),
    ("kernels/src/ops/", "Portable", "operations do not know the paths"),
    ("kernels/src/ops/", "Avx", "operations do not know the paths"),
    ("kernels/src/ops/", "avx", "operations do not know the paths"),
    ("kernels/src/ops/", "amx", "operations do not know the paths"),
    ("kernels/src/naive/", "Simd", "the specification is plain loops"),
    ("kernels/src/naive/", "dispatch", "the specification is plain loops"),
    ("kernels/src/naive/", "rayon", "the specification is plain loops"),
    ("kernels/src/simd/", "crate::ops", "imports point the other way"),
    ("kernels/src/simd/", "env::", "only dispatch reads the environment"),
    ("kernels/src/simd/", "rayon", "vectors know nothing of threads"),
    ("kernels/src/dispatch.rs", "crate::ops", "imports point the other way"),
    ("kernels/src/parallel.rs", "crate::ops", "imports point the other way"),
    ("kernels/src/buffer.rs", "crate::ops", "imports point the other way"),
    ("kernels/src/view.rs", "crate::ops", "imports point the other way"),
    ("kernels/src/error.rs", "crate::ops", "imports point the other way"),
    ("kernels/src/gemm/", "env::", "only dispatch reads the environment"),
    ("kernels/src/ops/", "env::", "only dispatch reads the environment"),
    ("nn/src/", "core::arch", "nn composes kernels"),
];

/// The only files of `gemm/` that may hold instructions.
const GEMM_ARCH: [&str; 2] = ["kernels/src/gemm/amx/tile.rs", "kernels/src/gemm/amx/tile_split.rs"];

/// Files of `ops/` that serve operations and are none: the table of them, loops over elements and along
/// rows, the search for a value outside its range, and where windows lie. Each is reached through those it serves.
const HELPERS: [&str; 7] = ["mod", "compiled", "elementwise", "rows", "range", "storage", "window"];

/// Operations with a fuzz target, and its name.
const FUZZED: [(&str, &str); 13] = [
    ("im2col", "im2col"),
    ("layer_norm", "layer_norm"),
    ("pool", "pool"),
    ("regression", "regression"),
    ("activation", "activation"),
    ("vector_math", "vector_math"),
    ("dropout", "dropout"),
    ("gemm", "gemm"),
    ("batch_norm", "batch_norm"),
    ("softmax", "log_softmax"),
    ("convert", "convert"),
    ("cross_entropy", "linear_cross_entropy"),
    ("optimizer", "optimizer_state"),
];

type Rule = fn(&[Source]) -> Vec<String>;

const RULES: [(&str, Rule); 8] = [
    ("unsafe stays in its rooms", unsafe_stays_in_its_rooms),
    ("rooms import what they may", rooms_import_what_they_may),
    ("files are short", files_are_short),
    ("functions are short", functions_are_short),
    ("functions take few arguments", functions_take_few_arguments),
    ("nothing is left for later", nothing_is_left_for_later),
    ("every operation is complete", every_operation_is_complete),
    ("nn forbids unsafe code", nn_forbids_unsafe_code),
];

#[test]
fn the_house_is_tidy() {
    let all = Source::workspace();
    assert!(all.len() > 20, "only {} source files found", all.len());
    let offences: Vec<String> = RULES
        .iter()
        .flat_map(|(name, rule)| {
            rule(&all).into_iter().map(move |found| format!("{name}: {found}"))
        })
        .collect();
    assert!(offences.is_empty(), "{} offences\n{}", offences.len(), offences.join("\n"));
}

fn in_room(path: &str, room: &str) -> bool {
    if room.ends_with('/') { path.starts_with(room) } else { path == room }
}

fn unsafe_stays_in_its_rooms(all: &[Source]) -> Vec<String> {
    let outside = all.iter().filter(|s| !UNSAFE_ROOMS.iter().any(|room| in_room(&s.path, room)));
    outside
        .flat_map(|source| {
            let found = source.words().filter(|(_, word)| *word == "unsafe");
            found.map(|(line, _)| format!("{}:{line}", source.path))
        })
        .collect()
}

fn rooms_import_what_they_may(all: &[Source]) -> Vec<String> {
    let arch_in_gemm = ["core::arch", "std::arch", "asm!"].map(|pattern| {
        ("kernels/src/gemm/", pattern, "only amx/tile.rs and amx/tile_split.rs hold instructions")
    });
    let rules = FORBIDDEN.iter().chain(&arch_in_gemm);
    let mut found = Vec::new();
    for (room, pattern, why) in rules {
        let exempt = |path: &str| why.contains("tile.rs") && GEMM_ARCH.contains(&path);
        for source in all.iter().filter(|s| in_room(&s.path, room) && !exempt(&s.path)) {
            for line in source.lines_with(pattern) {
                found.push(format!("{}:{line}: {pattern}: {why}", source.path));
            }
        }
    }
    found
}

fn files_are_short(all: &[Source]) -> Vec<String> {
    all.iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(source, lines)| format!("{}: {lines} lines of {MAX_FILE_LINES}", source.path))
        .collect()
}

fn functions_are_short(all: &[Source]) -> Vec<String> {
    over_functions(all, |f| {
        (f.lines > MAX_FUNCTION_LINES).then(|| format!("{} lines of {MAX_FUNCTION_LINES}", f.lines))
    })
}

fn functions_take_few_arguments(all: &[Source]) -> Vec<String> {
    over_functions(all, |f| {
        let many = f.parameters > MAX_PARAMETERS;
        many.then(|| format!("{} arguments of {MAX_PARAMETERS}", f.parameters))
    })
}

fn over_functions(
    all: &[Source],
    offence: impl Fn(&tilewise_tests::source::Function) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in all {
        for function in source.functions() {
            if let Some(what) = offence(&function) {
                found.push(format!("{}:{}: {}: {what}", source.path, function.line, function.name));
            }
        }
    }
    found
}

fn nothing_is_left_for_later(all: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in all {
        for macro_name in ["dbg!", "todo!", "unimplemented!"] {
            let lines = source.lines_with(macro_name);
            found.extend(lines.iter().map(|line| format!("{}:{line}: {macro_name}", source.path)));
        }
        // In comments too, which the code no longer has; spelt so that this file passes.
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")] {
            for (i, _) in source.text.lines().enumerate().filter(|(_, line)| line.contains(mark)) {
                found.push(format!("{}:{}: {mark}", source.path, i + 1));
            }
        }
    }
    found
}

/// The families: files of `ops/` (or directories with a `mod.rs`) and `gemm/`.
fn families(all: &[Source]) -> BTreeSet<String> {
    let below = |source: &Source| {
        let rest = source.path.strip_prefix("kernels/src/ops/")?;
        Some(rest.split(['/', '.']).next()?.to_owned())
    };
    let mut names: BTreeSet<String> = all.iter().filter_map(below).collect();
    names.retain(|name| !HELPERS.contains(&name.as_str()));
    names.extend(all.iter().any(|s| s.path == "kernels/src/gemm/mod.rs").then(|| "gemm".into()));
    names
}

/// A file of that name in `naive/`, or a function in one of another.
fn has_twin(all: &[Source], family: &str) -> bool {
    let mut files = all.iter().filter(|s| s.path.starts_with("kernels/src/naive/"));
    let file = format!("kernels/src/naive/{family}.rs");
    let function = format!("fn {family}<");
    files.any(|s| s.path == file || s.code.contains(&function))
}

fn every_operation_is_complete(all: &[Source]) -> Vec<String> {
    let has = |path: &str| all.iter().any(|s| s.path == path);
    let benches: Vec<_> = all.iter().filter(|s| s.path.starts_with("benches/")).collect();
    let mut found = Vec::new();
    for family in families(all) {
        let mut need = |there: bool, what: &str| {
            if !there {
                found.push(format!("{family} has no {what}"));
            }
        };
        need(has_twin(all, &family), "naive twin");
        need(has(&format!("tests/src/checks/{family}.rs")), "oracle in tests/src/checks");
        need(benches.iter().any(|s| s.text.contains(&family)), "benchmark in benches");
        if let Some((_, target)) = FUZZED.iter().find(|(name, _)| *name == family) {
            need(has(&format!("fuzz/fuzz_targets/{target}.rs")), "fuzz target");
        }
    }
    found
}

fn nn_forbids_unsafe_code(all: &[Source]) -> Vec<String> {
    let root = all.iter().find(|s| s.path == "nn/src/lib.rs");
    let forbids = root.is_some_and(|s| s.code.contains("#![forbid(unsafe_code)]"));
    if forbids { Vec::new() } else { vec!["nn/src/lib.rs does not".to_owned()] }
}

/// A rule that cannot fail guards nothing: each must object to a file made for it.
#[test]
fn every_rule_can_fail() {
    let long_file = "\n".repeat(MAX_FILE_LINES + 1);
    let long_function = format!("fn f() {{{}}}", "\n".repeat(MAX_FUNCTION_LINES));
    let mark = concat!("// TO", "DO later");
    let broken: [&[(&str, &str)]; RULES.len()] = [
        &[("kernels/src/ops/x.rs", "fn f() { unsafe { g() } }")],
        &[("kernels/src/ops/x.rs", "use std::arch::x86_64::*;")],
        &[("kernels/src/x.rs", &long_file)],
        &[("kernels/src/x.rs", &long_function)],
        &[("kernels/src/x.rs", "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, g: u8, h: u8) {}")],
        &[("kernels/src/x.rs", mark)],
        &[("kernels/src/ops/lonely.rs", "")],
        &[("nn/src/lib.rs", "//! Without it.")],
    ];
    for ((name, rule), files) in RULES.iter().zip(broken) {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        assert!(!rule(&sources).is_empty(), "{name}: cannot fail");
    }
}

#[test]
fn every_rule_lets_good_code_pass() {
    let good = [
        Source::new(
            "kernels/src/ops/x.rs",
            "// unsafe, avx2\nfn f(a: u8) -> &str { \"std::arch\" }",
        ),
        Source::new("kernels/src/simd/y.rs", "fn f() { unsafe { g() } }"),
        Source::new("kernels/src/naive/x.rs", ""),
        Source::new("tests/src/checks/x.rs", ""),
        Source::new("benches/benches/all.rs", "fn x() {}"),
        Source::new("nn/src/lib.rs", "#![forbid(unsafe_code)]"),
    ];
    for (name, rule) in RULES {
        assert_eq!(rule(&good), Vec::<String>::new(), "{name}");
    }
}
