//! Whole trainings: optimisers, determinism, bad input.

use crate::common::blobs;
use tilewise_kernels::{Exec, Par};
use tilewise_nn::layers::{Dropout, Layer, Parameter, ParameterKind, Pass, Saved};
use tilewise_nn::optim::{OptimizerState, Stepped};
use tilewise_nn::prelude::*;
use tilewise_nn::{Matrix, SequentialBuilder};

fn plan() -> SequentialBuilder {
    Sequential::new()
        .linear(8, 16)
        .batch_norm()
        .relu()
        .linear(16, 12)
        .batch_norm()
        .relu()
        .linear(12, 4)
}

/// The weight after each of three steps on J(w) = w² - 10w + 25 from w = 0.
fn descend(optimizer: &impl Optimizer<f64>) -> [f64; 3] {
    let mut w = Parameter::new("w", ParameterKind::Weight, &[1], 0.0);
    let mut state = vec![vec![0.0]; optimizer.slots()];
    [1, 2, 3].map(|step| {
        w.gradient[0] = 2.0 * w.value[0] - 10.0;
        optimizer.update(&mut w, &mut state, step, Exec::default()).unwrap();
        w.value[0]
    })
}

#[test]
fn d7_optimisers_take_the_known_steps() {
    let near = |got: [f64; 3], expected: &[f64]| {
        let fits = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 6e-8);
        assert!(fits, "{got:?} instead of {expected:?}");
    };
    near(descend(&Sgd::new(0.01)), &[0.1, 0.198, 0.29404]);
    near(descend(&Sgd::momentum(0.9).ewa()), &[0.01, 0.02898, 0.056004]);
    near(descend(&Sgd::momentum(0.9)), &[0.1, 0.288, 0.55144]);
    near(descend(&RmsProp::default().learning_rate(0.01)), &[0.0316228, 0.0544953, 0.0736122]);
    near(descend(&Adam::default().learning_rate(0.1)), &[0.1, 0.1999422]);
    // Adagrad: s = 100, w = 0.1; then g = -9.8 and s = 196.04.
    near(descend(&Adagrad::default().learning_rate(0.1)), &[0.1, 0.169_992_858]);
    // Nesterov: v = g + 0.9 v, w -= 0.01 (g + 0.9 v).
    near(descend(&Sgd::momentum(0.9).nesterov()), &[0.19, 0.453_78]);
}

#[test]
fn d3_plain_descent_settles_at_the_minimum() {
    let sgd = Sgd::new(0.01);
    let mut w = Parameter::new("w", ParameterKind::Weight, &[1], 0.0f64);
    for step in 1..=1000 {
        w.gradient[0] = 2.0 * w.value[0] - 10.0;
        sgd.update(&mut w, &mut [], step, Exec::default()).unwrap();
    }
    assert!((w.value[0] - 4.999_999_991_6).abs() < 1e-10, "{}", w.value[0]);
    // In f32 the steps become too small to change w a little before 5.
    let mut w = Parameter::new("w", ParameterKind::Weight, &[1], 0.0f32);
    for step in 1..=2000 {
        w.gradient[0] = 2.0 * w.value[0] - 10.0;
        sgd.update(&mut w, &mut [], step, Exec::default()).unwrap();
    }
    assert!((w.value[0] - 4.999_988_6).abs() < 3e-6, "{}", w.value[0]);
}

#[test]
fn d15_real_digits_are_learned() {
    let (train, test) = digits().unwrap().stratified_split(360, 1).unwrap();
    let mut model = Sequential::new()
        .linear(64, 256)
        .batch_norm()
        .relu()
        .dropout(0.3)
        .linear(256, 10)
        .build(1)
        .unwrap();
    Trainer::new(Adam::default()).epochs(30).seed(1).fit(&mut model, &train, &test).unwrap();
    let accuracy = model.evaluate(&test).unwrap().accuracy;
    assert!(accuracy >= 0.975, "{accuracy}");
}

#[test]
fn b11_every_optimiser_trains_a_batch_norm_network() {
    fn accuracy(optimizer: impl Optimizer<f32> + Clone) -> f64 {
        let (train, test) = blobs(800, 8, 4, 3.0).stratified_split(200, 1).unwrap();
        let mut model = plan().build(1).unwrap();
        Trainer::new(optimizer)
            .epochs(30)
            .batch_size(32)
            .seed(2)
            .fit(&mut model, &train, &test)
            .unwrap();
        model.evaluate(&test).unwrap().accuracy
    }
    for accuracy in [
        accuracy(Sgd::new(0.1)),
        accuracy(Sgd::momentum(0.9)),
        accuracy(Sgd::momentum(0.9).ewa().learning_rate(0.1)),
        accuracy(Sgd::momentum(0.9).nesterov()),
        accuracy(RmsProp::default()),
        accuracy(Adagrad::default().learning_rate(0.1)),
        accuracy(Adam::default()),
        accuracy(Adam::adamw(0.01).clip_norm(1.0)),
    ] {
        assert!(accuracy > 0.9, "{accuracy}");
    }
}

