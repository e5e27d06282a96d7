//! Broadcasting, sums and layouts against loops over indices.

use tilewise_kernels::{Exec, available};
use tilewise_nn::autodiff::{MAX_RANK, Tape, Tensor, Var};

use crate::common::normal;

/// The place in a tensor of `dims` of what stands at `index` of a shape that it is stretched to.
fn place(dims: &[usize], index: &[usize]) -> usize {
    let own = &index[index.len() - dims.len()..];
    dims.iter().zip(own).fold(0, |at, (&dim, &i)| at * dim + if dim == 1 { 0 } else { i })
}

/// All indices of a shape, in order.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |all, &dim| {
        all.iter().flat_map(|index| (0..dim).map(move |i| [&index[..], &[i]].concat())).collect()
    })
}

/// Shapes of two operands and of what comes of them, some longer than any vector.
const STRETCHED: [[&[usize]; 3]; 18] = [
    [&[2, 3], &[2, 3], &[2, 3]],
    [&[2, 3], &[3], &[2, 3]],
    [&[3], &[2, 3], &[2, 3]],
    [&[2, 1], &[3], &[2, 3]],
    [&[], &[2, 3], &[2, 3]],
    [&[], &[], &[]],
    [&[1], &[], &[1]],
    [&[4, 1, 3], &[2, 1], &[4, 2, 3]],
    [&[4, 2, 3], &[4, 1, 1], &[4, 2, 3]],
    [&[2, 1, 3, 1, 2], &[1, 5, 1, 4, 1], &[2, 5, 3, 4, 2]],
    [&[0, 3], &[1, 3], &[0, 3]],
    [&[2, 0], &[1], &[2, 0]],
    [&[5, 16], &[5, 16], &[5, 16]],
    [&[3, 33], &[33], &[3, 33]],
    [&[3, 1], &[3, 41], &[3, 41]],
    [&[3, 17], &[3, 1], &[3, 17]],
    [&[40], &[1], &[40]],
    [&[2, 1], &[1, 19], &[2, 19]],
];

#[test]
fn operands_are_stretched_as_in_numpy_with_the_same_bits_on_every_path() {
    type Operation = (for<'t> fn(Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>, fn(f64, f64) -> f64);
    let operations: [Operation; 4] = [
        (|a, b| a + b, |a, b| a + b),
        (|a, b| a - b, |a, b| a - b),
        (|a, b| a * b, |a, b| a * b),
        (|a, b| a / b, |a, b| a / b),
    ];
    for isa in available().unwrap() {
        for [a_dims, b_dims, dims] in STRETCHED {
            let (a, b) = (normal(1, a_dims), normal(2, b_dims));
            for (number, (recorded, plain)) in operations.iter().enumerate() {
                let tape = Tape::new().exec(Exec::serial().isa(*isa));
                let y = recorded(tape.constant(a.clone()), tape.constant(b.clone()));
                let y = y.value().unwrap();
                assert_eq!(y.dims(), dims);
                for (at, index) in indices(dims).iter().enumerate() {
                    let [a, b] =
                        [(&a, a_dims), (&b, b_dims)].map(|(x, dims)| x.data()[place(dims, index)]);
                    let what = format!("{isa}, {number}, {a_dims:?} and {b_dims:?} at {index:?}");
                    assert_eq!(y.data()[at].to_bits(), plain(a, b).to_bits(), "{what}");
                }
            }
        }
    }
}

#[test]
fn elementary_functions_are_those_of_single_numbers_on_every_path() {
    let x: Vec<f32> = (0..39).map(|i| (i as f32 - 12.0) / 3.0).collect();
    let x = [&x[..], &[0.0, -0.0, f32::INFINITY, 1e-40, 3e38]].concat();
    type Function = (for<'t> fn(Var<'t, f32>) -> Var<'t, f32>, fn(f32) -> f32);
    let functions: [Function; 6] = [
        (|x| -x, |x| -x),
        (|x| x.sqrt(), f32::sqrt),
        (|x| x.square(), |x| x * x),
        (|x| x.powi(3), |x| x * (x * x)),
        (|x| x.powi(-2), |x| 1.0 / (x * x)),
        (|x| x.powi(0), |_| 1.0),
    ];
    for isa in available().unwrap() {
        for (number, (recorded, plain)) in functions.iter().enumerate() {
            let tape = Tape::new().exec(Exec::serial().isa(*isa));
            let y = recorded(tape.constant(Tensor::new(x.clone(), &[x.len()]).unwrap()));
            for (&x, &y) in x.iter().zip(y.value().unwrap().data()) {
                let want = plain(x);
                let same = y.to_bits() == want.to_bits() || y.is_nan() && want.is_nan();
                assert!(same, "{isa}, function {number} of {x}: {y}, not {want}");
            }
        }
    }
}

#[test]
fn sums_over_axes_agree_with_loops() {
    let dims = [2, 3, 1, 4, 2];
    let x = normal(3, &dims);
    for mask in 0..1 << dims.len() {
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
        let out: Vec<usize> = kept.iter().map(|&axis| dims[axis]).collect();
        let mut expected = vec![0.0; out.iter().product()];
        for (at, index) in indices(&dims).iter().enumerate() {
            let own: Vec<usize> = kept.iter().map(|&axis| index[axis]).collect();
            expected[place(&out, &own)] += x.data()[at];
        }
        let tape = Tape::new();
        let (sum, mean) = {
            let x = tape.constant(x.clone());
            (x.sum_over(&axes).value().unwrap(), x.mean_over(&axes).value().unwrap())
        };
        assert_eq!((sum.dims(), mean.dims()), (&out[..], &out[..]), "{axes:?}");
        let count = x.data().len() as f64 / expected.len() as f64;
        for ((sum, mean), expected) in sum.data().iter().zip(mean.data()).zip(&expected) {
            // 48 numbers of a size of about 1, in any order.
            assert!((sum - expected).abs() < 48.0 * 48.0 * 4.0 * f64::EPSILON, "{axes:?}");
            assert_eq!(*mean, sum / count);
        }
    }
}

#[test]
fn the_sum_of_nothing_is_zero() {
    let tape = Tape::new();
    let x = tape.constant(Tensor::<f64>::zeros(&[0, 3]).unwrap());
    assert_eq!(x.sum().item().unwrap(), 0.0);
    assert_eq!(x.sum_over(&[0]).value().unwrap().data(), [0.0; 3]);
}

#[test]
fn axes_change_places() {
    let dims = [2, 3, 4];
    let x = normal(4, &dims);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let tape = Tape::new();
        let y = tape.constant(x.clone()).permute(&order).value().unwrap();
        for (at, index) in indices(&dims).iter().enumerate() {
            let to: Vec<usize> = order.iter().map(|&axis| index[axis]).collect();
            assert_eq!(y.data()[place(y.dims(), &to)], x.data()[at]);
        }
    }
}

