#![no_main]
//! Any bytes are an idx file whose elements fill its extents, or an error that says why not.

use tilewise_nn::data::idx;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match idx::from_bytes(bytes, "fuzzed") {
    Ok(file) => assert_eq!(file.dims.iter().product::<usize>(), file.data.len()),
    Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
});
