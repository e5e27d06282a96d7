//! Reductions: laws, special values, and their naive twins on every path.

use tilewise_kernels::{
    Argmax, ArgmaxRows, ColumnMeanVar, ColumnSums, ErrorKind, Exec, Float, L2Norm, MatRef, Max,
    Mean, MeanVar, Par, RowSums, Sum, argmax, argmax_rows, available, column_mean_var, column_sums,
    l2_norm, max, mean, mean_var, naive, row_sums, sum,
};

/// Values in [-1, 1), the same for the same seed.
fn numbers<T: Float>(n: usize, mut seed: u64) -> Vec<T> {
    (0..n)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::from_f64((seed >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
        })
        .collect()
}

const LENGTHS: [usize; 14] = [1, 2, 7, 8, 9, 15, 16, 17, 63, 65, 4095, 4097, 65_537, 200_001];

fn close<T: Float>(what: &str, got: T, expected: T, bound: f64) {
    let error = (got.to_f64() - expected.to_f64()).abs();
    assert!(error <= bound, "{what}: {got}, expected {expected} within {bound:e}");
}

fn slices_agree_with_naive<T: Float>() {
    for n in LENGTHS {
        let x: Vec<T> = numbers(n, n as u64);
        let magnitude: f64 = x.iter().map(|x| x.to_f64().abs()).sum();
        let bound = 100.0 * T::EPSILON.to_f64();
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let what = format!("{} {isa} {n}", T::NAME);
            let total = Sum::new(&x).unwrap().run(exec).unwrap();
            close(&what, total, naive::sum(&x), bound * magnitude);
            let average = Mean::new(&x).unwrap().run(exec).unwrap();
            close(&what, average, naive::mean(&x), bound * magnitude / n as f64);
            let (middle, var) = MeanVar::new(&x).unwrap().run(exec).unwrap();
            close(&what, middle, naive::mean_var(&x).0, bound);
            close(&what, var, naive::mean_var(&x).1, bound);
            let norm = L2Norm::new(&x).unwrap().run(exec).unwrap();
            close(&what, norm, naive::l2_norm(&x), bound * norm.to_f64());
            assert_eq!(Max::new(&x).unwrap().run(exec).unwrap(), naive::max(&x));
            assert_eq!(Argmax::new(&x).unwrap().run(exec).unwrap(), naive::argmax(&x));
            let threads = exec.par(Par::Threads(3));
            assert_eq!(Sum::new(&x).unwrap().run(threads).unwrap(), total);
            assert_eq!(MeanVar::new(&x).unwrap().run(threads).unwrap(), (middle, var));
            assert_eq!(L2Norm::new(&x).unwrap().run(threads).unwrap(), norm);
        }
    }
}

#[test]
fn f32_slices_agree_with_naive() {
    slices_agree_with_naive::<f32>();
}

#[test]
fn f64_slices_agree_with_naive() {
    slices_agree_with_naive::<f64>();
}

fn matrices_agree_with_naive<T: Float>() {
    for (rows, cols, gap) in
        [(1, 1, 0), (3, 17, 2), (129, 70, 0), (300, 5, 3), (5, 4099, 1), (4097, 33, 0)]
    {
        let data: Vec<T> = numbers(rows * (cols + gap), 3);
        let x = MatRef::with_strides(&data, [rows, cols], [cols + gap, 1]).unwrap();
        let bound = 100.0 * T::EPSILON.to_f64();
        let mut expected = [vec![T::ZERO; cols], vec![T::ZERO; cols], vec![T::ZERO; cols]];
        let [sums, means, vars] = &mut expected;
        naive::column_sums(x, sums);
        naive::column_mean_var(x, means, vars);
        let mut of_rows = vec![T::ZERO; rows];
        naive::row_sums(x, &mut of_rows);
        let mut places = vec![0; rows];
        naive::argmax_rows(x, &mut places);
        for &isa in available().unwrap() {
            let mut first = None;
            for par in [Par::Serial, Par::Threads(3)] {
                let exec = Exec::default().isa(isa).par(par);
                let mut got = [vec![T::NAN; cols], vec![T::NAN; cols], vec![T::NAN; cols]];
                let [sums, means, vars] = &mut got;
                ColumnSums::new(x, sums).unwrap().run(exec).unwrap();
                ColumnMeanVar::new(x, means, vars).unwrap().run(exec).unwrap();
                for (k, scale) in [rows as f64, 1.0, 1.0].into_iter().enumerate() {
                    for (got, expected) in got[k].iter().zip(&expected[k]) {
                        close(&format!("{isa} {rows}x{cols} {k}"), *got, *expected, bound * scale);
                    }
                }
                let mut got_rows = vec![T::NAN; rows];
                RowSums::new(x, &mut got_rows).unwrap().run(exec).unwrap();
                for (got, expected) in got_rows.iter().zip(&of_rows) {
                    close(&format!("{isa} {rows}x{cols}"), *got, *expected, bound * cols as f64);
                }
                let mut got_places = vec![usize::MAX; rows];
                ArgmaxRows::new(x, &mut got_places).unwrap().run(exec).unwrap();
                assert_eq!(got_places, places);
                let all = (got, got_rows);
                assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "threads change bits");
            }
        }
    }
}

