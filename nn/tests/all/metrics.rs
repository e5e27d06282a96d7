//! Measures of a classification.

use tilewise_nn::Matrix;
use tilewise_nn::metrics::{ConfusionMatrix, top_k_accuracy};

#[test]
fn d15_top_k_counts_rows_whose_label_is_among_the_best() {
    let logits = Matrix::from_rows(&[
        [3.0f32, 2.0, 1.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [-1.0, f32::NEG_INFINITY, 5.0, 5.0],
    ])
    .unwrap();
    let share = |k| top_k_accuracy(&logits, &[1, 2, 3], k).unwrap();
    // Equal logits count from the lowest class: label 2 of the second row is third, 3 of the last second.
    assert_eq!([share(1), share(2), share(3), share(9)], [0.0, 2.0 / 3.0, 1.0, 1.0]);
    let error = |labels: &[usize], k| top_k_accuracy(&logits, labels, k).unwrap_err().to_string();
    assert_eq!(error(&[1, 2, 4], 1), "label of row 2: expected a class below 4, got 4");
    assert_eq!(error(&[1, 2], 1), "labels: expected 3 for 3 rows, and at least one, got 2");
    assert_eq!(error(&[1, 2, 3], 0), "k of the top-k accuracy: expected at least 1, got 0");
    let broken = Matrix::from_rows(&[[0.0f32, f32::NAN]]).unwrap();
    let error = top_k_accuracy(&broken, &[0], 1).unwrap_err().to_string();
    assert_eq!(error, "logit of row 0, class 1: expected a number, got NaN");
}

#[test]
fn d15_a_confusion_matrix_counts_pairs() {
    let matrix = ConfusionMatrix::new(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 0, 1], 4).unwrap();
    let rows: Vec<Vec<u64>> =
        (0..4).map(|a| (0..4).map(|b| matrix.count(a, b)).collect()).collect();
    assert_eq!(rows, [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]);
    assert_eq!(matrix.accuracy(), 0.5);
    assert_eq!((matrix.precision(0), matrix.recall(0)), (2.0 / 3.0, 2.0 / 3.0));
    assert_eq!((matrix.precision(1), matrix.recall(1)), (1.0 / 3.0, 0.5));
    assert!((matrix.f1(1) - 0.4).abs() < 1e-15);
    assert_eq!((matrix.recall(2), matrix.f1(2)), (0.0, 0.0));
    assert!(matrix.precision(2).is_nan() && matrix.f1(3).is_nan());
    let text = matrix.to_string();
    assert!(text.starts_with("label\\predicted 0 1 2 3\n              0 2 1 0 0\n"), "{text}");
    let error = ConfusionMatrix::new(&[0], &[4], 4).unwrap_err().to_string();
    assert_eq!(error, "prediction of row 0: expected a class below 4, got 4");
    assert!(ConfusionMatrix::new(&[4], &[0], 4).is_err());
    assert!(ConfusionMatrix::new(&[0], &[], 4).is_err());
}
