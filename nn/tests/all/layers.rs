//! Layers other than those of images: gradients by differences, and what each promises.

use tilewise_nn::SequentialBuilder;
use tilewise_nn::gradient_check;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

/// Normal values.
pub(crate) fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
    let mut random = Random::new(seed);
    Matrix::new((0..rows * cols).map(|_| random.normal()).collect(), rows, cols).unwrap()
}

/// Checks all gradients of a plan with a loss whose gradients are nowhere alike.
#[track_caller]
pub(crate) fn passes(plan: SequentialBuilder, rows: usize, seed: u64) {
    let mut model = plan.build_as::<f64>(seed).unwrap();
    let x = normal(rows, model.inputs(), seed + 1);
    let targets = normal(rows, model.outputs(), seed + 2);
    let check = gradient_check(&mut model, &x, &targets, &MeanSquaredError).unwrap();
    assert!(check.error < 1e-6, "{check:?}");
    assert!(!check.worst.is_empty(), "no parameter was checked");
}

#[test]
fn d20_norms_of_rows_pass_the_gradient_check() {
    passes(Sequential::new().linear(5, 7).layer_norm().tanh().linear(7, 3).layer_norm(), 4, 1);
    passes(Sequential::new().linear(5, 7).rms_norm().tanh().linear(7, 3).rms_norm(), 4, 2);
    passes(Sequential::new().input(6).layer_norm().rms_norm().linear(6, 2), 3, 3);
}

#[test]
fn a_normalised_row_has_mean_zero_and_variance_one_alone_or_in_a_batch() {
    let model = Sequential::new().input(9).layer_norm().build_as::<f64>(1).unwrap();
    let x = normal(5, 9, 1);
    let y = model.logits(&x).unwrap();
    for row in 0..5 {
        let mean = y.row(row).iter().sum::<f64>() / 9.0;
        let var = y.row(row).iter().map(|y| y * y).sum::<f64>() / 9.0 - mean * mean;
        assert!(mean.abs() < 1e-12 && (var - 1.0).abs() < 1e-4, "{mean} {var}");
        let alone = model.logits(&x.select_rows(&[row]).unwrap()).unwrap();
        assert_eq!(alone.row(0), y.row(row));
    }
    let model = Sequential::new().input(9).rms_norm().build_as::<f64>(1).unwrap();
    let y = model.logits(&x).unwrap();
    let square = y.row(0).iter().map(|y| y * y).sum::<f64>() / 9.0;
    assert!((square - 1.0).abs() < 1e-4, "{square}");
}

