//! What belongs to a tape, and how often it can be asked.

use std::sync::Arc;

use tilewise_kernels::{Float, Result};
use tilewise_nn::autodiff::{InputGradients, Op, Saved, Shape, Tape, Tensor, Variables, View};
use tilewise_nn::layers::Pass;
use tilewise_nn::optim::Sgd;

#[test]
fn d5_a_second_use_needs_a_persistent_tape() {
    let tape = Tape::new();
    let w = tape.watched(Tensor::scalar(3.0_f64));
    let loss = w.square();
    assert_eq!(loss.gradients().unwrap().of(w).unwrap().item().unwrap(), 6.0);
    let error = loss.gradients().unwrap_err().to_string();
    assert!(error.contains("persistent"), "{error}");

    let tape = Tape::persistent();
    let w = tape.watched(Tensor::scalar(3.0_f64));
    let (square, cube) = (w.square(), w.powi(3));
    assert_eq!(square.gradients().unwrap().of(w).unwrap().item().unwrap(), 6.0);
    assert_eq!(cube.gradients().unwrap().of(w).unwrap().item().unwrap(), 27.0);
    assert_eq!(square.gradients().unwrap().of(w).unwrap().item().unwrap(), 6.0);
}

#[test]
fn ordinary_control_flow_is_recorded() {
    // Collatz: the branch depends on values.
    let tape = Tape::new();
    let n = tape.watched(Tensor::scalar(6.0_f64));
    let (mut x, mut steps) = (n, 0);
    while x.item().unwrap() != 1.0 {
        x = if x.item().unwrap() % 2.0 == 0.0 { x / 2.0 } else { x * 3.0 + 1.0 };
        steps += 1;
    }
    assert_eq!(steps, 8);
    // Two steps of the eight multiply by 3, six halve.
    assert_eq!(x.gradients().unwrap().of(n).unwrap().item().unwrap(), 9.0 / 64.0);
}

#[test]
fn a_value_used_often_collects_all_gradients() {
    let tape = Tape::new();
    let x = tape.watched(Tensor::scalar(3.0_f64));
    let y = x * x * x + x / x - x;
    assert_eq!(y.gradients().unwrap().of(x).unwrap().item().unwrap(), 26.0);
}

#[test]
fn d8_two_models_are_independent() {
    let mut models = [Variables::new(), Variables::new()];
    let [a, b] = models.each_mut().map(|model| model.add(Tensor::scalar(1.0_f64)));
    let tapes = [Tape::new(), Tape::new()];
    let (at_a, at_b) = (tapes[0].watch(&models[0], a), tapes[1].watch(&models[1], b));
    let gradients = at_a.square().gradients().unwrap();
    assert_eq!(gradients.of_variable(b), None);
    models[1].step(&Sgd::new(0.1), &gradients).unwrap();
    assert_eq!(models[1].data(b).unwrap(), [1.0], "the gradients are another model's");
    assert!(models[0].value(b).is_err() && (at_a + at_b).value().is_err());
    models[0].step(&Sgd::new(0.1), &gradients).unwrap();
    assert_eq!(models[0].data(a).unwrap(), [0.8]);
}

/// Holds on to something whose owners can be counted.
#[derive(Debug)]
struct Holder(#[expect(dead_code, reason = "only its lifetime counts")] Arc<()>);

impl<T: Float> Op<T> for Holder {
    fn name(&self) -> &'static str {
        "holder"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        y.copy_from_slice(inputs[0].data);
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        dx.iter_mut().flatten().for_each(|dx| dx.copy_from_slice(saved.dy));
        Ok(())
    }
}

#[test]
fn d8_dropping_a_tape_frees_what_it_recorded() {
    let counted = Arc::new(());
    let tape = Tape::new();
    let x = tape.watched(Tensor::scalar(1.0_f32));
    tape.apply(Holder(Arc::clone(&counted)), &[x]).gradients().unwrap();
    assert_eq!(Arc::strong_count(&counted), 2);
    drop(tape);
    assert_eq!(Arc::strong_count(&counted), 1);
}
