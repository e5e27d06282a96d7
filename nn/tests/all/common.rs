//! Small problems for tests.

use tilewise_nn::Matrix;
use tilewise_nn::data::Dataset;
use tilewise_nn::random::Random;

/// Normal features around a centre per class; the centres are `distance` apart.
pub(crate) fn blobs(rows: usize, width: usize, classes: usize, distance: f64) -> Dataset<f32> {
    let mut random = Random::new(7);
    let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
    let mut values = Vec::with_capacity(rows * width);
    for &label in &labels {
        for column in 0..width {
            let centre = if column % classes == label { distance } else { 0.0 };
            values.push((centre + random.normal()) as f32);
        }
    }
    let features = Matrix::new(values, rows, width).unwrap();
    Dataset::new(features, labels, classes).unwrap()
}
