//! Outputs that no second-level cache holds are written past the caches. Their bits are those of their
//! parts, which are small enough to be stored plainly.

use tilewise_kernels::{
    Activate, ActivateBackward, Activation, Dropout, Exec, LogSoftmax, LogSoftmaxBackward, MatMut,
    MatRef, Par, Result, Softmax, SoftmaxBackward, available,
};

/// 6 MB of rows that begin at all places within a line.
const ROWS: usize = 1501;
const COLS: usize = 1003;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 20_011) as f32 / 2_000.0 - 5.0;
    (0..count).map(number).collect()
}

type Inputs<'a> = [&'a [f32]; 2];
type Operation = fn(Inputs<'_>, &mut [f32], usize, Exec) -> Result<()>;

fn rows(x: &[f32]) -> Result<MatRef<'_, f32>> {
    MatRef::new(x, x.len() / COLS, COLS)
}

fn rows_mut(y: &mut [f32]) -> Result<MatMut<'_, f32>> {
    let count = y.len() / COLS;
    MatMut::new(y, count, COLS)
}

const OPERATIONS: [(&str, Operation); 7] = [
    ("softmax", |[x, _], y, _, exec| Softmax::new(rows(x)?, rows_mut(y)?)?.run(exec)),
    ("softmax backward", |[x, dy], y, _, exec| {
        SoftmaxBackward::new(rows(x)?, rows(dy)?, rows_mut(y)?)?.run(exec)
    }),
    ("log-softmax", |[x, _], y, _, exec| LogSoftmax::new(rows(x)?, rows_mut(y)?)?.run(exec)),
    ("log-softmax backward", |[x, dy], y, _, exec| {
        LogSoftmaxBackward::new(rows(x)?, rows(dy)?, rows_mut(y)?)?.run(exec)
    }),
    ("tanh", |[x, _], y, _, exec| Activate::new(Activation::Tanh, x, y)?.run(exec)),
    ("relu backward", |[x, dy], y, _, exec| {
        ActivateBackward::new(Activation::Relu, x, dy, y)?.run(exec)
    }),
    ("dropout", |[x, _], y, first, exec| {
        Dropout::new(0.3, 5)?.first(first as u64).forward(x, y, exec)
    }),
];

#[test]
fn large_outputs_have_the_bits_of_their_rows() {
    let len = ROWS * COLS;
    let (x, dy) = (numbers(len, 1), numbers(len, 2));
    for (name, operation) in OPERATIONS {
        for &isa in available().unwrap() {
            let mut parts = vec![f32::NAN; len];
            for (i, part) in parts.chunks_mut(COLS).enumerate() {
                let at = i * COLS;
                let inputs = [&x[at..at + COLS], &dy[at..at + COLS]];
                operation(inputs, part, at, Exec::serial().isa(isa)).unwrap();
            }
            for (shift, threads) in [(0, 1), (3, 2)] {
                let mut whole = vec![f32::NAN; len + shift];
                let exec = Exec::default().isa(isa).par(Par::Threads(threads));
                operation([&x, &dy], &mut whole[shift..], 0, exec).unwrap();
                let same =
                    whole[shift..].iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} on {isa} from {shift} with {threads} threads");
            }
        }
    }
}