/// The gradients by which `optimizer` moves two parameters that start at 0.
fn moved(optimizer: &impl Optimizer<f64>, gradients: [f64; 2]) -> Result<[f64; 2], String> {
    let mut parameters = gradients.map(|gradient| {
        let mut parameter = Parameter::new("w", ParameterKind::Weight, &[1], 0.0);
        parameter.gradient[0] = gradient;
        parameter
    });
    let mut all =
        parameters.each_mut().map(|parameter| Stepped { parameter, state: &mut [], rate: 1.0 });
    let outcome = optimizer.update_all(&mut all, 1, Exec::default());
    let moved = parameters.map(|parameter| -parameter.value[0]);
    match outcome {
        Ok(()) => Ok(moved),
        Err(error) => {
            assert_eq!(moved, [0.0; 2]);
            Err(error.to_string())
        }
    }
}

#[test]
fn gradients_are_clipped_by_element_and_by_the_norm_of_all() {
    let sgd = Sgd::new(1.0);
    assert_eq!(moved(&sgd.clip_value(2.0), [3.0, -1.0]), Ok([2.0, -1.0]));
    assert_eq!(moved(&sgd.clip_norm(2.5), [3.0, -4.0]), Ok([1.5, -2.0]));
    assert_eq!(moved(&sgd.clip_norm(5.0), [3.0, -4.0]), Ok([3.0, -4.0]));
    assert_eq!(moved(&sgd.clip_norm(2.5).clip_value(1.75), [3.0, -4.0]), Ok([1.5, -1.75]));
    for (optimizer, gradient, expected) in [
        (sgd.clip_norm(1.0), f64::NAN, "norm of all gradients: expected a finite value, got NaN"),
        (
            sgd.clip_norm(1.0),
            f64::INFINITY,
            "norm of all gradients: expected a finite value, got inf",
        ),
        (
            sgd.clip_norm(0.0),
            1.0,
            "limit of the gradients' norm: expected a finite value above 0, got 0",
        ),
        (sgd.clip_value(-1.0), 1.0, "sgd gradient limit: expected a value above 0 in f64, got -1"),
    ] {
        assert_eq!(moved(&optimizer, [gradient, 1.0]), Err(expected.to_owned()));
    }
}

#[test]
fn the_state_of_another_optimiser_is_refused() {
    let mut model = plan().build(1).unwrap();
    let mut state = OptimizerState::<f32>::new();
    state.step(&Adam::default(), &mut model).unwrap();
    let before = model.to_safetensors().unwrap();
    let error = state.step(&RmsProp::default(), &mut model).unwrap_err().to_string();
    assert!(error.contains("1 vectors for each parameter") && error.ends_with("got 2"), "{error}");
    assert_eq!((model.to_safetensors().unwrap(), state.steps()), (before, 1));
}

#[test]
fn b16_weight_decay_skips_scales_shifts_and_biases() {
    let step = |optimizer: Sgd| {
        let mut model = plan().build(1).unwrap();
        for layer in 0..model.layers().count() {
            for parameter in model.layer_parameters_mut(layer) {
                parameter.value.fill(1.0);
                parameter.gradient.fill(0.0);
            }
        }
        OptimizerState::new().step(&optimizer, &mut model).unwrap();
        let moved = |layer: &dyn Layer<f32>| {
            layer.parameters().iter().map(|p| (p.kind, p.value[0] != 1.0)).collect::<Vec<_>>()
        };
        model.layers().flat_map(moved).collect::<Vec<_>>()
    };
    let decayed = step(Sgd::new(0.1).weight_decay(0.5));
    assert!(decayed.iter().all(|&(kind, moved)| moved == (kind == ParameterKind::Weight)));
    assert!(decayed.iter().any(|&(kind, _)| kind == ParameterKind::Scale));
    assert!(decayed.iter().any(|&(kind, _)| kind == ParameterKind::Bias));
    let all = step(Sgd::new(0.1).weight_decay(0.5).decay_everything());
    assert!(all.iter().all(|&(_, moved)| moved));
}

