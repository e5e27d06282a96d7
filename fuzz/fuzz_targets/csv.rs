#![no_main]
//! Any bytes are a table that becomes a data set of finite numbers, or an error that says why not. What is
//! made of its texts is found again in the table itself.

use tilewise_nn::data::csv::Csv;

libfuzzer_sys::fuzz_target!(|input: (bool, u8, &[u8])| {
    let (header, separator, bytes) = input;
    let csv = Csv::new().header(header).separator(separator);
    let table = match csv.from_bytes(bytes, "fuzzed") {
        Ok(table) => table,
        Err(error) => return assert!(error.to_string().contains("fuzzed"), "{error}"),
    };
    for label in table.columns() {
        match table.classes_in::<f32>(label) {
            Ok(all) => {
                assert_eq!(all.data.len(), table.len());
                assert!(all.data.features().data().iter().all(|x| x.is_finite()));
            }
            Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
        }
        if let Ok(all) = table.values_in::<f32>(&[label]) {
            assert_eq!((all.data.len(), all.data.values().cols()), (table.len(), 1));
        }
        let Ok(filled) = table.clone().fill_missing(label, &["?"], "none") else { continue };
        match filled.clone().one_hot(label) {
            Ok(made) => {
                let features = made.features::<f32>(made.columns()).ok();
                assert_eq!(features, filled.features::<f32>(made.columns()).ok());
            }
            Err(error) => assert!(error.to_string().contains("fuzzed"), "{error}"),
        }
    }
});
