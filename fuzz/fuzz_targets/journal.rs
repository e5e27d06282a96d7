#![no_main]
//! Any bytes are a journal of a search whose trials can be looked at and continued, or an error that names
//! the file.

use std::fs;

use tilewise_nn::search::Study;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The reader takes files; a process of the fuzzer has one at a time.
    let name = format!("tilewise-fuzzed-{}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    fs::write(&path, bytes).expect("a temporary file can be written");
    let outcome = (|| {
        let study = Study::minimize("fuzzed").seed(1).journal(&path).open()?;
        study.trials()?;
        study.best()?;
        // What was read and what is added is read again.
        let again = Study::minimize("fuzzed").seed(1).journal(&path).open()?;
        assert_eq!(study.trials()?.len(), again.trials()?.len());
        Ok::<(), tilewise_nn::Error>(())
    })();
    if let Err(error) = outcome {
        assert!(!error.to_string().is_empty());
    }
});
