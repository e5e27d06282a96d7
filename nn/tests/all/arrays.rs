//! npy and npz files, and weights in them.

use std::io::Write;

use tilewise_nn::data::npy::{Array, npz_from_bytes, to_npz};
use tilewise_nn::prelude::*;

/// An npy file of version 1 with that dictionary.
fn file(dictionary: &str, elements: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dictionary.len() as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.extend(elements);
    bytes
}

fn header(descr: &str, fortran: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}  \n")
}

#[test]
fn d18_arrays_are_written_as_numpy_writes_them() {
    // The first 128 bytes and the elements of numpy.save(f, numpy.array([[1, 2, 3]], "<f4")).
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }";
    let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    expected.extend(format!("{text:<117}\n").as_bytes());
    expected.extend([1.0f32, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()));
    let matrix = Matrix::from_rows(&[[1.0f32, 2.0, 3.0]]).unwrap();
    let written = Array::from_matrix(&matrix).to_npy();
    // numpy aligns to 64 bytes; this header fits into 128.
    assert_eq!(written.len() % 64, 12);
    let (read, numpys) = (Array::from_npy(&written, "ours"), Array::from_npy(&expected, "numpy's"));
    assert_eq!(read.unwrap().matrix::<f32>().unwrap(), matrix);
    assert_eq!(numpys.unwrap().matrix::<f32>().unwrap(), matrix);
}

