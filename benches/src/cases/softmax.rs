//! Softmax and log-softmax, forward and backward, and log-sum-exp.

use tilewise_kernels::{
    Exec, Float, LogSoftmax, LogSoftmaxBackward, LogSumExp, MatMut, MatRef, Result, Softmax,
    SoftmaxBackward, naive,
};

use super::{LOGITS, counts, matrix, matrix_mut};
use crate::case::{Case, Simple, Work};
use crate::data::{Random, singles, singles_mut};
use crate::peers;

/// A forward pass and its naive twin.
type Forward<T> = (fn(MatRef<T>, MatMut<T>, Exec) -> Result<()>, fn(MatRef<T>, MatMut<T>));
/// A backward pass, from the forward pass's output and the gradient from above, and its naive twin.
type Backward<T> =
    (fn(MatRef<T>, MatRef<T>, MatMut<T>, Exec) -> Result<()>, fn(MatRef<T>, MatRef<T>, MatMut<T>));

/// All of them on every shape.
pub fn cases<T: Float>() -> Vec<Case> {
    let softmax: Forward<T> = (|x, y, exec| Softmax::new(x, y)?.run(exec), naive::softmax);
    let log_softmax: Forward<T> =
        (|x, y, exec| LogSoftmax::new(x, y)?.run(exec), naive::log_softmax);
    let softmax_backward: Backward<T> =
        (|y, dy, dx, exec| SoftmaxBackward::new(y, dy, dx)?.run(exec), naive::softmax_backward);
    let log_softmax_backward: Backward<T> = (
        |y, dy, dx, exec| LogSoftmaxBackward::new(y, dy, dx)?.run(exec),
        naive::log_softmax_backward,
    );
    let on = |shape| {
        [
            forward("softmax", softmax, shape),
            forward("log_softmax", log_softmax, shape),
            backward("softmax_backward", softmax_backward, naive::softmax, shape),
            backward("log_softmax_backward", log_softmax_backward, naive::log_softmax, shape),
            log_sum_exp::<T>(shape),
        ]
    };
    LOGITS.into_iter().flat_map(on).collect()
}

/// Operations per element.
fn flops<T: Float>(op: &str) -> usize {
    match op {
        // Σ dy y, then y (dy - Σ).
        "softmax_backward" => 4,
        // Σ dy, then dy - e^y Σ.
        "log_softmax_backward" => counts::exp::<T>() + 3,
        // A maximum, a difference, a sum; the other two also scale or shift the result.
        "log_sum_exp" => counts::exp::<T>() + 3,
        _ => counts::exp::<T>() + 4,
    }
}

/// Sums of `cols` terms, each with a few roundings.
fn tolerance<T: Float>(cols: usize) -> f64 {
    (cols as f64 + 16.0) * T::EPSILON.to_f64()
}

fn logits<T: Float>(len: usize) -> Vec<T> {
    Random::new(1).uniform(len, -5.0, 5.0)
}

fn forward<T: Float>(op: &str, (fast, naive): Forward<T>, shape: [usize; 2]) -> Case {
    let ([rows, cols], log) = (shape, op.starts_with("log_"));
    let (id, len) = (format!("{op}/{}/{rows}x{cols}", T::NAME), rows * cols);
    Case::new(id, Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![logits(len)],
            len,
            tolerance::<T>(cols),
            move |inputs, y, exec| fast(matrix(&inputs[0], shape), matrix_mut(y, shape), exec),
            move |inputs, y| naive(matrix(&inputs[0], shape), matrix_mut(y, shape)),
        )
        .beside(move |peer, inputs, y, threads| {
            let (x, y) = (matrix(singles(&inputs[0]), shape), matrix_mut(singles_mut(y), shape));
            peers::softmax(peer, x, y, log, threads);
        })
        .apart(move |peer, inputs| {
            peers::own_softmax(peer, matrix(singles(&inputs[0]), shape), log)
        })
    })
    .counting(flops::<T>(op) * len)
}

fn backward<T: Float>(
    op: &str,
    (fast, naive): Backward<T>,
    forward: fn(MatRef<T>, MatMut<T>),
    shape: [usize; 2],
) -> Case {
    let ([rows, cols], log) = (shape, op.starts_with("log_"));
    let (id, len) = (format!("{op}/{}/{rows}x{cols}", T::NAME), rows * cols);
    Case::new(id, Work::values::<T>(3 * len), move || {
        let mut y = vec![T::ZERO; len];
        forward(matrix(&logits(len), shape), matrix_mut(&mut y, shape));
        Simple::<T, _, _>::new(
            vec![y, Random::new(2).uniform(len, -1.0, 1.0)],
            len,
            tolerance::<T>(cols),
            move |inputs, dx, exec| {
                let (y, dy) = (matrix(&inputs[0], shape), matrix(&inputs[1], shape));
                fast(y, dy, matrix_mut(dx, shape), exec)
            },
            move |inputs, dx| {
                let (y, dy) = (matrix(&inputs[0], shape), matrix(&inputs[1], shape));
                naive(y, dy, matrix_mut(dx, shape));
            },
        )
        .beside(move |peer, inputs, dx, threads| {
            let inputs = [0, 1].map(|i| matrix(singles(&inputs[i]), shape));
            let dx = matrix_mut(singles_mut(dx), shape);
            peers::softmax_backward(peer, inputs, dx, log, threads);
        })
    })
    .counting(flops::<T>(op) * len)
}

fn log_sum_exp<T: Float>(shape: [usize; 2]) -> Case {
    let [rows, cols] = shape;
    let (id, len) = (format!("log_sum_exp/{}/{rows}x{cols}", T::NAME), rows * cols);
    Case::new(id, Work::values::<T>(len + rows), move || {
        Simple::<T, _, _>::new(
            vec![logits(len)],
            rows,
            tolerance::<T>(cols),
            move |inputs, out, exec| LogSumExp::new(matrix(&inputs[0], shape), out)?.run(exec),
            move |inputs, out| naive::log_sum_exp(matrix(&inputs[0], shape), out),
        )
    })
    .counting(flops::<T>("log_sum_exp") * len)
}
