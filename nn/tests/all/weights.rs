//! Saving and loading weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::common::blobs;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tilewise_nn::prelude::*;

fn network(seed: u64) -> Sequential {
    Sequential::new().linear(6, 5).batch_norm().relu().linear(5, 3).build(seed).unwrap()
}

fn trained() -> Sequential {
    let data = blobs(60, 6, 3, 2.0);
    let mut model = network(1);
    Trainer::new(Adam::default()).epochs(2).fit(&mut model, &data, &data).unwrap();
    model
}

/// An empty directory of a test's own.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn d18_names_shapes_and_types_are_those_of_a_pytorch_state_dict() {
    let bytes = trained().to_safetensors().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let found: BTreeMap<String, (Dtype, Vec<usize>)> = file
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, (tensor.dtype(), tensor.shape().to_vec())))
        .collect();
    let expected: BTreeMap<String, (Dtype, Vec<usize>)> = [
        ("0.weight", Dtype::F32, vec![5, 6]),
        ("1.weight", Dtype::F32, vec![5]),
        ("1.bias", Dtype::F32, vec![5]),
        ("1.running_mean", Dtype::F32, vec![5]),
        ("1.running_var", Dtype::F32, vec![5]),
        ("1.num_batches_tracked", Dtype::I64, vec![]),
        ("3.weight", Dtype::F32, vec![3, 5]),
        ("3.bias", Dtype::F32, vec![3]),
    ]
    .into_iter()
    .map(|(name, dtype, shape)| (name.to_owned(), (dtype, shape)))
    .collect();
    assert_eq!(found, expected);
    let tracked = file.tensor("1.num_batches_tracked").unwrap();
    assert_eq!(tracked.data(), 2i64.to_le_bytes());
}

#[test]
fn d18_a_loaded_model_is_the_saved_one() {
    let path = directory("roundtrip").join("new/model.safetensors");
    let model = trained();
    model.save(&path).unwrap();
    let mut loaded = network(2);
    loaded.load(&path).unwrap();
    assert_eq!(loaded.to_safetensors().unwrap(), model.to_safetensors().unwrap());
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // f64 too.
    let plan = || Sequential::new().linear(2, 3).batch_norm();
    let bytes = plan().build_as::<f64>(1).unwrap().to_safetensors().unwrap();
    let mut double = plan().build_as::<f64>(2).unwrap();
    double.load_safetensors(&bytes, "f64").unwrap();
    assert_eq!(double.to_safetensors().unwrap(), bytes);
}

#[test]
fn d18_a_failed_save_leaves_the_old_file() {
    let directory = directory("failed_save");
    let path = directory.join("taken");
    fs::create_dir(&path).unwrap();
    let error = trained().save(&path).unwrap_err().to_string();
    assert!(error.contains("taken"), "{error}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "half a file was left");
}

/// The saved tensors of a model with changes, as bytes of a file.
fn changed(change: impl FnOnce(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let bytes = network(3).to_safetensors().unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn d18_files_that_do_not_fit_are_refused_by_name_and_change_nothing() {
    let mut model = network(1);
    let before = model.to_safetensors().unwrap();
    let cases = [
        (changed(|t| drop(t.remove("1.bias"))), "tensor 1.bias: expected F32 [5], got no such"),
        (
            changed(|t| t.get_mut("3.weight").unwrap().1 = vec![5, 3]),
            "tensor 3.weight: expected F32 [3, 5], got F32 [5, 3]",
        ),
        (
            changed(|t| t.get_mut("3.bias").unwrap().0 = Dtype::I32),
            "tensor 3.bias: expected F32 [3], got I32 [3]",
        ),
        (
            changed(|t| {
                t.insert("9.weight".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
            }),
            "tensor 9.weight: expected only tensors of the model",
        ),
        (
            changed(|t| {
                t.get_mut("1.num_batches_tracked").unwrap().2 = (-1i64).to_le_bytes().to_vec();
            }),
            "tensor 1.num_batches_tracked: expected a count, got a negative number",
        ),
        (before[..before.len() - 1].to_vec(), "header: expected a valid safetensors file"),
        (before[..7].to_vec(), "header: expected a valid safetensors file"),
        (vec![], "header: expected a valid safetensors file"),
        (vec![0xff; 64], "header: expected a valid safetensors file"),
        (
            [&(1u64 << 62).to_le_bytes()[..], b"{\"a\":1}"].concat(),
            "header: expected a valid safetensors file",
        ),
    ];
    for (bytes, message) in cases {
        let error = model.load_safetensors(&bytes, "hostile.safetensors").unwrap_err().to_string();
        assert!(error.starts_with("hostile.safetensors: "), "{error}");
        assert!(error.contains(message), "{error}\ninstead of {message}");
        assert_eq!(model.to_safetensors().unwrap(), before, "{message}");
    }
    let error = model.load("/nowhere/model.safetensors").unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/model.safetensors: "), "{error}");
}

#[test]
fn d18_no_bit_flip_or_cut_panics() {
    let mut model = network(1);
    let good = model.to_safetensors().unwrap();
    for cut in 0..good.len().min(700) {
        assert!(model.load_safetensors(&good[..cut], "cut").is_err());
    }
    for at in 0..good.len().min(700) {
        for bit in [0, 3, 7] {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            // Whether a flipped byte still fits depends on where it is; it must not panic.
            let _ = model.load_safetensors(&bytes, "flipped");
        }
    }
}