#[test]
fn embeddings_look_up_and_learn() {
    let plan = || Sequential::new().input(3).embedding(5, 2);
    let mut model = plan().linear(6, 2).build_as::<f64>(1).unwrap();
    let x = Matrix::new(vec![0.0, 4.0, 4.0, 2.0, 0.0, 1.0], 2, 3).unwrap();
    let targets = normal(2, 2, 3);
    let check = gradient_check(&mut model, &x, &targets, &MeanSquaredError).unwrap();
    assert!(check.error < 1e-6 && !check.worst.is_empty(), "{check:?}");

    let table = plan().build_as::<f64>(1).unwrap();
    let vectors = table.layers().next().unwrap().parameters()[0].value.clone();
    let y = table.logits(&x).unwrap();
    assert_eq!(y.row(0), [&vectors[0..2], &vectors[8..10], &vectors[8..10]].concat());
    for wrong in [5.0, -1.0, 0.5, f64::NAN] {
        let x = Matrix::new(vec![0.0, 1.0, wrong], 1, 3).unwrap();
        let error = table.logits(&x).unwrap_err().to_string();
        let expected =
            "layer 0 embedding: input of row 0, column 2: expected a whole number below 5";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn residual_blocks_pass_the_gradient_check_in_every_arrangement() {
    let plan = || Sequential::new().linear(4, 6);
    let block = |block: SequentialBuilder| block.batch_norm().relu().linear(6, 6);
    passes(plan().residual(block).linear(6, 2), 5, 1);
    passes(plan().residual(block).residual(block).tanh().linear(6, 2), 5, 2);
    passes(plan().residual(|outer| outer.residual(block).tanh().linear(6, 6)).linear(6, 2), 5, 3);
    let narrow = |block: SequentialBuilder| block.tanh().linear(6, 3);
    passes(plan().residual_with(narrow, |shortcut| shortcut.linear(6, 3)), 5, 4);
    // Both branches read the features.
    let first = Sequential::new().input(4).residual(|block| block.linear(4, 4).tanh().linear(4, 4));
    passes(first.linear(4, 2), 5, 5);
    passes(plan().residual(|block| block).linear(6, 2), 5, 6);
}

#[test]
fn inference_through_residual_blocks_adds_what_training_adds() {
    let plan = Sequential::new().linear(4, 6).residual_with(
        |block| block.tanh().residual(|inner| inner.linear(6, 6).tanh()).linear(6, 3),
        |shortcut| shortcut.tanh().linear(6, 3),
    );
    let mut model = plan.linear(3, 2).build_as::<f64>(3).unwrap();
    let x = normal(7, 4, 1);
    let targets = normal(7, 2, 2);
    let trained = model.loss_and_gradients(&x, &targets, &MeanSquaredError).unwrap();
    let logits = model.logits(&x).unwrap();
    let squares = logits.data().iter().zip(targets.data()).map(|(y, t)| (y - t).powi(2));
    assert!((squares.sum::<f64>() / 14.0 - trained).abs() < 1e-14);
}

#[test]
fn branches_that_do_not_meet_are_refused_by_name() {
    let plan = Sequential::new().linear(4, 6).residual(|block| block.relu().linear(6, 5));
    let error = plan.build(1).unwrap_err().to_string();
    assert_eq!(
        error,
        "layer 3 add: shortcut: expected 5 columns, as the block gives (see residual_with), got 6 \
         columns"
    );
    let error = Sequential::new().relu().linear(3, 3).build(1).unwrap_err().to_string();
    assert!(error.contains("input(features)"), "{error}");
}

/// A model whose statistics are not those of the start.
fn trained(plan: SequentialBuilder, rows: usize) -> Sequential<f64> {
    let mut model = plan.build_as::<f64>(1).unwrap();
    let x = normal(rows, model.inputs(), 2);
    let targets = normal(rows, model.outputs(), 3);
    let mut state = tilewise_nn::optim::OptimizerState::new();
    for _ in 0..5 {
        model.loss_and_gradients(&x, &targets, &MeanSquaredError).unwrap();
        state.step(&Adam::default().learning_rate(0.05), &mut model).unwrap();
    }
    model
}

#[test]
fn folded_models_predict_the_same_without_batch_norm() {
    let kinds = |model: &Sequential<f64>| model.layers().map(|l| l.kind()).collect::<Vec<_>>();
    let rows = Sequential::new().linear(6, 5).batch_norm().relu().linear(5, 4).batch_norm().tanh();
    let images = Sequential::new().input_image(1, 4, 4).conv2d_same(2, 3).batch_norm().relu();
    let images = images.residual(|block| block.conv2d_same(2, 3).batch_norm()).flatten();
    for (plan, expected) in [
        (rows.linear(4, 2), vec!["linear", "linear", "tanh", "linear"]),
        (images.linear(32, 2), vec!["conv2d", "conv2d", "add", "linear"]),
    ] {
        let model = trained(plan, 6);
        let x = normal(9, model.inputs(), 4);
        let before = model.logits(&x).unwrap();
        let folded = model.folded().unwrap();
        assert_eq!(kinds(&folded), expected);
        let after = folded.logits(&x).unwrap();
        let off = before.data().iter().zip(after.data()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) < 1e-12, "{before:?} {after:?}");
    }
}

#[test]
fn batch_norm_that_cannot_be_folded_stays() {
    let kinds = |model: Sequential<f64>| {
        model.folded().unwrap().layers().map(|l| l.kind()).collect::<Vec<_>>()
    };
    // First, behind an activation, and behind a value that another layer reads.
    let model = trained(Sequential::new().input(3).batch_norm().linear(3, 2), 6);
    assert_eq!(kinds(model), ["batch_norm", "linear"]);
    let model = trained(Sequential::new().linear(3, 3).tanh().batch_norm().linear(3, 2), 6);
    assert_eq!(kinds(model), ["linear", "batch_norm", "linear"]);
    let block = |block: SequentialBuilder| block.batch_norm().relu();
    let model = trained(Sequential::new().linear(3, 3).residual(block).linear(3, 2), 6);
    assert_eq!(kinds(model), ["linear", "batch_norm", "add", "linear"]);
}