#[test]
fn parts_put_together_are_the_whole() {
    let x = normal(5, &[2, 5, 3]);
    for axis in 0..3 {
        let tape = Tape::new();
        let all = tape.constant(x.clone());
        let last = x.dims()[axis] - 1;
        let whole = all.slice(axis, 0, 1).concat(&[all.slice(axis, 1, last)], axis);
        assert_eq!(whole.value().unwrap(), x);
        assert_eq!(all.slice(axis, last, 0).value().unwrap().data().len(), 0);
    }
}

#[test]
fn products_of_transposes_agree() {
    let (a, b) = (normal(6, &[4, 3]), normal(7, &[3, 5]));
    let tape = Tape::new();
    let (a, b) = (tape.constant(a), tape.constant(b));
    let product = a.matmul(b).value().unwrap();
    for (i, row) in product.data().chunks(5).enumerate() {
        for (j, &got) in row.iter().enumerate() {
            let (a, b) = (a.value().unwrap(), b.value().unwrap());
            let sum: f64 = (0..3).map(|k| a.data()[3 * i + k] * b.data()[5 * k + j]).sum();
            assert!((got - sum).abs() < 3.0 * 20.0 * f64::EPSILON);
        }
    }
    let close = |other: Tensor<f64>| {
        assert_eq!(other.dims(), product.dims());
        let pairs = other.data().iter().zip(product.data());
        // Another order of three products.
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 3.0 * 20.0 * f64::EPSILON));
    };
    close(a.matmul_t(b.transpose()).value().unwrap());
    close(a.transpose().t_matmul(b).value().unwrap());
    let folded = a.reshape(&[2, 2, 3]).matmul(b).value().unwrap();
    assert_eq!(folded.dims(), [2, 2, 5]);
    close(folded.reshape(&[4, 5]).unwrap());
}

#[test]
fn as_many_axes_as_there_may_be() {
    let dims = [2; MAX_RANK];
    let tape = Tape::new();
    let x = tape.watched(normal(8, &dims));
    let wide = tape.constant(normal(9, &[2, 1, 2, 1, 2, 1, 2, 1]));
    let gradients = (x * wide).sum().gradients().unwrap();
    assert_eq!(gradients.of(x).unwrap().dims(), dims);
}
