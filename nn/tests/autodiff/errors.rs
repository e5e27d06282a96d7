//! Errors say which operation, what was expected and what came.

use tilewise_nn::autodiff::{Tape, Tensor, Var};

fn message(f: impl for<'t> FnOnce(&'t Tape<f32>) -> Var<'t, f32>) -> String {
    let tape = Tape::new();
    let y = f(&tape);
    let message = y.value().unwrap_err().to_string();
    assert_eq!(y.gradients().unwrap_err().to_string(), message);
    message
}

fn zeros<'t>(tape: &'t Tape<f32>, dims: &[usize]) -> Var<'t, f32> {
    tape.watched(Tensor::zeros(dims).unwrap())
}

#[test]
fn errors_name_the_operation_and_the_shapes() {
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]) + zeros(tape, &[2, 4])),
        "add of [2, 3] and [2, 4]: second operand: expected a shape that broadcasts with [2, 3], \
         got [2, 4]"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).matmul(zeros(tape, &[2, 3]))),
        "matmul of [2, 3] and [2, 3]: second operand: expected 3 rows, got [2, 3]"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).matmul_t(zeros(tape, &[2, 4]))),
        "matmul of [2, 3] and [2, 4]: second operand: expected 3 columns, got [2, 4]"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2]).sum_over(&[1])),
        "sum of [2]: axis: expected one below 1, got 1"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).reshape(&[7])),
        "reshape of [2, 3]: new shape: expected 6 elements, as the input has, got 7 for [7]"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).softmax_cross_entropy(tape.labels("y", &[0]))),
        "softmax_cross_entropy of [2, 3] and [1]: labels: expected [2], one per row of logits, \
         got [1]"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).batch_norm(zeros(tape, &[3]), zeros(tape, &[2]), 1e-5)),
        "batch_norm of [2, 3] and [3] and [2]: beta: expected [3], got [2]"
    );
}

#[test]
fn wrong_values_are_errors_of_the_operation() {
    let label = message(|tape| zeros(tape, &[1, 3]).softmax_cross_entropy(tape.labels("y", &[3])));
    assert!(label.starts_with("softmax_cross_entropy of [1, 3] and [1]: "), "{label}");
    assert!(label.contains("a class below 3"), "{label}");
    let one =
        message(|tape| zeros(tape, &[1, 3]).batch_norm(zeros(tape, &[3]), zeros(tape, &[3]), 1e-5));
    assert!(one.contains("at least 2 values per channel"), "{one}");
    for (what, bad) in [
        ("order", message(|tape| zeros(tape, &[2, 3]).permute(&[0, 0]))),
        ("slice", message(|tape| zeros(tape, &[2, 3]).slice(1, 2, 2))),
        ("input 1", message(|tape| zeros(tape, &[2, 3]).concat(&[zeros(tape, &[3, 3])], 1))),
    ] {
        assert!(bad.contains(what), "{bad}");
    }
}

#[test]
fn labels_are_no_numbers() {
    assert_eq!(
        message(|tape| tape.labels("y", &[1, 2]) + 1.0),
        "add of [2] and []: input 0: expected numbers, got class labels"
    );
    assert_eq!(
        message(|tape| zeros(tape, &[2, 3]).softmax_cross_entropy(zeros(tape, &[2]))),
        "softmax_cross_entropy of [2, 3] and [2]: input 1: expected class labels, got numbers"
    );
    assert!(Tape::<f32>::new().labels("y", &[1]).value().is_err());
    // Of no examples there are labels too.
    let tape = Tape::new();
    let loss = zeros(&tape, &[0, 3]).softmax_cross_entropy(tape.labels("y", &[]));
    assert_eq!(loss.item().unwrap(), 0.0);
}

#[test]
fn the_first_error_is_the_one_that_is_told() {
    let first = message(|tape| {
        let wrong = zeros(tape, &[2, 3]) + zeros(tape, &[5]);
        (wrong.relu() * 2.0 - zeros(tape, &[9])).matmul(wrong)
    });
    assert!(first.starts_with("add of [2, 3] and [5]"), "{first}");
    // What has nothing to do with it goes on.
    let tape = Tape::new();
    let wrong = zeros(&tape, &[2, 3]) + zeros(&tape, &[5]);
    assert!(wrong.value().is_err());
    assert_eq!((zeros(&tape, &[2]) + 1.0).sum().item().unwrap(), 2.0);
}

#[test]
fn a_loss_is_a_single_number() {
    let tape = Tape::new();
    let error = zeros(&tape, &[2, 3]).relu().gradients().unwrap_err().to_string();
    assert_eq!(error, "loss: expected a single element, got [2, 3]");
}

#[test]
fn tensors_check_their_shapes() {
    assert!(Tensor::new(vec![1.0_f32; 5], &[2, 3]).is_err());
    assert!(Tensor::<f32>::zeros(&[1; 9]).is_err());
    assert!(Tensor::<f32>::zeros(&[usize::MAX, 0, 2]).is_err());
    assert!(Tensor::<f32>::zeros(&[2]).unwrap().item().is_err());
    assert!(Tensor::<f32>::zeros(&[4]).unwrap().reshape(&[2, 2]).is_ok());
}
