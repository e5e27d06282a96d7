//! Cross-entropy behind a linear layer: its memory, its edges and what it refuses. That it is right is
//! a law of the oracle.

use tilewise_kernels::{
    Exec, LinearCrossEntropy, LinearCrossEntropyGrads, MatMut, MatRef, Reduction,
    SoftmaxCrossEntropy, Targets, gemm,
};

/// Numbers in [-1, 1) that differ.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        let bits = (i.wrapping_mul(0x9E37_79B9) ^ seed.wrapping_mul(0x85EB_CA6B))
            .wrapping_mul(0xC2B2_AE35);
        (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count as u32).map(number).collect()
}

fn matrix(data: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::new(data, rows, cols).unwrap()
}

struct Gradients {
    loss: f32,
    counted: usize,
    dhidden: Vec<f32>,
    dweights: Vec<f32>,
    dbias: Vec<f32>,
}

fn gradients(op: LinearCrossEntropy<'_, f32>, [rows, depth, classes]: [usize; 3]) -> Gradients {
    let mut room = vec![f32::NAN; op.workspace().unwrap()];
    let mut dhidden = vec![f32::NAN; rows * depth];
    let mut dweights = vec![f32::NAN; depth * classes];
    let mut dbias = vec![f32::NAN; classes];
    let grads = LinearCrossEntropyGrads {
        dhidden: MatMut::new(&mut dhidden, rows, depth).unwrap(),
        dweights: MatMut::new(&mut dweights, depth, classes).unwrap(),
        dbias: Some(&mut dbias),
    };
    let loss = op.loss_and_gradients(grads, &mut room, Exec::default()).unwrap();
    Gradients { loss: loss.value, counted: loss.counted, dhidden, dweights, dbias }
}

#[test]
fn the_workspace_is_small_whatever_the_shape() {
    // Strides of 0, so that the matrices of a large model take no memory here.
    let one = [0.0_f32; 1024];
    let hidden = MatRef::with_strides(&one, [4096, 1024], [0, 1]).unwrap();
    let weights = MatRef::with_strides(&one, [1024, 50_000], [1, 0]).unwrap();
    let labels = vec![0; 4096];
    let op = LinearCrossEntropy::new(hidden, weights, &labels).unwrap();
    let bytes = op.workspace().unwrap() * size_of::<f32>();
    assert_eq!(bytes, 512 * (1024 + 4) * 4);
    // No more than the logits where those are few.
    let few = LinearCrossEntropy::new(matrix(&one[..6], 2, 3), matrix(&one[..12], 3, 4), &[0, 0]);
    assert_eq!(few.unwrap().workspace().unwrap(), 2 * (4 + 4));
    let huge = op.tile([usize::MAX, usize::MAX]).workspace();
    assert_eq!(huge.unwrap(), 4096 * 50_004);
}

#[test]
fn many_tiles_give_what_a_matrix_of_logits_gives() {
    let [rows, depth, classes] = [70, 33, 300];
    let (hidden, weights) = (numbers(rows * depth, 1), numbers(depth * classes, 2));
    let labels: Vec<usize> = (0..rows).map(|i| i * 37 % classes).collect();
    let (hidden, weights) = (matrix(&hidden, rows, depth), matrix(&weights, depth, classes));
    let mut logits = vec![0.0; rows * classes];
    gemm(1.0, hidden, weights, 0.0, MatMut::new(&mut logits, rows, classes).unwrap()).unwrap();
    let logits = MatMut::new(&mut logits, rows, classes).unwrap();
    let whole = SoftmaxCrossEntropy::in_place(logits, Targets::Classes(&labels)).unwrap();
    let want = whole.replace_by_gradient(Exec::default()).unwrap();
    let op = LinearCrossEntropy::new(hidden, weights, &labels).unwrap();
    for tile in [[512, 1024], [16, 64], [1, 1], [70, 7]] {
        let got = gradients(op.tile(tile), [rows, depth, classes]);
        assert!((got.loss - want.value).abs() < 1e-5, "{tile:?}: {} {}", got.loss, want.value);
        // Every row of the gradient sums to 0.
        let sum: f32 = got.dbias.iter().sum();
        assert!(sum.abs() < 1e-5, "{tile:?}: {sum}");
    }
}

#[test]
fn nothing_that_counts_gives_zeros() {
    let (hidden, weights) = (numbers(6, 1), numbers(12, 2));
    let (hidden, weights) = (matrix(&hidden, 2, 3), matrix(&weights, 3, 4));
    let op = LinearCrossEntropy::new(hidden, weights, &[9, 9]).unwrap().ignore_index(9);
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let got = gradients(op.reduction(reduction).tile([1, 3]), [2, 3, 4]);
        assert_eq!((got.loss, got.counted), (0.0, 0));
        let all = [got.dhidden, got.dweights, got.dbias].concat();
        assert!(all.iter().all(|&d| d == 0.0), "{all:?}");
    }
    let got =
        gradients(LinearCrossEntropy::new(matrix(&[], 0, 3), weights, &[]).unwrap(), [0, 3, 4]);
    assert_eq!((got.loss, got.counted), (0.0, 0));
    assert_eq!(got.dweights, [0.0; 12]);
    assert_eq!(got.dbias, [0.0; 4]);
    // Without depth all classes are alike.
    let op = LinearCrossEntropy::new(matrix(&[], 2, 0), matrix(&[], 0, 4), &[1, 3]).unwrap();
    let got = gradients(op.tile([1, 3]), [2, 0, 4]);
    assert!((got.loss - 4.0_f32.ln()).abs() < 1e-6);
    assert_eq!(got.dbias, [0.25, -0.25, 0.25, -0.25]);
}

