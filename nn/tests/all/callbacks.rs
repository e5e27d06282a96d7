//! What callbacks see and can do, gradient accumulation, and the table of a model.

use crate::common::blobs;
use tilewise_nn::optim::Dials;
use tilewise_nn::prelude::*;
use tilewise_nn::{Callback, Monitor, SequentialBuilder, Session, Snapshot};

fn plan() -> SequentialBuilder {
    Sequential::new().linear(8, 16).batch_norm().relu().dropout(0.2).linear(16, 4)
}

fn trainer() -> Trainer<Adam> {
    Trainer::new(Adam::default()).epochs(4).batch_size(32).seed(3)
}

fn bytes(model: &Sequential) -> Vec<u8> {
    model.to_safetensors().unwrap()
}

/// A callback from a closure that is called after every step.
struct OnStep<F>(F);

impl<F: FnMut(&mut Session<'_>) -> Result<()>> Callback for OnStep<F> {
    fn step(&mut self, session: &mut Session<'_>) -> Result<()> {
        (self.0)(session)
    }
}

#[test]
fn d15_callbacks_see_every_step_and_can_stop() {
    let data = blobs(100, 8, 4, 2.0);
    let mut model = plan().build(1).unwrap();
    let mut seen = Vec::new();
    let mut watch = OnStep(|session: &mut Session<'_>| {
        assert!(session.loss().is_finite() && session.steps_per_epoch() == 4);
        assert_eq!(session.epochs(), session.history().epochs.len() as u64);
        seen.push((session.epochs(), session.steps()));
        if session.steps() == 6 {
            session.stop("six are enough");
        }
        Ok(())
    });
    let history = trainer().fit_with(&mut model, &data, &data, &mut [&mut watch]).unwrap();
    assert_eq!(seen, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6)]);
    assert_eq!((history.epochs.len(), history.stopped.as_deref()), (1, Some("six are enough")));
}

#[test]
fn a11_going_back_to_a_snapshot_gives_the_same_bits_again() {
    let data = blobs(100, 8, 4, 2.0);
    let mut plain = plan().build(1).unwrap();
    let expected = trainer().fit(&mut plain, &data, &data).unwrap();
    let (mut kept, mut back): (Option<Snapshot>, bool) = (None, false);
    let mut wander = OnStep(|session: &mut Session<'_>| {
        match session.steps() {
            5 if kept.is_none() => kept = Some(session.snapshot()),
            6..=8 if !back => session.set_learning_rate(0.1)?,
            9 if !back => {
                session.model_mut().layer_parameters_mut(0)[0].value.fill(f32::NAN);
                session.restore(kept.as_ref().unwrap())?;
                back = true;
                assert_eq!((session.steps(), session.epochs()), (5, 1));
                assert_eq!(session.dials().learning_rate, Some(0.001));
            }
            _ => {}
        }
        Ok(())
    });
    let mut model = plan().build(1).unwrap();
    let history = trainer().fit_with(&mut model, &data, &data, &mut [&mut wander]).unwrap();
    assert!(back);
    assert_eq!(bytes(&model), bytes(&plain));
    let losses = |history: &History| -> Vec<u64> {
        history.epochs.iter().map(|epoch| epoch.train_loss.to_bits()).collect()
    };
    assert_eq!(losses(&history), losses(&expected));
}

/// Takes a snapshot after every epoch, and goes back to it with a smaller rate when all breaks.
#[derive(Default)]
struct Nurse {
    kept: Option<Snapshot>,
    rescues: usize,
}

impl Callback for Nurse {
    fn epoch(&mut self, session: &mut Session<'_>) -> Result<()> {
        if session.epochs() == 1 && self.kept.is_none() {
            self.kept = Some(session.snapshot());
            session.set_learning_rate(1e30)?;
        }
        Ok(())
    }

    fn diverged(&mut self, session: &mut Session<'_>, error: &Error) -> Result<()> {
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        if let Some(kept) = &self.kept {
            session.restore(kept)?;
            self.rescues += 1;
        }
        Ok(())
    }
}

