//! Data sets, scaling, minibatches and files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::{Compression, write::GzEncoder};
use tilewise_nn::Matrix;
use tilewise_nn::data::{Minibatches, idx};
use tilewise_nn::prelude::*;

#[test]
fn b1_training_data_gets_mean_0_and_variance_1_and_constants_0() {
    let rows: Vec<[f32; 3]> = (0..50).map(|i| [i as f32, 0.1, 1e4 + (i % 2) as f32]).collect();
    let x = Matrix::from_rows(&rows).unwrap();
    let scaler = Standardizer::fit(&x).unwrap();
    let scaled = scaler.transform(&x).unwrap();
    for column in [0, 2] {
        let values: Vec<f64> = (0..50).map(|i| f64::from(scaled.row(i)[column])).collect();
        let mean = values.iter().sum::<f64>() / 50.0;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 50.0;
        assert!(mean.abs() < 1e-3 && (var - 1.0).abs() < 1e-3, "{column}: {mean} {var}");
    }
    assert!((0..50).all(|i| scaled.row(i)[1] == 0.0));
    // Test data is scaled by the training data's numbers.
    let test = Matrix::from_rows(&[[24.5f32, 5.0, 1e4 + 0.5]]).unwrap();
    let test = scaler.transform(&test).unwrap();
    assert!(test.data().iter().all(|&v| v.abs() < 1e-3), "{test:?}");
    assert!(scaler.transform(&Matrix::zeros(1, 2).unwrap()).is_err());
    let error = Standardizer::fit(&Matrix::from_rows(&[[1.0], [f32::NAN]]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "features, row 1, column 0: expected a finite value, got NaN");
}

#[test]
fn d12_every_row_comes_once_per_epoch_in_a_seeded_order() {
    let mut batches = Minibatches::new(103, 10, false).unwrap();
    let mut epoch = |epoch| {
        batches.shuffle(5, epoch);
        assert_eq!(batches.iter().count(), batches.len());
        batches.iter().flatten().copied().collect::<Vec<usize>>()
    };
    let (first, second, first_again) = (epoch(0), epoch(1), epoch(0));
    assert_ne!(first, second);
    assert_eq!(first, first_again);
    for mut order in [first, second] {
        order.sort_unstable();
        assert_eq!(order, (0..103).collect::<Vec<_>>());
    }
    let dropping = Minibatches::new(103, 10, true).unwrap();
    assert_eq!((dropping.len(), dropping.iter().map(<[usize]>::len).sum::<usize>()), (10, 100));
    assert!(Minibatches::new(3, 0, false).is_err());
    assert!(Minibatches::new(3, 4, true).unwrap().is_empty());
}

#[test]
fn digits_are_all_there_and_split_by_class() {
    let digits: Dataset = digits().unwrap();
    assert_eq!((digits.len(), digits.features().cols(), digits.classes()), (1797, 64, 10));
    assert!(digits.features().data().iter().all(|x| (0.0..=1.0).contains(x)));
    assert_eq!(digits.labels()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let (train, test) = digits.stratified_split(360, 1).unwrap();
    assert_eq!((train.len(), test.len()), (1437, 360));
    for class in 0..10 {
        let count = |labels: &[usize]| labels.iter().filter(|&&label| label == class).count();
        let expected = count(digits.labels()) as f64 * 360.0 / 1797.0;
        assert!((count(test.labels()) as f64 - expected).abs() < 1.0);
    }
    assert_eq!(digits.stratified_split(360, 1).unwrap().1, test);
    assert_ne!(digits.stratified_split(360, 2).unwrap().1, test);
    let (head, tail) = digits.sequential_split(360).unwrap();
    assert_eq!((head.len(), tail.len()), (1437, 360));
    assert_eq!(tail.labels(), &digits.labels()[1437..]);
    assert!(digits.stratified_split(1798, 1).is_err());
}

#[test]
fn data_sets_name_the_row_of_a_wrong_label() {
    let error = Dataset::<f32>::new(Matrix::zeros(2, 1).unwrap(), vec![0, 3], 3).unwrap_err();
    assert_eq!(error.to_string(), "label of row 1: expected a class below 3, got 3");
    let error = Dataset::<f32>::new(Matrix::zeros(2, 1).unwrap(), vec![0], 3).unwrap_err();
    assert_eq!(error.to_string(), "labels: expected 2 for 2 rows, got 1");
}

/// An idx file of bytes that count up.
fn idx_bytes(dims: &[u32], elements: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    bytes.extend((0..elements).map(|i| i as u8));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_are_read_plain_and_gzipped() {
    let bytes = idx_bytes(&[2, 3], 6);
    for bytes in [bytes.clone(), gzip(&bytes)] {
        let read = idx::from_bytes(&bytes, "good").unwrap();
        assert_eq!((read.dims, read.data), (vec![2, 3], vec![0, 1, 2, 3, 4, 5]));
    }
    assert!(idx::from_bytes(&idx_bytes(&[0, 7], 0), "empty").unwrap().data.is_empty());
}

#[test]
fn idx_errors_name_file_part_expected_and_got() {
    let good = idx_bytes(&[2, 3], 6);
    let gzipped = gzip(&good);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let max = u32::MAX;
    for (bytes, message) in [
        (vec![], "magic number: expected 4 bytes, got the end after 0"),
        (good[..3].to_vec(), "magic number: expected 4 bytes, got the end after 3"),
        (with(0, 1), "magic number: expected 00 00 08"),
        (with(2, 0x0d), "got [00, 00, 0d, 02]"),
        (with(3, 0), "magic number"),
        (with(3, 5), "magic number"),
        (good[..9].to_vec(), "extent of dimension 1: expected 4 bytes, got the end after 1"),
        (good[..17].to_vec(), "data: expected 6 elements for [2, 3], got 5"),
        ([&good[..], &[9]].concat(), "data: expected 6 elements for [2, 3], got more"),
        (idx_bytes(&[max, max, max, max], 6), "dimensions: expected at most 2147483648 elements"),
        (idx_bytes(&[max, 1], 6), "dimensions: expected at most 2147483648 elements"),
        (idx_bytes(&[1 << 31, 1], 6), "data: expected 2147483648 elements"),
        (gzipped[..gzipped.len() - 10].to_vec(), "bad.idx: "),
        ([&gzipped[..10], &[0xff; 20]].concat(), "bad.idx: contents: expected readable data"),
    ] {
        let error = idx::from_bytes(&bytes, "bad.idx").unwrap_err().to_string();
        assert!(error.starts_with("bad.idx: ") && error.contains(message), "{error}: {message}");
    }
}

#[test]
fn idx_gzip_bombs_are_cut_off() {
    // 64 MiB of zeros in a few hundred kilobytes, behind a header that announces six bytes.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&idx_bytes(&[2, 3], 0)).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = encoder.finish().unwrap();
    let error = idx::from_bytes(&bomb, "bomb").unwrap_err().to_string();
    assert_eq!(error, "bomb: data: expected 6 elements for [2, 3], got more");
}

#[test]
fn idx_pairs_must_belong_together() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("idx_pairs");
    fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let images = file("images", &gzip(&idx_bytes(&[3, 2, 2], 12)));
    let labels = file("labels", &idx_bytes(&[3], 3));
    let data: Dataset = idx::read_dataset(&images, &labels, 3).unwrap();
    assert_eq!((data.labels(), data.features().cols()), (&[0, 1, 2][..], 4));
    assert_eq!(data.features().row(2)[3], 11.0 / 255.0);

    let error = idx::read_dataset::<f32>(&images, &labels, 2).unwrap_err().to_string();
    assert!(error.contains("labels: label of row 2: expected a class below 2, got 2"), "{error}");
    let short = file("short", &idx_bytes(&[2], 2));
    let error = idx::read_dataset::<f32>(&images, &short, 3).unwrap_err().to_string();
    assert!(error.contains("short: dimensions: expected [3]"), "{error}");
    let none = file("none", &idx_bytes(&[0, u32::MAX, u32::MAX, u32::MAX], 0));
    let no_labels = file("no_labels", &idx_bytes(&[0], 0));
    assert!(idx::read_dataset::<f32>(&none, &no_labels, 3).is_err());
    let error = idx::read(directory.join("missing")).unwrap_err().to_string();
    assert!(error.contains("missing: "), "{error}");
}
