//! Losses and the targets that they take.

use tilewise_kernels::Exec;
use tilewise_nn::gradient_check;
use tilewise_nn::loss::Targets;
use tilewise_nn::prelude::*;

pub(crate) fn matrix(values: &[f64], cols: usize) -> Matrix<f64> {
    Matrix::new(values.to_vec(), values.len() / cols, cols).unwrap()
}

fn evaluate(
    loss: &impl Loss<f64>,
    outputs: &Matrix<f64>,
    targets: Targets<'_, f64>,
) -> (f64, Matrix<f64>) {
    let mut gradient = Matrix::zeros(outputs.rows(), outputs.cols()).unwrap();
    let value = loss.evaluate(outputs, targets, Some(&mut gradient), Exec::default()).unwrap();
    assert_eq!(value, loss.evaluate(outputs, targets, None, Exec::default()).unwrap());
    (value, gradient)
}

#[test]
fn c9_classes_are_probabilities_of_one() {
    let logits = matrix(&[5.0, 2.0, -1.0, 3.0, 0.0, 0.5, 0.0, -0.5], 4);
    let classes = matrix(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 4);
    let loss = SoftmaxCrossEntropy::default();
    let by_class = evaluate(&loss, &logits, Targets::Classes(&[1, 3]));
    let by_value = evaluate(&loss, &logits, Targets::Values(&classes));
    assert!((by_class.0 - by_value.0).abs() < 1e-14);
    let same = by_class.1.data().iter().zip(by_value.1.data()).all(|(a, b)| (a - b).abs() < 1e-15);
    assert!(same, "{by_class:?} {by_value:?}");
    assert!((2.0 * by_class.1.row(0)[0] - 0.842_034).abs() < 1e-6);
    let questions = evaluate(&SigmoidCrossEntropy, &logits, Targets::Values(&classes));
    assert_eq!(questions, evaluate(&SigmoidCrossEntropy, &logits, Targets::Classes(&[1, 3])));
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let outputs = matrix(&[0.0; 6], 3);
    let other = matrix(&[0.0; 6], 2);
    let refuse = |loss: &dyn Loss<f64>, targets| {
        loss.evaluate(&outputs, targets, None, Exec::default()).unwrap_err().to_string()
    };
    let error = refuse(&SigmoidCrossEntropy, Targets::Values(&other));
    assert!(error.contains("expected 2 x 3, got 3 x 2"), "{error}");
    let error = refuse(&SoftmaxCrossEntropy::default(), Targets::Values(&other));
    assert!(error.contains("2 x 3") && error.contains("3 x 2"), "{error}");
}

#[test]
fn d20_every_activation_passes_the_gradient_check() {
    type Builder = tilewise_nn::SequentialBuilder;
    let activations: [fn(Builder) -> Builder; 10] = [
        Builder::relu,
        Builder::sigmoid,
        Builder::tanh,
        Builder::gelu,
        Builder::gelu_tanh,
        Builder::silu,
        Builder::softplus,
        |plan| plan.elu(0.7),
        |plan| plan.leaky_relu(0.2),
        |plan| plan.batch_norm().relu(),
    ];
    let mut random = tilewise_nn::random::Random::new(3);
    let values: Vec<f64> = (0..24).map(|_| random.normal()).collect();
    let x = matrix(&values, 4);
    for (i, activation) in activations.iter().enumerate() {
        let plan = activation(Sequential::new().linear(4, 5)).linear(5, 3);
        let mut model = plan.build_as::<f64>(7).unwrap();
        let loss = SoftmaxCrossEntropy::default().class_weights(vec![1.0, 2.0, 0.5]);
        let check = gradient_check(&mut model, &x, &[0, 1, 2, 0, 1, 2], &loss).unwrap();
        assert!(check.error < 1e-6, "activation {i}: {check:?}");
    }
}