#[test]
fn b16_inverted_dropout_keeps_the_mean_and_redraws_its_mask() {
    let mut dropout = Dropout::new(0.4, 3).unwrap();
    let x = Matrix::new(vec![1.0f32; 100_000], 1000, 100).unwrap();
    let mut y = x.clone();
    let pass = Pass { step: 5, ..Pass::default() };
    dropout.forward(&x, &mut y, pass).unwrap();
    let mean = y.data().iter().sum::<f32>() / 100_000.0;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    let kept = y.data().iter().filter(|&&y| y > 0.0).count();
    assert!(kept.abs_diff(60_000) < 600, "{kept}");
    let mut dx = x.clone();
    dropout.backward(Saved { x: &x, y: &y, dy: &x }, Some(&mut dx), pass).unwrap();
    assert_eq!(dx, y, "the backward mask is another one");
    dropout.forward(&x, &mut dx, Pass { step: 6, ..pass }).unwrap();
    assert_ne!(dx, y, "two steps have one mask");
    dropout.infer(&x, &mut dx, Exec::default()).unwrap();
    assert_eq!(dx, x);
}

#[test]
fn c13_networks_end_in_logits_and_predict_probabilities() {
    let model = plan().build(1).unwrap();
    let x = blobs(50, 8, 4, 1.0);
    let (logits, proba) =
        (model.logits(x.features()).unwrap(), model.predict_proba(x.features()).unwrap());
    assert!(logits.data().iter().any(|&z| !(0.0..=1.0).contains(&z)));
    let classes = model.predict(x.features()).unwrap();
    for (row, &class) in classes.iter().enumerate() {
        assert!((proba.row(row).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let largest = (0..4).max_by(|&a, &b| proba.row(row)[a].total_cmp(&proba.row(row)[b]));
        assert_eq!(Some(class), largest);
    }
}

#[test]
fn c12_one_logit_learns_two_classes_by_sigmoid_cross_entropy() {
    let data = blobs(400, 4, 2, 3.0);
    let mut model = Sequential::new().linear(4, 8).tanh().linear(8, 1).build(1).unwrap();
    let trainer = Trainer::new(Adam::default().learning_rate(0.01)).loss(SigmoidCrossEntropy);
    trainer.epochs(10).fit(&mut model, &data, &data).unwrap();
    let metrics = model.evaluate_with(&data, &SigmoidCrossEntropy).unwrap();
    assert!(metrics.accuracy > 0.95, "{metrics:?}");
    let proba = model.predict_proba(data.features()).unwrap();
    let classes = model.predict(data.features()).unwrap();
    assert!(proba.data().iter().zip(&classes).all(|(&p, &class)| (p > 0.5) == (class == 1)));
}

#[test]
fn k10_a_training_gives_the_same_bits_on_any_number_of_threads() {
    let data = blobs(500, 8, 4, 1.5);
    let train = |threads: usize, exec: Exec| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = plan().dropout(0.1).linear(4, 4).build(1).unwrap();
            model.set_exec(exec);
            let trainer = Trainer::new(Adam::default()).epochs(3).batch_size(128).seed(4);
            let history = trainer.fit(&mut model, &data, &data).unwrap();
            let losses: Vec<u64> =
                history.epochs.iter().map(|epoch| epoch.train_loss.to_bits()).collect();
            (model.to_safetensors().unwrap(), losses)
        })
    };
    let serial = train(1, Exec::serial());
    for threads in [1, 2, 3] {
        assert!(train(threads, Exec::default()) == serial, "{threads} threads, automatic");
        let exact = Exec::default().par(Par::Threads(threads));
        assert!(train(threads, exact) == serial, "{threads} threads, exactly");
    }
}

#[test]
fn d15_history_tells_the_course_and_draws_it() {
    let data = blobs(400, 8, 4, 3.0);
    let mut model = plan().build(1).unwrap();
    let history = Trainer::new(Adam::default()).epochs(5).fit(&mut model, &data, &data).unwrap();
    assert_eq!(history.epochs.len(), 5);
    assert!(history.epochs[4].train_loss < history.epochs[0].train_loss);
    assert!(history.first_step.is_some() && history.steps_per_second() > 0.0);
    let last = model.evaluate(&data).unwrap();
    let epoch = history.epochs[4];
    assert_eq!((epoch.valid_loss, epoch.valid_accuracy), (last.loss, last.accuracy));
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("curve/history.svg");
    history.save_svg(&path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("validation accuracy") && svg.contains("<polyline"), "{svg}");
    // One epoch, and none, can be drawn too.
    let trainer = Trainer::new(Adam::default());
    for epochs in [1, 0] {
        let history = trainer.clone().epochs(epochs).fit(&mut model, &data, &data).unwrap();
        history.save_svg(&path).unwrap();
    }
}