#[test]
fn every_type_order_and_shape_is_read() {
    let values = |descr: &str, bytes: &[u8]| {
        let one = header(
            descr,
            "False",
            &format!("({},)", bytes.len() / usize::from(descr.as_bytes()[2] - b'0')),
        );
        Array::from_npy(&file(&one, bytes), "a.npy").unwrap().values()
    };
    assert_eq!(values("<f2", &[0, 0x3c, 0, 0xc0]), [1.0, -2.0]);
    assert_eq!(values("<f8", &1e-3f64.to_le_bytes()), [1e-3]);
    assert_eq!(values(">f8", &1e-3f64.to_be_bytes()), [1e-3]);
    assert_eq!(values(">f4", &2.5f32.to_be_bytes()), [2.5]);
    assert_eq!(values("|u1", &[0, 255]), [0.0, 255.0]);
    assert_eq!(values("|i1", &[0x80, 0xff]), [-128.0, -1.0]);
    assert_eq!(values("|b1", &[0, 1]), [0.0, 1.0]);
    assert_eq!(values(">i2", &[0xff, 0xfe]), [-2.0]);
    assert_eq!(values("<u2", &[1, 1]), [257.0]);
    assert_eq!(values("<i4", &(-7i32).to_le_bytes()), [-7.0]);
    assert_eq!(values("<u8", &(1u64 << 53).to_le_bytes()), [9_007_199_254_740_992.0]);
    // Columns first: [[1, 2, 3], [4, 5, 6]].
    let fortran = file(&header("|u1", "True", "(2, 3)"), &[1, 4, 2, 5, 3, 6]);
    let array = Array::from_npy(&fortran, "f").unwrap();
    assert_eq!(array.matrix::<f64>().unwrap().data(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // Images of 2 x 2 pixels become rows.
    let images = file(&header("|u1", "False", "(2, 2, 2)"), &[1, 2, 3, 4, 5, 6, 7, 8]);
    let images = Array::from_npy(&images, "i").unwrap().matrix::<f32>().unwrap();
    assert_eq!((images.rows(), images.cols(), images.row(1)[0]), (2, 4, 5.0));
    let scalar = Array::from_npy(&file(&header("<i2", "False", "()"), &[7, 0]), "s").unwrap();
    assert_eq!((scalar.values(), scalar.shape().len()), (vec![7.0], 0));
    let labels = file(&header("|u1", "False", "(3, 1)"), &[2, 0, 1]);
    assert_eq!(Array::from_npy(&labels, "l").unwrap().labels().unwrap(), [2, 0, 1]);
}

#[test]
fn hostile_arrays_are_errors_that_name_the_file() {
    let good = header("<f4", "False", "(2,)");
    let cases = [
        (vec![], "header"),
        (b"\x93NUMPX\x01\x00\x00\x00".to_vec(), "magic number"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version: expected 1, 2 or 3, got 9"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "length of the header"),
        (file(&good, &[0; 7]), "elements: expected 8 bytes for [2], got 7"),
        (file(&good, &[0; 9]), "elements: expected 8 bytes for [2], got more"),
        (file(&header("|O", "False", "(2,)"), &[0; 16]), "header: expected a dictionary"),
        (file(&header("<c8", "False", "(1,)"), &[0; 8]), "header: expected a dictionary"),
        (file(&header("<f4", "Maybe", "(2,)"), &[0; 8]), "header: expected a dictionary"),
        (file(&header("<f4", "False", "(-2,)"), &[0; 8]), "header: expected a dictionary"),
        (file(&header("<f4", "False", "(4294967296, 4294967296)"), &[]), "shape: expected at most"),
        (file(&header("<f4", "False", "(99999999999999999999,)"), &[]), "header: expected"),
        (file("{'descr': '<f4'}", &[]), "header: expected a dictionary"),
        (file("{{{{", &[]), "header: expected a dictionary"),
    ];
    for (bytes, message) in cases {
        let error = Array::from_npy(&bytes, "bad.npy").unwrap_err().to_string();
        assert!(error.starts_with("bad.npy: ") && error.contains(message), "{error} / {message}");
    }
    let halves = file(&header("<f4", "False", "(1,)"), &0.5f32.to_le_bytes());
    let error = Array::from_npy(&halves, "l.npy").unwrap().labels().unwrap_err().to_string();
    assert_eq!(error, "l.npy: label of row 0: expected a whole number of 0 or more, got 0.5");
}

#[test]
fn an_npz_file_is_read_deflated_too_and_a_bomb_is_not() {
    let deflated = |array: &[u8], name: &str| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        zip.start_file(name, options).unwrap();
        zip.write_all(array).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let array = file(&header("|u1", "False", "(3,)"), &[1, 2, 3]);
    let arrays = npz_from_bytes(&deflated(&array, "x.npy"), "a.npz").unwrap();
    assert_eq!((arrays[0].0.as_str(), arrays[0].1.values()), ("x", vec![1.0, 2.0, 3.0]));
    // A megabyte of zeros behind an array of three bytes: one byte beyond is read.
    let long = file(&header("|u1", "False", "(3,)"), &vec![0; 1 << 20]);
    let error = npz_from_bytes(&deflated(&long, "x.npy"), "a.npz").unwrap_err().to_string();
    assert_eq!(error, "a.npz: x: elements: expected 3 bytes for [3], got more");
    let error = npz_from_bytes(&deflated(&array, "x.txt"), "a.npz").unwrap_err().to_string();
    assert!(error.contains("name of an array: expected an end in .npy"), "{error}");
    let good = deflated(&array, "x.npy");
    for cut in 0..good.len() {
        assert!(npz_from_bytes(&good[..cut], "cut").is_err());
    }
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        // It may still be an archive; it must not panic.
        let _ = npz_from_bytes(&flipped, "flipped");
    }
    let matrix = Matrix::from_rows(&[[1.5f64], [2.5]]).unwrap();
    let array = Array::from_matrix(&matrix);
    let bytes = to_npz([("a", &array), ("b", &array)]).unwrap();
    let arrays = npz_from_bytes(&bytes, "ours").unwrap();
    assert_eq!(arrays[1].0, "b");
    assert_eq!(arrays[1].1.matrix::<f64>().unwrap(), matrix);
    assert!(to_npz([("a", &array), ("a", &array)]).is_err());
}

#[test]
fn d18_weights_go_through_npz_and_back() {
    let network =
        |seed| Sequential::new().linear(4, 3).batch_norm().relu().linear(3, 2).build(seed);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("npz/weights.npz");
    let (saved, mut loaded) = (network(1).unwrap(), network(2).unwrap());
    saved.save_npz(&path).unwrap();
    loaded.load_npz(&path).unwrap();
    assert_eq!(loaded.to_safetensors().unwrap(), saved.to_safetensors().unwrap());
    let names: Vec<String> = tilewise_nn::data::npy::read_npz(&path)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(names.contains(&"1.running_var".to_owned()), "{names:?}");
    let array = Array::from_matrix(&Matrix::from_rows(&[[1.0f32]]).unwrap());
    let other = to_npz([("0.weight", &array)]).unwrap();
    let error = loaded.load_npz_bytes(&other, "other.npz").unwrap_err().to_string();
    assert!(error.contains("tensor 0.weight: expected F32 [3, 4], got F32 [1, 1]"), "{error}");
    let wide = Array::from_matrix(&Matrix::from_rows(&[[1.0f64]]).unwrap());
    let error = loaded.load_npz_bytes(&to_npz([("0.weight", &wide)]).unwrap(), "w").unwrap_err();
    assert_eq!(error.to_string(), "w: array 0.weight: expected <f4, got <f8");
    assert_eq!(loaded.to_safetensors().unwrap(), saved.to_safetensors().unwrap());
}
