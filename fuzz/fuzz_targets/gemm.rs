#![no_main]
//! The oracles `checks::gemm`, of floats, of halves and at other precisions, on every available path.

use tilewise_kernels::{available, available_for_halves};
use tilewise_tests::checks::gemm::{Case, check, check_halves, check_precisions};

libfuzzer_sys::fuzz_target!(|case: Case| {
    for &isa in available().expect("a known cap") {
        check(isa, &case).unwrap_or_else(|finding| panic!("{isa}: {finding}\n{case:?}"));
    }
    for &isa in available_for_halves().expect("a known cap") {
        check_halves(isa, &case)
            .and_then(|()| check_precisions(isa, &case))
            .unwrap_or_else(|finding| panic!("{isa}: {finding}\n{case:?}"));
    }
});
