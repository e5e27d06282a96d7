//! Batch normalisation inside networks: conventions, statistics, gradients.

use crate::common::blobs;
use tilewise_kernels::{Activation, Exec, Float};
use tilewise_nn::init::Init;
use tilewise_nn::layers::{ActivationLayer, BatchNorm, Layer, Linear, Pass, Saved};
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;
use tilewise_nn::{Matrix, gradient_check};

/// Standard normal values.
fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
    let mut random = Random::new(seed);
    Matrix::new((0..rows * cols).map(|_| random.normal()).collect(), rows, cols).unwrap()
}

fn column(values: &[f64]) -> Matrix<f64> {
    Matrix::new(values.to_vec(), values.len(), 1).unwrap()
}

fn forward(layer: &mut impl Layer<f64>, x: &Matrix<f64>) -> Matrix<f64> {
    let mut y = x.clone();
    layer.forward(x, &mut y, Pass::default()).unwrap();
    y
}

fn close(got: f64, expected: f64, digits: i32) -> bool {
    (got - expected).abs() <= 0.51 * 10f64.powi(-digits)
}

#[test]
fn b20_conventions_reproduce_the_table() {
    use BatchNormConvention::*;
    for (convention, epsilon, first, second) in [
        (PyTorch, 1e-5, (0.25, 1.066_666_7), (0.725, 1.626_666_7)),
        (Cumulative, 1e-5, (2.5, 1.666_666_7), (3.75, 4.166_666_7)),
        (Onnx, 1e-5, (0.25, 1.025), (0.725, 1.422_5)),
        (Keras, 1e-3, (0.025, 1.002_5), (0.074_75, 1.042_475)),
        (TensorFlowFused, 1e-3, (0.025, 1.006_666_7), (0.074_75, 1.063_266_7)),
        (Caffe, 1e-5, (2.5, 1.666_666_7), (3.750_625_3, 4.167_917_3)),
        (CourseEwa, 1e-5, (2.5, 1.25), (3.815_789_5, 3.223_684_2)),
        (MxNet, 1e-3, (0.25, 1.025), (0.725, 1.422_5)),
        (Theano, 1e-4, (0.25, 1.066_666_7), (0.725, 1.626_666_7)),
        (TensorFlowContrib, 1e-3, (0.002_5, 1.000_25), (0.007_497_5, 1.004_249_75)),
        // Averages of 1/√(σ² + ε): 0.989 439 14, then 0.935 216 14.
        (Lasagne, 1e-4, (0.25, 1.021_361_06), (0.725, 1.143_241_6)),
        // The second weight is 1 - exp(-4/5000) = 7.996 801e-4.
        (Cntk, 1e-5, (2.5, 1.666_666_7), (2.501_999_2, 1.670_665_1)),
    ] {
        assert_eq!(convention.epsilon(), epsilon, "{convention:?}");
        let mut layer = BatchNorm::<f64>::new(1, convention);
        let start = if convention == Lasagne { 1.0 - 1e-4 } else { 1.0 };
        assert_eq!((layer.running_mean()[0], layer.running_var()[0]), (0.0, start));
        for (batch, expected) in [([1., 2., 3., 4.], first), ([2., 4., 6., 8.], second)] {
            forward(&mut layer, &column(&batch));
            let got = (layer.running_mean()[0], layer.running_var()[0]);
            let fits = close(got.0, expected.0, 7) && close(got.1, expected.1, 7);
            assert!(fits, "{convention:?}: {got:?} instead of {expected:?}");
        }
    }
}

#[test]
fn b17_two_switches_are_independent() {
    let (a, b) = (column(&[1., 2., 3., 4.]), column(&[2., 4., 6., 8.]));
    let mut layer = BatchNorm::<f64>::new(1, BatchNormConvention::Cumulative);
    forward(&mut layer, &a);
    // The batch's statistics, not kept.
    layer.set_statistics(false, false);
    let y = forward(&mut layer, &b);
    assert!(close(y.data()[0], -1.341_639, 6), "{y:?}");
    assert_eq!(layer.running_mean(), [2.5]);
    // Running statistics, kept up to date: the output uses those before the update.
    layer.set_statistics(true, true);
    let y = forward(&mut layer, &b);
    let before = (2.0 - 2.5) / (5.0f64 / 3.0 + 1e-5).sqrt();
    assert!(close(y.data()[0], before, 12), "{y:?}");
    assert_eq!(layer.running_mean(), [3.75]);
    // Frozen: even a single row can be trained through, by the derivative of a constant scale.
    layer.set_statistics(true, false);
    let x = column(&[7.0]);
    let y = forward(&mut layer, &x);
    let mut dx = x.clone();
    let dy = column(&[2.0]);
    layer.backward(Saved { x: &x, y: &y, dy: &dy }, Some(&mut dx), Pass::default()).unwrap();
    let inv_std = 1.0 / (layer.running_var()[0] + 1e-5).sqrt();
    assert!(close(dx.data()[0], 2.0 * inv_std, 12));
    assert!(close(layer.parameters()[0].gradient[0], 2.0 * (7.0 - 3.75) * inv_std, 12));
    assert_eq!(layer.parameters()[1].gradient, [2.0]);
}

