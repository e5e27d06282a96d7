#![no_main]
//! The oracle `checks::pool` on every available path.

use tilewise_kernels::available;
use tilewise_tests::checks::pool::{Case, check};

libfuzzer_sys::fuzz_target!(|case: Case| {
    for &isa in available().expect("a known cap") {
        check(isa, &case).unwrap_or_else(|finding| panic!("{isa}: {finding}\n{case:?}"));
    }
});