#[test]
fn a11_a_diverged_training_is_rescued_by_a_callback() {
    let data = blobs(100, 8, 4, 2.0);
    let sgd = Trainer::new(Sgd::new(0.05)).epochs(3).seed(3);
    // No normalisation, which would forgive large weights.
    let plan = Sequential::new().linear(8, 16).relu().linear(16, 8).relu().linear(8, 4);
    let mut plain = plan.clone().build(1).unwrap();
    sgd.fit(&mut plain, &data, &data).unwrap();
    let (mut model, mut nurse) = (plan.build(1).unwrap(), Nurse::default());
    sgd.fit_with(&mut model, &data, &data, &mut [&mut nurse]).unwrap();
    assert_eq!(nurse.rescues, 1);
    assert_eq!(bytes(&model), bytes(&plain));
}

#[test]
fn dials_turn_what_an_optimiser_has_and_refuse_the_rest() {
    let data = blobs(64, 8, 4, 2.0);
    let mut model = plan().build(1).unwrap();
    let mut turn = OnStep(|session: &mut Session<'_>| {
        let before = session.dials();
        assert_eq!(before.momentum, None);
        let error = session.turn(Dials { momentum: Some(0.9), ..before }).unwrap_err().to_string();
        assert!(error.starts_with("momentum: expected none") && error.ends_with("0.9"), "{error}");
        let error = session.set_learning_rate(f64::NAN).unwrap_err().to_string();
        assert!(error.contains("learning rate") && error.ends_with("NaN"), "{error}");
        assert_eq!(session.dials(), before);
        session.turn(Dials { weight_decay: Some(0.5), ..Dials::default() })?;
        assert_eq!(session.dials(), Dials { weight_decay: Some(0.5), ..before });
        session.stop("");
        Ok(())
    });
    let sgd = Trainer::new(Sgd::new(0.1));
    sgd.fit_with(&mut model, &data, &data, &mut [&mut turn]).unwrap();

    let mut momentum = OnStep(|session: &mut Session<'_>| {
        session.turn(Dials { momentum: Some(0.5), ..Dials::default() })?;
        assert_eq!(session.dials().momentum, Some(0.5));
        Ok(())
    });
    for trainer in [Trainer::new(Sgd::momentum(0.9)), Trainer::new(Sgd::momentum(0.9).nesterov())] {
        trainer.epochs(1).fit_with(&mut model, &data, &data, &mut [&mut momentum]).unwrap();
    }
    trainer().fit_with(&mut model, &data, &data, &mut [&mut momentum]).unwrap();
}

#[test]
fn d15_training_stops_early_and_the_best_model_comes_back() {
    // Labels that mean nothing: what is learned makes the validation loss worse.
    let (train, valid) = blobs(120, 8, 4, 0.0).stratified_split(60, 1).unwrap();
    let mut model = plan().build(1).unwrap();
    let trainer = Trainer::new(Adam::default().learning_rate(0.02)).epochs(60).batch_size(20);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("keep/best.safetensors");
    let (mut early, mut best) = (EarlyStopping::new(3), KeepBest::new().file(&file));
    let history =
        trainer.fit_with(&mut model, &train, &valid, &mut [&mut early, &mut best]).unwrap();
    let at = Monitor::ValidLoss.best(&history, 0.0).unwrap();
    assert_eq!(history.epochs.len(), at + 4, "stopped at another epoch");
    let reason = history.stopped.as_deref().unwrap();
    assert_eq!(reason, format!("no epoch was better than epoch {} for 3 epochs", at + 1));
    assert_eq!(model.evaluate(&valid).unwrap().loss, history.epochs[at].valid_loss);
    let mut loaded = plan().build(2).unwrap();
    loaded.load(&file).unwrap();
    assert_eq!(bytes(&loaded), bytes(&model));
}