#[test]
fn b17_inference_takes_one_row_and_keeps_its_bits() {
    let mut layer = BatchNorm::<f64>::new(5, BatchNormConvention::PyTorch);
    let x = normal(9, 5, 1);
    forward(&mut layer, &x);
    let mut all = x.clone();
    layer.infer(&x, &mut all, Exec::default()).unwrap();
    for row in 0..x.rows() {
        let one = x.select_rows(&[row]).unwrap();
        let mut y = one.clone();
        layer.infer(&one, &mut y, Exec::default()).unwrap();
        assert_eq!(y.row(0), all.row(row));
    }
}

#[test]
fn b17_a_row_alone_is_predicted_as_in_a_batch() {
    let data = blobs(120, 8, 3, 2.0);
    let mut model =
        Sequential::new().linear(8, 600).batch_norm().relu().linear(600, 3).build(1).unwrap();
    Trainer::new(Adam::default()).epochs(2).fit(&mut model, &data, &data).unwrap();
    let before = model.to_safetensors().unwrap();
    let all = model.logits(data.features()).unwrap();
    for row in [0, 1, 57, 119] {
        let one = model.logits(&data.features().select_rows(&[row]).unwrap()).unwrap();
        assert_eq!(one.row(0), all.row(row), "row {row}");
    }
    assert_eq!(model.to_safetensors().unwrap(), before, "inference changed the model");
}

#[test]
fn b7_a_linear_layer_before_batch_norm_has_no_bias() {
    let model = Sequential::new().linear(4, 3).batch_norm().relu().linear(3, 2).build(1).unwrap();
    let parameters: Vec<usize> = model.layers().map(|layer| layer.parameters().len()).collect();
    assert_eq!(parameters, [1, 2, 2], "linear, batch norm with relu, linear");
    assert_eq!(model.parameter_count(), 4 * 3 + 3 + 3 + 3 * 2 + 2);
}

#[test]
fn b7_a_bias_before_batch_norm_changes_nothing_and_gets_no_gradient() {
    let z = normal(6, 3, 2);
    let mut shifted = z.clone();
    shifted.data_mut().iter_mut().for_each(|z| *z += 5.0);
    let mut layer = BatchNorm::<f64>::new(3, BatchNormConvention::PyTorch);
    let (y, again) = (forward(&mut layer, &z), forward(&mut layer, &shifted));
    assert!(y.data().iter().zip(again.data()).all(|(a, b)| (a - b).abs() < 1e-12));
    let dy = normal(6, 3, 3);
    let mut dz = z.clone();
    let saved = Saved { x: &shifted, y: &again, dy: &dy };
    layer.backward(saved, Some(&mut dz), Pass::default()).unwrap();
    for j in 0..3 {
        let sum: f64 = (0..6).map(|i| dz.row(i)[j]).sum();
        assert!(sum.abs() < 1e-12, "{sum}");
    }
}

#[test]
fn b10_gradients_of_a_three_layer_network_are_exact() {
    let mut model = Sequential::new()
        .init(Init::XavierNormal)
        .linear(6, 7)
        .batch_norm()
        .tanh()
        .linear(7, 5)
        .batch_norm_like(BatchNormConvention::Keras)
        .relu()
        .dropout(0.3)
        .linear(5, 4)
        .batch_norm()
        .build_as::<f64>(11)
        .unwrap();
    // Scales and shifts away from 1 and 0, where mistakes hide.
    let mut random = Random::new(12);
    for layer in 0..model.layers().count() {
        for parameter in model.layer_parameters_mut(layer) {
            parameter.value.iter_mut().for_each(|value| *value += 0.3 * random.normal());
        }
    }
    let x = normal(9, 6, 13);
    let labels = [0, 3, 1, 1, 2, 0, 3, 3, 0];
    // Class weights make the gradient by the logits uneven.
    let loss =
        SoftmaxCrossEntropy::default().class_weights(vec![0.3, 1.7, 0.9, 2.2]).label_smoothing(0.1);
    let before = model.to_safetensors().unwrap();
    let check = gradient_check(&mut model, &x, &labels, &loss).unwrap();
    assert!(check.error < 1e-6, "{check:?}");
    assert_eq!(model.to_safetensors().unwrap(), before, "the check changed the model");
    model.set_statistics(true, false);
    let check = gradient_check(&mut model, &x, &labels, &loss).unwrap();
    assert!(check.error < 1e-6, "frozen: {check:?}");
}

