//! Training with products of other precisions.

use tilewise_kernels::{Exec, Precision};
use tilewise_nn::prelude::*;

use super::common::blobs;

const ALL: [Precision; 4] = [Precision::F32, Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];

fn network(precision: Precision) -> Sequential {
    let model = Sequential::new().input_image(1, 8, 8).conv2d_same(6, 3).batch_norm().relu();
    let model = model.max_pool(2).linear(96, 48).batch_norm().relu().linear(48, 4);
    model.precision(precision).build(5).unwrap()
}

/// The loss on the data after a training, and the bits of the model.
fn trained(precision: Precision, exec: Exec) -> (f64, Vec<u8>) {
    let data = blobs(256, 64, 4, 1.0);
    let mut model = network(precision);
    model.set_exec(exec);
    let trainer =
        Trainer::new(Adam::default().learning_rate(0.01)).epochs(6).batch_size(64).progress(false);
    trainer.fit(&mut model, &data, &data).unwrap();
    (model.evaluate(&data).unwrap().loss, model.to_safetensors().unwrap())
}

#[test]
fn every_precision_learns_what_f32_does_and_bits_do_not_depend_on_threads() {
    let (expected, _) = trained(Precision::F32, Exec::serial());
    assert!(expected < 0.3, "{expected}");
    for precision in ALL {
        let (loss, bits) = trained(precision, Exec::serial());
        assert!((loss - expected).abs() < 0.1, "{precision}: {loss}, in f32 {expected}");
        assert_eq!(trained(precision, Exec::default()).1, bits, "{precision}");
    }
}

/// The largest difference of gradients from those in `f32`, relative to their norm.
fn apart(precision: Precision) -> f64 {
    let data = blobs(64, 64, 4, 1.0);
    let loss = SoftmaxCrossEntropy::default();
    let mut models = [network(Precision::F32), network(precision)];
    for model in &mut models {
        model.loss_and_gradients(data.features(), data.labels(), &loss).unwrap();
    }
    let [exact, other] = models.each_ref().map(|model| {
        let parameters = model.layers().flat_map(|layer| layer.parameters());
        parameters.map(|p| p.gradient.clone()).collect::<Vec<_>>()
    });
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let pairs = exact.iter().zip(&other);
    let errors = pairs.map(|(exact, other)| {
        let error = norm(&mut exact.iter().zip(other).map(|(a, b)| a - b));
        error / norm(&mut exact.iter().copied())
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn gradients_are_as_exact_as_the_precision() {
    // Split products err no more than those of f32. A rounding to bf16 is up to 2^-9 of each operand, and
    // four products stand behind each other on the way to the first layer.
    assert_eq!(apart(Precision::F32), 0.0);
    assert!(apart(Precision::Bf16x6) < 1e-4);
    let rounded = apart(Precision::Bf16);
    assert!(rounded > 1e-4 && rounded < 0.1, "{rounded}");
}

#[test]
fn f64_and_inference_are_what_they_were() {
    let data = blobs(32, 64, 4, 1.0);
    let [plain, rounded] = [Precision::F32, Precision::Bf16].map(network);
    let logits = |model: &Sequential| model.logits(data.features()).unwrap();
    assert_eq!(logits(&plain), logits(&rounded));
    assert_eq!(rounded.precision(), Precision::Bf16);
    let wide = data.features().data().iter().map(|&x| f64::from(x)).collect();
    let wide = Matrix::new(wide, 32, 64).unwrap();
    let losses = [Precision::F32, Precision::Bf16].map(|precision| {
        let builder = Sequential::new().linear(64, 9).tanh().linear(9, 4).precision(precision);
        let mut model = builder.build_as::<f64>(1).unwrap();
        model.loss_and_gradients(&wide, data.labels(), &SoftmaxCrossEntropy::default()).unwrap()
    });
    assert_eq!(losses[0], losses[1]);
}
