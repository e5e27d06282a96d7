#![no_main]
//! Any bytes are an image that becomes as many shares as were asked for, or an error that says why not.

use tilewise_nn::data::images::Images;

libfuzzer_sys::fuzz_target!(|input: (u8, u8, bool, bool, &[u8])| {
    let (width, height, grey, resized, bytes) = input;
    let mut images = Images::new(width.into(), height.into());
    if grey {
        images = images.grey();
    }
    if resized {
        images = images.resized();
    }
    match images.from_bytes::<f32>(bytes, "fuzzed") {
        Ok(values) => {
            assert_eq!(Some(values.len()), images.features().ok());
            assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
        }
        Err(error) => {
            let empty = width == 0 || height == 0;
            assert!(empty || error.to_string().contains("fuzzed"), "{error}");
        }
    }
});
