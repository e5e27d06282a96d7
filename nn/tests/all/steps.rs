//! Training steps that move each parameter as soon as its gradient is there.

use tilewise_nn::loss::{Loss, Targets};
use tilewise_nn::optim::{Adagrad, Adam, Optimizer, OptimizerState, RmsProp, Sgd};
use tilewise_nn::prelude::SoftmaxCrossEntropy;
use tilewise_nn::{Error, Matrix, Sequential, StepRule};

use super::common::blobs;

/// Linear layers, normalisations, a residual block and dropout.
fn network(seed: u64) -> Sequential<f32> {
    let builder = Sequential::new().linear(7, 12).batch_norm().relu();
    let builder = builder.residual(|body| body.linear(12, 12).layer_norm().tanh()).dropout(0.2);
    builder.linear(12, 3).build(seed).unwrap()
}

fn bits(model: &Sequential<f32>) -> Vec<u8> {
    model.to_safetensors().unwrap()
}

fn weights(model: &Sequential<f32>) -> Vec<Vec<f32>> {
    model.layers().flat_map(|layer| layer.parameters()).map(|p| p.value.clone()).collect()
}

#[test]
fn a_step_gives_the_bits_of_gradients_and_an_optimiser_one_after_the_other() {
    let data = blobs(20, 7, 3, 1.0);
    let loss = SoftmaxCrossEntropy::default();
    let optimizers: [&dyn Optimizer<f32>; 5] = [
        &Sgd::momentum(0.9).learning_rate(0.1).weight_decay(1e-2),
        &RmsProp::default(),
        &Adagrad::default().clip_value(0.05),
        &Adam::adamw(0.1),
        // Needs all gradients before it moves anything.
        &Adam::default().clip_norm(0.1),
    ];
    for (number, optimizer) in optimizers.into_iter().enumerate() {
        let mut models = [network(1), network(1)];
        let mut states = [OptimizerState::new(), OptimizerState::new()];
        for model in &mut models {
            model.for_each_parameter(|layer, p| p.rate = if layer == 0 { 0.5 } else { 1.0 });
        }
        for step in 1..=6 {
            let rate = 1.0 / f64::from(step);
            let [apart, together] = &mut models;
            let first = apart.loss_and_gradients(data.features(), data.labels(), &loss).unwrap();
            states[0].step_at(rate, optimizer, apart).unwrap();
            let rule = StepRule { loss: &loss, optimizer, rate };
            let second = together.train_step(data.features(), data.labels(), &rule, &mut states[1]);
            assert_eq!(first, second.unwrap(), "loss of step {step} by optimiser {number}");
            assert_eq!(bits(&models[0]), bits(&models[1]), "step {step} by optimiser {number}");
        }
        assert_eq!(states[0].steps(), states[1].steps());
    }
}

/// A loss that is finite though a gradient is not.
struct Cliff(f32);

impl Loss<f32> for Cliff {
    fn evaluate(
        &self,
        _: &Matrix<f32>,
        _: Targets<'_, f32>,
        gradient: Option<&mut Matrix<f32>>,
        _: tilewise_kernels::Exec,
    ) -> tilewise_kernels::Result<f64> {
        if let Some(gradient) = gradient {
            gradient.data_mut().fill(self.0);
        }
        Ok(0.5)
    }
}

#[test]
fn gradients_that_are_not_finite_move_nothing_and_are_named() {
    let data = blobs(8, 7, 3, 1.0);
    let mut state = OptimizerState::new();
    for got in [f32::NAN, f32::INFINITY] {
        let mut model = network(2);
        let before = weights(&model);
        let rule = StepRule { loss: &Cliff(got), optimizer: &Sgd::new(0.1), rate: 1.0 };
        let error = model.train_step(data.features(), data.labels(), &rule, &mut state);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Diverged { step: 0, .. }), "{error}");
        assert!(error.to_string().contains("linear gradient of weight"), "{error}");
        // The pass has moved running statistics, and nothing else.
        assert_eq!(weights(&model), before);
    }
    assert_eq!(state.steps(), 0);
}

#[test]
fn large_gradients_that_add_up_to_infinity_are_finite() {
    let data = blobs(8, 7, 3, 1.0);
    let mut model = Sequential::new().linear(7, 3).build(1).unwrap();
    let mut state = OptimizerState::new();
    let sgd = Sgd::new(0.1).clip_value(1.0);
    let rule = StepRule { loss: &Cliff(3e37), optimizer: &sgd, rate: 1.0 };
    model.train_step(data.features(), data.labels(), &rule, &mut state).unwrap();
    assert_eq!(state.steps(), 1);
}

