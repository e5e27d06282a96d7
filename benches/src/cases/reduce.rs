//! Reductions of vectors, of the columns and of the rows of matrices.

use tilewise_kernels::{
    Argmax, ArgmaxRows, ColumnMeanVar, ColumnSums, Exec, Float, L2Norm, MatRef, Max, MeanVar,
    Result, RowSums, Sum, naive,
};

use super::{LENGTHS, matrix};
use crate::case::{Case, Implementation, Simple, Work, Workload};
use crate::data::Random;

/// A minibatch of hidden activations, and a large one.
const MATRICES: [[usize; 2]; 2] = [[128, 256], [4096, 1024]];

/// A reduction of a vector to one or two values, and its naive twin.
type Whole<T> = (fn(&[T], &mut [T], Exec) -> Result<()>, fn(&[T], &mut [T]));
/// A reduction of a matrix and its naive twin.
type Matrix<T> = (fn(MatRef<T>, &mut [T], Exec) -> Result<()>, fn(MatRef<T>, &mut [T]));

/// All reductions.
pub fn cases<T: Float>() -> Vec<Case> {
    let mut list = Vec::new();
    for (op, twins) in wholes::<T>() {
        list.extend(LENGTHS.map(|len| whole(op, twins, len)));
    }
    for shape in MATRICES {
        list.extend(of_matrices::<T>(shape));
        list.push(argmax_rows::<T>(shape));
    }
    list
}

/// Indices as values: exact below 2^24.
fn index<T: Float>(at: usize) -> T {
    T::from_usize(at)
}

fn wholes<T: Float>() -> [(&'static str, Whole<T>); 5] {
    let sum: Whole<T> = (
        |x, out, exec| Sum::new(x)?.run(exec).map(|sum| out[0] = sum),
        |x, out| out[0] = naive::sum(x),
    );
    let mean_var: Whole<T> = (
        |x, out, exec| MeanVar::new(x)?.run(exec).map(|(mean, var)| [out[0], out[1]] = [mean, var]),
        |x, out| (out[0], out[1]) = naive::mean_var(x),
    );
    let max: Whole<T> = (
        |x, out, exec| Max::new(x)?.run(exec).map(|max| out[0] = max),
        |x, out| out[0] = naive::max(x),
    );
    let argmax: Whole<T> = (
        |x, out, exec| Argmax::new(x)?.run(exec).map(|at| out[0] = index(at)),
        |x, out| out[0] = index(naive::argmax(x)),
    );
    let l2_norm: Whole<T> = (
        |x, out, exec| L2Norm::new(x)?.run(exec).map(|norm| out[0] = norm),
        |x, out| out[0] = naive::l2_norm(x),
    );
    [("sum", sum), ("mean_var", mean_var), ("max", max), ("argmax", argmax), ("l2_norm", l2_norm)]
}

fn of_matrices<T: Float>([rows, cols]: [usize; 2]) -> [Case; 3] {
    let column_sums: Matrix<T> =
        (|x, out, exec| ColumnSums::new(x, out)?.run(exec), |x, out| naive::column_sums(x, out));
    let column_mean_var: Matrix<T> = (
        |x, out, exec| {
            let (mean, var) = out.split_at_mut(x.cols());
            ColumnMeanVar::new(x, mean, var)?.run(exec)
        },
        |x, out| {
            let (mean, var) = out.split_at_mut(x.cols());
            naive::column_mean_var(x, mean, var);
        },
    );
    let row_sums: Matrix<T> =
        (|x, out, exec| RowSums::new(x, out)?.run(exec), |x, out| naive::row_sums(x, out));
    [
        of_matrix("column_sums", column_sums, [rows, cols], cols),
        of_matrix("column_mean_var", column_mean_var, [rows, cols], 2 * cols),
        of_matrix("row_sums", row_sums, [rows, cols], rows),
    ]
}

/// Operations per element: a sum of two moments takes four, a norm a multiply-add, the rest one.
fn flops(op: &str) -> usize {
    match op {
        "mean_var" | "column_mean_var" => 4,
        "l2_norm" => 2,
        _ => 1,
    }
}

/// Sums of `count` terms of size 1, which may cancel.
fn tolerance<T: Float>(count: usize) -> f64 {
    (count as f64).sqrt().mul_add(100.0, 64.0) * T::EPSILON.to_f64()
}

fn whole<T: Float>(op: &str, (fast, naive): Whole<T>, len: usize) -> Case {
    // A comparison rounds nothing.
    let tolerance = if op == "max" || op == "argmax" { 0.0 } else { tolerance::<T>(len) };
    let results = if op == "mean_var" { 2 } else { 1 };
    Case::new(format!("{op}/{}/{len}", T::NAME), Work::values::<T>(len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, -1.0, 1.0)],
            results,
            tolerance,
            move |inputs, out, exec| fast(&inputs[0], out, exec),
            move |inputs, out| naive(&inputs[0], out),
        )
    })
    .counting(flops(op) * len)
}

fn of_matrix<T: Float>(
    op: &str,
    (fast, naive): Matrix<T>,
    shape: [usize; 2],
    outputs: usize,
) -> Case {
    let [rows, cols] = shape;
    let (id, len) = (format!("{op}/{}/{rows}x{cols}", T::NAME), rows * cols);
    Case::new(id, Work::values::<T>(len + outputs), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, -1.0, 1.0)],
            outputs,
            tolerance::<T>(rows.max(cols)),
            move |inputs, out, exec| fast(matrix(&inputs[0], shape), out, exec),
            move |inputs, out| naive(matrix(&inputs[0], shape), out),
        )
    })
    .counting(flops(op) * len)
}

fn argmax_rows<T: Float>(shape: [usize; 2]) -> Case {
    let [rows, cols] = shape;
    let id = format!("argmax_rows/{}/{rows}x{cols}", T::NAME);
    Case::new(id, Work::values::<T>(rows * cols), move || Places {
        shape,
        x: Random::new(1).uniform::<T>(rows * cols, -1.0, 1.0),
        places: vec![0; rows],
    })
    .counting(rows * cols)
}

struct Places<T> {
    shape: [usize; 2],
    x: Vec<T>,
    places: Vec<usize>,
}

impl<T: Float> Workload for Places<T> {
    fn run(&mut self, by: Implementation) {
        let x = matrix(&self.x, self.shape);
        match by.exec() {
            Some(exec) => ArgmaxRows::new(x, &mut self.places)
                .and_then(|op| op.run(exec))
                .expect("valid arguments"),
            None => naive::argmax_rows(x, &mut self.places),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        self.places.iter().map(|&at| at as f64).collect()
    }

    fn tolerance(&self) -> f64 {
        0.0
    }
}