#[test]
fn f32_matrices_agree_with_naive() {
    matrices_agree_with_naive::<f32>();
}

#[test]
fn f64_matrices_agree_with_naive() {
    matrices_agree_with_naive::<f64>();
}

#[test]
fn an_offset_costs_the_variance_nothing() {
    let x: Vec<f32> = numbers::<f32>(10_000, 1).iter().map(|x| 1e6 + 0.2 * x).collect();
    let (middle, var) = mean_var(&x).unwrap();
    let (expected, expected_var) = naive::mean_var(&x);
    close("mean", middle, expected, 0.07);
    close("var", var, expected_var, 1e-6 * f64::from(expected_var));
    assert_eq!(mean_var(&[3.3f32; 1001]).unwrap(), (3.3, 0.0));
}

#[test]
fn c5_argmax_takes_the_first_of_equals_and_refuses_nan() {
    for n in [5, 16, 100, 5000] {
        let mut x = vec![0.0f32; n];
        assert_eq!(argmax(&x).unwrap(), 0);
        x[n - 2] = 1.0;
        x[n - 1] = 1.0;
        assert_eq!(argmax(&x).unwrap(), n - 2);
        x[3] = f32::NAN;
        let error = argmax(&x).unwrap_err();
        assert_eq!(error.to_string(), "argmax: expected no NaN, got NaN at index 3");
    }
    assert_eq!(argmax(&[-0.0f64, 0.0]).unwrap(), 0);
    assert_eq!(argmax(&[f32::NEG_INFINITY; 20]).unwrap(), 0);
    let data = [1.0f32, 2.0, 3.0, f32::NAN];
    let mut out = [7; 2];
    let error = argmax_rows(MatRef::new(&data, 2, 2).unwrap(), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "argmax: expected no NaN, got NaN at row 1, column 1");
    assert_eq!(out, [7; 2]);
}

#[test]
fn nan_goes_through_max_sum_and_norm() {
    for n in [1, 15, 16, 17, 100, 5000] {
        for at in [0, n / 2, n - 1] {
            let mut x: Vec<f32> = numbers(n, 9);
            x[at] = f32::NAN;
            for &isa in available().unwrap() {
                let exec = Exec::default().isa(isa);
                assert!(Max::new(&x).unwrap().run(exec).unwrap().is_nan(), "{isa} {n} {at}");
                assert!(Sum::new(&x).unwrap().run(exec).unwrap().is_nan());
                assert!(L2Norm::new(&x).unwrap().run(exec).unwrap().is_nan());
                assert!(MeanVar::new(&x).unwrap().run(exec).unwrap().1.is_nan());
            }
        }
    }
}

#[test]
fn a_norm_neither_overflows_nor_vanishes() {
    fn check<T: Float>(x: &[T]) {
        let expected = naive::l2_norm(x);
        for &isa in available().unwrap() {
            let got = L2Norm::new(x).unwrap().run(Exec::default().isa(isa)).unwrap();
            // A subnormal result has an absolute precision only.
            let tiny = T::MIN_POSITIVE.to_f64() * T::EPSILON.to_f64();
            let bound = 1e-4_f64.min(100.0 * T::EPSILON.to_f64()) * expected.to_f64() + tiny;
            close(&format!("{isa} {:?}", x[0]), got, expected, bound);
        }
    }
    for scale in [1e-45f32, 1e-40, 1e-38, 1e-30, 1e-20, 1.0, 1e18, 1e25, 5e37] {
        check(&[3.0 * scale, 4.0 * scale]);
        check(&numbers::<f32>(1000, 5).iter().map(|x| x * scale * 0.05).collect::<Vec<_>>());
    }
    for scale in [5e-324, 1e-310, 1e-200, 1.0, 1e155, 1e300] {
        check(&[3.0 * scale, 4.0 * scale]);
    }
    assert_eq!(l2_norm::<f32>(&[]).unwrap(), 0.0);
    assert_eq!(l2_norm(&[0.0f32; 9]).unwrap(), 0.0);
    assert_eq!(l2_norm(&[1.0, f32::NEG_INFINITY]).unwrap(), f32::INFINITY);
}

#[test]
fn empty_inputs_give_zero_or_a_clear_error() {
    let none: [f32; 0] = [];
    assert_eq!(sum(&none).unwrap(), 0.0);
    for error in [
        mean(&none).unwrap_err(),
        mean_var(&none).unwrap_err(),
        max(&none).unwrap_err(),
        argmax(&none).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.got()), (ErrorKind::Shape, "none"));
    }
    let mut out = [1.0, 1.0];
    let flat = MatRef::new(&none, 0, 2).unwrap();
    column_sums(flat, &mut out).unwrap();
    assert_eq!(out, [0.0, 0.0]);
    assert!(column_mean_var(flat, &mut [0.0; 2], &mut [0.0; 2]).is_err());
    row_sums(flat.t(), &mut out).unwrap();
    assert!(argmax_rows(flat.t(), &mut [0; 2]).is_err());
}

#[test]
fn wrong_shapes_and_strides_are_clear_errors() {
    let data = [0.0f32; 6];
    let x = MatRef::new(&data, 2, 3).unwrap();
    let error = column_sums(x, &mut [0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "column sums: expected 3 elements, got 2 elements");
    let error = row_sums(x.t(), &mut [0.0; 3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stride);
}
