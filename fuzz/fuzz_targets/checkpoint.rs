#![no_main]
//! Any bytes are the state of a training that is written as it was read, or an error.

use tilewise_nn::Snapshot;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match Snapshot::<f32>::from_bytes(bytes, "fuzzed") {
    Ok(state) => {
        let written = state.to_bytes().expect("a state can be written");
        let again = Snapshot::<f32>::from_bytes(&written, "again").expect("what was written is read");
        assert_eq!(again.to_bytes().ok(), Some(written));
    }
    Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
});