/// The error of training on `data`, after checking that nothing changed.
fn refused<O: Optimizer<f32> + Clone>(trainer: &Trainer<O>, data: &Dataset) -> String {
    let mut model = plan().build(1).unwrap();
    let before = model.to_safetensors().unwrap();
    let error = trainer.fit(&mut model, data, data).unwrap_err().to_string();
    assert_eq!(model.to_safetensors().unwrap(), before, "{error}");
    error
}

#[test]
fn bad_data_is_refused_before_anything_changes() {
    let trainer = Trainer::new(Adam::default()).batch_size(4);
    let good = blobs(13, 8, 4, 1.0);

    let mut features = good.features().clone();
    features.row_mut(5)[3] = f32::NAN;
    let error = refused(&trainer, &good.with_features(features.clone()).unwrap());
    assert_eq!(error, "training features, row 5, column 3: expected a finite value, got NaN");
    features.row_mut(5)[3] = f32::INFINITY;
    let error = refused(&trainer, &good.with_features(features).unwrap());
    assert!(error.contains("row 5, column 3") && error.contains("got inf"), "{error}");

    // 13 = 3 · 4 + 1
    let error = refused(&trainer, &good);
    assert!(error.starts_with("layer 1 batch_norm: smallest minibatch: expected at least 2 rows"));
    assert!(error.contains("drop_last") && error.ends_with("got 1"), "{error}");
    let mut model = plan().build(1).unwrap();
    trainer.clone().drop_last(true).fit(&mut model, &good, &good).unwrap();

    let wide = good.with_features(Matrix::zeros(13, 9).unwrap()).unwrap();
    let error = refused(&trainer, &wide);
    assert_eq!(error, "layer 0 linear: training features: expected 8 columns, got 9 columns");

    let labels = vec![0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2];
    let five = Dataset::new(good.features().clone(), labels, 5).unwrap();
    let error = refused(&trainer, &five);
    assert_eq!(error, "training label of row 4: expected a class below 4 for 4 outputs, got 4");

    let none = good.select(&[]).unwrap();
    assert!(refused(&trainer, &none).contains("training data: expected at least one row"));
    assert!(refused(&trainer.clone().batch_size(0), &good).contains("batch size: expected"));
    let dropping = trainer.clone().batch_size(50).drop_last(true);
    assert!(refused(&dropping, &good).contains("minibatches: expected at least one"));
    let error = refused(&Trainer::new(Adam::default().learning_rate(f64::NAN)), &good);
    assert!(error.contains("adam learning rate"), "{error}");
}

#[test]
fn training_that_diverges_stops_and_names_step_and_layer() {
    let data = blobs(64, 8, 4, 1.0);
    let mut model =
        Sequential::new().linear(8, 8).relu().linear(8, 8).relu().linear(8, 4).build(1).unwrap();
    let trainer = Trainer::new(Sgd::new(1e20)).epochs(50);
    let error = trainer.fit(&mut model, &data, &data).unwrap_err();
    let message = error.to_string();
    let Error::Diverged { step, place, got } = error else { panic!("{message}") };
    assert!((1..50).contains(&step) && !got.is_finite(), "{message}");
    assert!(place.starts_with("layer"), "{message}");
    assert!(message.contains("expected finite values"), "{message}");
}

#[test]
fn labels_out_of_range_are_named_by_the_losses() {
    let mut model = plan().build(1).unwrap();
    let x = blobs(4, 8, 4, 1.0);
    let softmax = SoftmaxCrossEntropy::default();
    for error in [
        model.loss_and_gradients(x.features(), &[0, 1, 4, 0], &softmax).unwrap_err(),
        model.loss_and_gradients(x.features(), &[0, 1, 4, 0], &SigmoidCrossEntropy).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.starts_with("loss: ") && error.contains("row 2"), "{error}");
        assert!(error.contains('4'), "{error}");
    }
    assert!(model.loss_and_gradients(x.features(), &[0, 1], &softmax).is_err());
}

#[test]
fn d8_models_are_independent() {
    let data = blobs(64, 8, 4, 1.0);
    let mut alone = plan().build(1).unwrap();
    let trainer = Trainer::new(Adam::default()).epochs(2);
    trainer.fit(&mut alone, &data, &data).unwrap();
    let (mut first, mut second) = (plan().build(1).unwrap(), plan().build(2).unwrap());
    std::thread::scope(|scope| {
        let (data, trainer) = (&data, &trainer);
        scope.spawn(|| trainer.fit(&mut second, data, data).unwrap());
        trainer.fit(&mut first, data, data).unwrap();
    });
    assert_eq!(first.to_safetensors().unwrap(), alone.to_safetensors().unwrap());
}