#[test]
fn settings_outside_their_domain_move_nothing() {
    let data = blobs(8, 7, 3, 1.0);
    let loss = SoftmaxCrossEntropy::default();
    let mut model = network(3);
    let before = weights(&model);
    let mut state = OptimizerState::new();
    let mut step = |model: &mut Sequential<f32>, optimizer: &dyn Optimizer<f32>, rate| {
        let rule = StepRule { loss: &loss, optimizer, rate };
        model.train_step(data.features(), data.labels(), &rule, &mut state).unwrap_err()
    };
    let sgd = Sgd::new(0.1);
    assert!(step(&mut model, &sgd, -1.0).to_string().contains("learning rate"));
    let error = step(&mut model, &Adam::default().betas(2.0, 0.9), 1.0).to_string();
    assert!(error.contains("beta"), "{error}");
    model.for_each_parameter(|layer, p| p.rate = if layer == 0 { f64::NAN } else { 1.0 });
    assert!(step(&mut model, &sgd, 1.0).to_string().contains("learning rate of weight"));
    assert_eq!(weights(&model), before);
}

/// A convolution, a residual block, normalisations, and two activations in the stores of products.
fn mixed(seed: u64) -> Sequential<f32> {
    let builder = Sequential::new().input_image(1, 4, 4).conv2d_same(3, 3).tanh().max_pool(2);
    let builder = builder.residual(|body| body.conv2d_same(3, 3).batch_norm().relu());
    builder.flatten().dropout(0.1).linear(12, 6).relu().linear(6, 3).build(seed).unwrap()
}

#[test]
fn d13_a_model_explains_its_step() {
    let data = blobs(20, 16, 3, 1.0);
    let (loss, adam) = (SoftmaxCrossEntropy::default(), Adam::default());
    let rule = StepRule { loss: &loss, optimizer: &adam, rate: 1.0 };
    let mut models = [mixed(4), mixed(4)];
    let mut states = [OptimizerState::new(), OptimizerState::new()];
    let [told, plain] = &mut models;
    let (x, y) = (data.features(), data.labels());
    let explanation = told.explain(x, y, &rule, &mut states[0]).unwrap();
    plain.train_step(x, y, &rule, &mut states[1]).unwrap();
    assert_eq!(bits(told), bits(plain), "it is a step like any other");

    let names: Vec<_> = explanation.steps.iter().map(|step| &step.name[..]).collect();
    let forward = [
        "layer 0 conv2d + bias + tanh",
        "layer 2 max_pool",
        "layer 3 conv2d",
        "layer 4 batch_norm + relu",
        "layer 6 add",
        "layer 8 dropout",
        "layer 9 linear + bias + relu",
        "layer 11 linear + bias",
    ];
    assert_eq!(names[..8], forward);
    assert_eq!(names[8], "loss with its gradient");
    let gradients = names.iter().filter_map(|name| name.strip_prefix("gradients of "));
    assert!(gradients.eq(forward.iter().rev().copied()), "{names:?}");
    let updates = names.iter().filter(|name| name.starts_with("update of ")).count();
    assert_eq!(updates, 5, "one behind each layer that has parameters: {names:?}");
    assert_eq!(names.last(), Some(&"update of layer 0 conv2d"));
    assert_eq!(names.len(), 2 * 8 + 1 + 5);

    let step = |name: &str| explanation.steps.iter().find(|step| step.name == name).unwrap();
    let product = step("gradients of layer 9 linear + bias + relu");
    assert_eq!(product.flops, 2 * 2 * 20 * 12 * 6, "by the input and by the weight");
    // Input, gradients by it and by the output, and parameters with theirs.
    assert_eq!(product.bytes, 4 * (2 * 20 * 12 + 20 * 6 + 2 * (12 * 6 + 6)));
    assert_eq!(step("layer 0 conv2d + bias + tanh").flops, 20 * 2 * 9 * 16 * 3);
    let first = step("gradients of layer 0 conv2d + bias + tanh");
    assert_eq!(first.flops, 20 * 2 * 9 * 16 * 3, "nothing by the features");
    assert_eq!(step("update of layer 0 conv2d").bytes, 4 * 7 * (3 * 9 + 3));
    assert!(explanation.steps.iter().all(|step| !step.time.is_zero()));
    let table = explanation.to_string();
    assert_eq!(table.lines().count(), names.len() + 2, "{table}");
}

#[test]
fn a_model_explains_an_update_of_all_at_once() {
    let data = blobs(8, 7, 3, 1.0);
    let (loss, clipped) = (SoftmaxCrossEntropy::default(), Sgd::new(0.1).clip_norm(1.0));
    let rule = StepRule { loss: &loss, optimizer: &clipped, rate: 1.0 };
    let (mut model, mut state) = (network(1), OptimizerState::new());
    let explanation = model.explain(data.features(), data.labels(), &rule, &mut state).unwrap();
    let updates: Vec<_> =
        explanation.steps.iter().filter(|step| step.name.starts_with("update")).collect();
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].shape.len(), model.parameter_count());
}
