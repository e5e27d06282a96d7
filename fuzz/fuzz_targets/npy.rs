#![no_main]
//! Any bytes are an npy file whose numbers fill its shape, an npz file of such, or an error.

use tilewise_nn::data::npy::{Array, npz_from_bytes};

fn check(array: &Array) {
    let product = array.shape().iter().product::<usize>();
    assert_eq!(array.values().len(), product);
    let again = Array::from_npy(&array.to_npy(), "again").expect("what was written is read");
    assert_eq!(again.shape(), array.shape());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Array::from_npy(bytes, "fuzzed") {
        Ok(array) => check(&array),
        Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
    }
    match npz_from_bytes(bytes, "fuzzed") {
        Ok(arrays) => arrays.iter().for_each(|(_, array)| check(array)),
        Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
    }
});