#[test]
fn masked_classes_get_nothing_and_ignored_logits_do_not_poison() {
    let (mut hidden, weights) = (numbers(9, 1), numbers(15, 2));
    let bias = [0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0];
    // The last row has logits of infinity and NaN, but is ignored.
    hidden[6] = f32::MAX;
    let mut large = weights.clone();
    large[0] = f32::MAX;
    let (hidden, weights) = (matrix(&hidden, 3, 3), matrix(&large, 3, 5));
    let op = LinearCrossEntropy::new(hidden, weights, &[2, 4, 7]).unwrap().ignore_index(7);
    let op = op.bias(&bias);
    let short = LinearCrossEntropy::new(
        MatRef::new(&hidden.data()[..6], 2, 3).unwrap(),
        MatRef::new(&numbers(15, 2)[..], 3, 5).unwrap(),
        &[2, 4],
    )
    .map(|op| op.bias(&bias))
    .map(|op| gradients(op.tile([2, 2]), [2, 3, 5]))
    .unwrap();
    assert!(short.loss.is_finite());
    for class in [1, 3] {
        assert_eq!(short.dbias[class], 0.0);
        assert!((0..3).all(|k| short.dweights[k * 5 + class] == 0.0));
    }
    let got = gradients(op.tile([2, 2]), [3, 3, 5]);
    assert_eq!(got.counted, 2);
    assert_eq!(got.dhidden[6..], [0.0; 3]);
    // NaN in the hidden values of a row that counts is seen.
    let poisoned = [f32::NAN, 1.0, 1.0];
    let op = LinearCrossEntropy::new(matrix(&poisoned, 1, 3), weights, &[0]).unwrap();
    assert!(gradients(op, [1, 3, 5]).loss.is_nan());
}

/// The error of an operation, after checking that it wrote nothing.
fn refused(op: LinearCrossEntropy<'_, f32>, shape: [usize; 4], room: usize) -> String {
    let [rows, depth, classes, biases] = shape;
    let mut room = vec![7.0; room];
    let mut out = vec![7.0; rows * depth + depth * classes + biases];
    let (dhidden, rest) = out.split_at_mut(rows * depth);
    let (dweights, dbias) = rest.split_at_mut(depth * classes);
    let grads = LinearCrossEntropyGrads {
        dhidden: MatMut::new(dhidden, rows, depth).unwrap(),
        dweights: MatMut::new(dweights, depth, classes).unwrap(),
        dbias: Some(dbias),
    };
    let error = op.loss_and_gradients(grads, &mut room, Exec::default()).unwrap_err();
    assert!(room.iter().chain(&out).all(|&x| x == 7.0), "{error}");
    error.to_string()
}

#[test]
fn wrong_arguments_are_named_and_nothing_is_written() {
    let (hidden, weights) = (numbers(6, 1), numbers(12, 2));
    let (hidden, weights) = (matrix(&hidden, 2, 3), matrix(&weights, 3, 4));
    let new = |labels| LinearCrossEntropy::new(hidden, weights, labels);
    let message = |result: tilewise_kernels::Result<_>| {
        result.map(|_: LinearCrossEntropy<'_, f32>| ()).unwrap_err().to_string()
    };
    assert_eq!(
        message(LinearCrossEntropy::new(hidden, hidden, &[0, 0])),
        "linear cross-entropy: weights: expected 3 rows, as hidden has columns, got 2 x 3"
    );
    assert!(message(new(&[0])).contains("labels: expected 2 elements"));
    let none = message(LinearCrossEntropy::new(hidden, matrix(&[], 3, 0), &[0, 0]));
    assert!(none.contains("at least one class"), "{none}");

    let op = new(&[0, 3]).unwrap();
    let (right, room) = ([2, 3, 4, 4], op.workspace().unwrap());
    let cases = [
        (new(&[0, 4]).unwrap(), right, room, "label of row 1: expected a class below 4, got 4"),
        (op.label_smoothing(1.5), right, room, "label smoothing: expected a value in [0, 1]"),
        (op.label_smoothing(f32::NAN), right, room, "label smoothing"),
        (op.class_weights(&[1.0; 3]), right, room, "class weights: expected 4 elements"),
        (op.class_weights(&[1.0, -1.0, 1.0, 1.0]), right, room, "weight of class 1"),
        (op.bias(&[0.0; 5]), right, room, "bias: expected 4 elements"),
        (op, [2, 2, 4, 4], room, "dhidden: expected 2 x 3, got 2 x 2"),
        (op, [2, 3, 5, 4], room, "dweights: expected 3 x 4, got 3 x 5"),
        (op, [2, 3, 4, 3], room, "dbias: expected 4 elements"),
        (op, right, room - 1, "workspace: expected at least 16 elements, got 15"),
    ];
    for (op, shape, room, expected) in cases {
        let error = refused(op, shape, room);
        assert!(error.starts_with("linear cross-entropy: ") && error.contains(expected), "{error}");
    }
}
