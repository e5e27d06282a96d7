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

#[test]
fn losses_of_regressions_have_their_values_and_gradients() {
    let (outputs, targets) = (matrix(&[1.0, -3.0, 0.5, 2.0], 2), matrix(&[0.0, 0.0, 0.5, 5.0], 2));
    let near = |got: (f64, Matrix<f64>), value: f64, gradient: [f64; 4]| {
        assert!((got.0 - value).abs() < 1e-14, "{got:?}");
        let off = got.1.data().iter().zip(gradient).map(|(got, g)| (got - g / 4.0).abs());
        assert!(off.fold(0.0, f64::max) < 1e-14, "{got:?}");
    };
    let targets = Targets::Values(&targets);
    near(evaluate(&MeanSquaredError, &outputs, targets), 19.0 / 4.0, [2.0, -6.0, 0.0, -6.0]);
    near(evaluate(&MeanAbsoluteError, &outputs, targets), 7.0 / 4.0, [1.0, -1.0, 0.0, -1.0]);
    near(evaluate(&Huber::default(), &outputs, targets), 5.5 / 4.0, [1.0, -1.0, 0.0, -1.0]);
    near(evaluate(&Huber::new(2.0), &outputs, targets), 8.5 / 4.0, [1.0, -2.0, 0.0, -2.0]);
    let classes = Targets::Classes(&[0, 1]);
    let error = MeanSquaredError.evaluate(&outputs, classes, None, Exec::default()).unwrap_err();
    assert!(error.to_string().starts_with("targets: expected values"), "{error}");
    let error = Huber::new(-1.0).evaluate(&outputs, targets, None, Exec::default()).unwrap_err();
    assert!(error.to_string().contains("delta: expected a finite value above 0"), "{error}");
}

/// y = 2x - 1 is found by steps on the squared error.
#[test]
fn a_line_is_fitted() {
    let x = matrix(&[-1.0, -0.5, 0.0, 0.5, 1.0], 1);
    let y = matrix(&[-3.0, -2.0, -1.0, 0.0, 1.0], 1);
    let mut model = Sequential::new().linear(1, 1).build_as::<f64>(1).unwrap();
    let mut state = tilewise_nn::optim::OptimizerState::new();
    for _ in 0..300 {
        model.loss_and_gradients(&x, &y, &MeanSquaredError).unwrap();
        state.step(&Sgd::new(0.3), &mut model).unwrap();
    }
    let mut found = Vec::new();
    model.for_each_parameter(|_, parameter| found.push(parameter.value[0]));
    assert!((found[0] - 2.0).abs() < 1e-9 && (found[1] + 1.0).abs() < 1e-9, "{found:?}");
}

#[test]
fn k4_ignored_rows_count_for_nothing() {
    let logits = matrix(&[5.0, 2.0, -1.0, 0.0, 0.5, 0.1], 3);
    let loss = SoftmaxCrossEntropy::default().ignore(9);
    let both = evaluate(&loss, &logits, Targets::Classes(&[1, 9]));
    let first = evaluate(&loss, &logits.select_rows(&[0]).unwrap(), Targets::Classes(&[1]));
    assert_eq!(both.0, first.0);
    assert_eq!([both.1.row(0), both.1.row(1)], [first.1.row(0), &[0.0; 3]]);
    let none = evaluate(&loss, &logits, Targets::Classes(&[9, 9]));
    assert_eq!((none.0, none.1.data()), (0.0, &[0.0; 6][..]));
}