#[test]
fn b10_the_check_finds_a_wrong_gradient() {
    /// Multiplies by 3 and claims a gradient of 2.
    #[derive(Debug)]
    struct Wrong;
    impl<T: Float> Layer<T> for Wrong {
        fn kind(&self) -> &'static str {
            "wrong"
        }
        fn output_width(&self, input: usize) -> tilewise_kernels::Result<usize> {
            Ok(input)
        }
        fn forward(
            &mut self,
            x: &Matrix<T>,
            y: &mut Matrix<T>,
            pass: Pass,
        ) -> tilewise_kernels::Result<()> {
            self.infer(x, y, pass.exec)
        }
        fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, _: Exec) -> tilewise_kernels::Result<()> {
            for (x, y) in x.data().iter().zip(y.data_mut()) {
                *y = *x * T::from_f64(3.0);
            }
            Ok(())
        }
        fn backward(
            &mut self,
            saved: Saved<'_, T>,
            dx: Option<&mut Matrix<T>>,
            _: Pass,
        ) -> tilewise_kernels::Result<()> {
            if let Some(dx) = dx {
                for (dy, dx) in saved.dy.data().iter().zip(dx.data_mut()) {
                    *dx = *dy * T::from_f64(2.0);
                }
            }
            Ok(())
        }
    }
    let linear = Linear::new([3, 2], true, Init::HeNormal, 1).unwrap();
    let mut model = Sequential::<f64>::from_layers(3, vec![Box::new(linear), Box::new(Wrong)]);
    let model = model.as_mut().unwrap();
    let loss = SoftmaxCrossEntropy::default();
    let check = gradient_check(model, &normal(4, 3, 1), &[0, 1, 1, 0], &loss).unwrap();
    assert!((check.error - 0.2).abs() < 1e-6, "{check:?}");
    assert!(check.worst.starts_with("layer 0 linear"), "{check:?}");
}

#[test]
fn b10_relu_within_batch_norm_is_relu_behind_it() {
    let x = normal(12, 5, 6);
    let dy = normal(12, 5, 7);
    for use_running in [false, true] {
        let mut apart = BatchNorm::<f64>::new(5, BatchNormConvention::PyTorch);
        apart.set_statistics(use_running, true);
        let mut fused = apart.clone().relu(true);
        let mut relu = ActivationLayer(Activation::Relu);
        let z = forward(&mut apart, &x);
        let y = forward(&mut relu, &z);
        assert_eq!(forward(&mut fused, &x), y);
        let (mut dz, mut dx, mut dx_fused) = (x.clone(), x.clone(), x.clone());
        let pass = Pass::default();
        relu.backward(Saved { x: &z, y: &y, dy: &dy }, Some(&mut dz), pass).unwrap();
        apart.backward(Saved { x: &x, y: &z, dy: &dz }, Some(&mut dx), pass).unwrap();
        fused.backward(Saved { x: &x, y: &y, dy: &dy }, Some(&mut dx_fused), pass).unwrap();
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(dx.data(), dx_fused.data()));
        for (a, b) in apart.parameters().iter().zip(fused.parameters()) {
            assert!(near(&a.gradient, &b.gradient), "{}", a.name);
        }
    }
}

#[test]
fn b13_recalibration_without_labels_recovers_from_shifted_inputs() {
    let (train, test) = digits().unwrap().stratified_split(360, 1).unwrap();
    let mut model = Sequential::new()
        .linear(64, 64)
        .batch_norm()
        .relu()
        .linear(64, 32)
        .batch_norm()
        .relu()
        .linear(32, 10)
        .build(2)
        .unwrap();
    Trainer::new(Adam::default()).epochs(15).fit(&mut model, &train, &test).unwrap();
    let mut shifted = test.features().clone();
    shifted.data_mut().iter_mut().for_each(|x| *x = 3.0 * *x + 5.0);
    let shifted = test.with_features(shifted).unwrap();
    let good = model.evaluate(&test).unwrap().accuracy;
    let bad = model.evaluate(&shifted).unwrap().accuracy;
    assert!(good > bad + 0.1, "nothing was lost: {good} {bad}");
    model.recalibrate(shifted.features()).unwrap();
    let recovered = model.evaluate(&shifted).unwrap().accuracy;
    assert!(recovered - bad >= 0.9 * (good - bad), "{good} {bad} {recovered}");
}

