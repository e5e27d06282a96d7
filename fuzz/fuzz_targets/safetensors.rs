#![no_main]
//! Any bytes, and any damage to a valid file, are weights that come out as they went in or an error
//! that leaves the model alone.

use tilewise_nn::Sequential;

fn model() -> Sequential<f32> {
    Sequential::new().linear(2, 3).batch_norm().relu().linear(3, 2).build(7).expect("valid")
}

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<(u16, u8)>, &[u8])| {
    let (damaged, damages, raw) = input;
    let mut model = model();
    let before = model.to_safetensors().expect("weights can be written");
    let mut bytes = if damaged { before.clone() } else { raw.to_vec() };
    for (at, byte) in damages {
        bytes.get_mut(usize::from(at)).into_iter().for_each(|place| *place = byte);
    }
    let outcome = model.load_safetensors(&bytes, "fuzzed");
    let after = model.to_safetensors().expect("weights can be written");
    match outcome {
        Ok(()) => {
            model.load_safetensors(&after, "again").expect("what was written is read");
            assert_eq!(model.to_safetensors().ok(), Some(after));
        }
        Err(_) => assert!(after == before, "a refused file changed the model"),
    }
});