#[test]
fn accumulated_gradients_take_the_step_of_a_large_minibatch() {
    let data = blobs(100, 8, 4, 2.0);
    let train = |batch, accumulate| {
        let mut model =
            Sequential::new().linear(8, 16).tanh().linear(16, 4).build_as::<f64>(1).unwrap();
        let values = data.features().data().iter().map(|&x| f64::from(x)).collect();
        let features = Matrix::new(values, 100, 8).unwrap();
        let data = Dataset::new(features, data.labels().to_vec(), 4).unwrap();
        let trainer =
            Trainer::new(Sgd::new(0.1)).epochs(2).batch_size(batch).accumulate(accumulate);
        let history = trainer.fit(&mut model, &data, &data).unwrap();
        let parameters = model.layers().flat_map(|layer| layer.parameters());
        let weights: Vec<f64> = parameters.flat_map(|p| p.value.clone()).collect();
        (weights, history.epochs[1].train_loss, history.epochs[1].steps)
    };
    // 100 = 2 · 48 + 4: the last step has less than a whole minibatch of 16.
    let ((one, loss, steps), (many, many_loss, many_steps)) = (train(48, 1), train(16, 3));
    assert_eq!((steps, many_steps), (3, 3));
    assert!((loss - many_loss).abs() < 1e-12, "{loss} {many_loss}");
    // A dozen additions in another order, of gradients below 1.
    let off = one.iter().zip(&many).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off > 0.0 && off < 1e-13, "{off}");
    let mut model = plan().build(1).unwrap();
    let error = trainer().accumulate(0).fit(&mut model, &data, &data).unwrap_err().to_string();
    assert_eq!(error, "minibatches per step: expected at least 1, got 0");
}

#[test]
fn a_gradient_that_is_not_finite_stops_before_the_step_and_names_the_layer() {
    /// A loss whose gradient breaks at the third evaluation.
    struct Broken(std::sync::atomic::AtomicUsize);
    impl Loss<f32> for Broken {
        fn evaluate(
            &self,
            logits: &Matrix,
            targets: Targets<'_, f32>,
            gradient: Option<&mut Matrix>,
            exec: tilewise_kernels::Exec,
        ) -> tilewise_kernels::Result<f64> {
            let Some(gradient) = gradient else {
                return SoftmaxCrossEntropy::default().evaluate(logits, targets, None, exec);
            };
            let loss =
                SoftmaxCrossEntropy::default().evaluate(logits, targets, Some(gradient), exec)?;
            if self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
                gradient.row_mut(0)[0] = f32::NAN;
            }
            Ok(loss)
        }
    }
    let data = blobs(100, 8, 4, 2.0);
    let mut model = plan().build(1).unwrap();
    let trainer = trainer().loss(Broken(0.into()));
    let error = trainer.fit(&mut model, &data, &data).unwrap_err().to_string();
    let expected = "after training step 2: layer 4 linear gradient of weight: expected finite values (a lower \
                    learning rate often helps), \
                    got NaN";
    assert_eq!(error, expected);
    let weights = |model: &Sequential| {
        model.layers().flat_map(|l| l.parameters()).all(|p| p.value.iter().all(|w| w.is_finite()))
    };
    assert!(weights(&model), "the step was taken");
}

#[test]
fn d15_the_summary_counts_what_there_is() {
    let model = plan().build(1).unwrap();
    let summary = model.summary();
    assert_eq!(summary.parameters(), model.parameter_count());
    let text = summary.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        "layer                 outputs    parameters",
        "input                       8             0",
        "layer 0 linear             16           128",
        "layer 1 batch_norm         16            32",
        "layer 3 dropout            16             0",
        "layer 4 linear              4            68",
        "228 trained values, 33 others",
    ];
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn a_state_of_another_model_is_refused() {
    let mut model = plan().build(1).unwrap();
    let before = bytes(&model);
    let other = Sequential::new().linear(8, 17).batch_norm().linear(17, 4).build(1).unwrap();
    let error = model.restore(&other.state()).unwrap_err().to_string();
    assert!(error.starts_with("state of the model: expected tensors of [128, 16"), "{error}");
    assert_eq!(bytes(&model), before);
    let same = plan().build(2).unwrap();
    model.restore(&same.state()).unwrap();
    assert_eq!(bytes(&model), bytes(&same));
}