#[test]
fn b14_scaled_weights_do_not_show_behind_batch_norm() {
    let x = normal(32, 6, 4);
    let mut linear = Linear::<f64>::new([6, 5], false, Init::HeNormal, 5).unwrap();
    let mut outputs = Vec::new();
    for scale in [1.0, 10.0] {
        linear.parameters_mut()[0].value.iter_mut().for_each(|w| *w *= scale);
        let mut z = Matrix::zeros(32, 5).unwrap();
        linear.forward(&x, &mut z, Pass::default()).unwrap();
        outputs.push(forward(&mut BatchNorm::new(5, BatchNormConvention::PyTorch), &z));
    }
    for (a, b) in outputs[0].data().iter().zip(outputs[1].data()) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1e-3), "{a} {b}");
    }
}

#[test]
fn b15_statistics_of_larger_minibatches_scatter_less() {
    let deviation = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    for (rows, of_mean, of_var) in [(64, 0.125, 0.1782), (512, 0.0442, 0.0626)] {
        // Each column is a minibatch of its own; the first one of a plain average is that average.
        let mut layer = BatchNorm::<f64>::new(3000, BatchNormConvention::Cumulative);
        forward(&mut layer, &normal(rows, 3000, 8));
        let got = (deviation(layer.running_mean()), deviation(layer.running_var()));
        let near = |got: f64, expected: f64| (got / expected - 1.0).abs() < 0.05;
        assert!(near(got.0, of_mean) && near(got.1, of_var), "{rows} rows: {got:?}");
    }
}

#[test]
fn b19_a_constant_column_gives_its_shift_and_finite_gradients() {
    let mut layer = BatchNorm::<f64>::new(1, BatchNormConvention::PyTorch);
    layer.parameters_mut()[1].value[0] = 0.7;
    let x = column(&[0.1; 7]);
    let y = forward(&mut layer, &x);
    assert!(y.data().iter().all(|&y| y == 0.7), "{y:?}");
    let dy = normal(7, 1, 9);
    let mut dx = x.clone();
    layer.backward(Saved { x: &x, y: &y, dy: &dy }, Some(&mut dx), Pass::default()).unwrap();
    assert!(dx.data().iter().all(|dx| dx.is_finite()), "{dx:?}");
}

#[test]
fn b18_population_statistics_are_those_of_the_whole_set() {
    let mut layer = BatchNorm::<f64>::new(1, BatchNormConvention::PyTorch);
    let all = column(&[1., 2., 3., 4., 2., 4., 6., 8.]);
    layer.recalibrate(&all, Exec::default()).unwrap();
    assert!(close(layer.running_mean()[0], 3.75, 12));
    assert!(close(layer.running_var()[0], 4.6875, 12));
}

#[test]
fn b8_shape_errors_name_layer_expected_and_got() {
    let error = Sequential::new().linear(4, 8).batch_norm().linear(9, 2).build(1).unwrap_err();
    assert_eq!(error.to_string(), "layer 2 linear: input: expected 9 columns, got 8 columns");
    let mut model = Sequential::new().linear(4, 8).batch_norm().build(1).unwrap();
    let error = model.logits(&Matrix::zeros(2, 5).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "layer 0 linear: input: expected 4 columns, got 5 columns");
    let one = Matrix::zeros(1, 4).unwrap();
    let loss = SoftmaxCrossEntropy::default();
    let error = model.loss_and_gradients(&one, &[0], &loss).unwrap_err().to_string();
    assert!(error.starts_with("layer 1 batch_norm: "), "{error}");
    assert!(error.contains("at least 2") && error.contains("got 1"), "{error}");
    assert!(Sequential::new().build(1).is_err());
    assert!(Sequential::new().relu().linear(4, 8).build(1).is_err());
    let error = Sequential::new().linear(2, 2).dropout(1.0).build(1).unwrap_err().to_string();
    assert!(error.starts_with("layer 1 dropout: dropout rate: expected"), "{error}");
}
