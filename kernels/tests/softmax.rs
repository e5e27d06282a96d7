//! Worked numbers and edge cases of softmax, its logarithm and log-sum-exp, on every path.

use tilewise_kernels::*;

/// Runs `body` for every instruction set of this machine.
fn on_every_path(body: impl Fn(Exec)) {
    for &isa in available().unwrap() {
        body(Exec::default().isa(isa));
    }
}

fn softmax_of(row: &[f64], exec: Exec) -> Vec<f64> {
    let mut y = vec![0.0; row.len()];
    Softmax::new(MatRef::row_vector(row), MatMut::new(&mut y, 1, row.len()).unwrap())
        .unwrap()
        .run(exec)
        .unwrap();
    y
}

fn log_softmax_of(row: &[f64], exec: Exec) -> Vec<f64> {
    let mut y = vec![0.0; row.len()];
    LogSoftmax::new(MatRef::row_vector(row), MatMut::new(&mut y, 1, row.len()).unwrap())
        .unwrap()
        .run(exec)
        .unwrap();
    y
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} is not {want}");
    }
}

#[test]
fn c2_softmax_of_the_worked_example() {
    on_every_path(|exec| {
        let want = [0.84203357, 0.04192238, 0.00208719, 0.11395685];
        assert_close(&softmax_of(&[5.0, 2.0, -1.0, 3.0], exec), &want, 1e-8);
    });
}

#[test]
fn c3_log_softmax_of_the_worked_example() {
    on_every_path(|exec| {
        let z = [5.0, 2.0, -1.0, 3.0];
        let want = [-0.171935, -3.171935, -6.171935, -2.171935];
        assert_close(&log_softmax_of(&z, exec), &want, 5e-7);
        let mut lse = [0.0];
        LogSumExp::new(MatRef::row_vector(&z), &mut lse).unwrap().run(exec).unwrap();
        assert_close(&lse, &[5.17193539], 5e-9);
        let want = [0.09003057, 0.24472847, 0.66524096];
        assert_close(&softmax_of(&[1000.0, 1001.0, 1002.0], exec), &want, 5e-9);
    });
}

#[test]
fn c3_a_row_of_minus_infinity_is_uniform() {
    on_every_path(|exec| {
        let row = [f64::NEG_INFINITY; 5];
        assert_close(&softmax_of(&row, exec), &[0.2; 5], 0.0);
        assert_close(&log_softmax_of(&row, exec), &[-5f64.ln(); 5], 0.0);
        let mut lse = [0.0];
        LogSumExp::new(MatRef::row_vector(&row), &mut lse).unwrap().run(exec).unwrap();
        assert_eq!(lse, [f64::NEG_INFINITY]);
    });
}

#[test]
fn c6_two_classes_are_the_sigmoid_of_the_difference() {
    on_every_path(|exec| {
        for z in [[0.0, 0.0], [3.0, -2.0], [-30.0, 10.0], [0.1, 0.2]] {
            let sigmoid = 1.0 / (1.0 + f64::exp(z[1] - z[0]));
            assert_close(&softmax_of(&z, exec)[..1], &[sigmoid], 1e-7);
        }
    });
}

#[test]
fn nan_and_plus_infinity_fill_their_row_only() {
    on_every_path(|exec| {
        for bad in [f64::NAN, f64::INFINITY] {
            for cols in [1, 2, 7, 33, 200] {
                for place in [0, cols / 2, cols - 1] {
                    let mut x = vec![0.5; 3 * cols];
                    x[cols + place] = bad;
                    let mut y = vec![0.0; 3 * cols];
                    let view = MatMut::new(&mut y, 3, cols).unwrap();
                    let work = LogSoftmax::new(MatRef::new(&x, 3, cols).unwrap(), view).unwrap();
                    work.run(exec).unwrap();
                    assert!(y[cols..2 * cols].iter().all(|y| y.is_nan()), "{bad} of {cols}");
                    assert!(y[..cols].iter().chain(&y[2 * cols..]).all(|y| y.is_finite()));
                    let mut lse = [0.0; 3];
                    let work = LogSumExp::new(MatRef::new(&x, 3, cols).unwrap(), &mut lse).unwrap();
                    work.run(exec).unwrap();
                    assert_eq!(lse[1].is_nan(), bad.is_nan());
                }
            }
        }
    });
}

#[test]
fn minus_infinity_has_probability_zero_and_1e30_wins() {
    on_every_path(|exec| {
        let y = softmax_of(&[f64::NEG_INFINITY, 1.0, 1.0], exec);
        assert_close(&y, &[0.0, 0.5, 0.5], 1e-15);
        assert_close(&softmax_of(&[1e30, -1e30, 0.0], exec), &[1.0, 0.0, 0.0], 0.0);
    });
}

#[test]
fn empty_matrices_are_left_alone() {
    for (rows, cols) in [(0, 0), (0, 3), (3, 0)] {
        let x: [f32; 0] = [];
        let mut y: [f32; 0] = [];
        let x = MatRef::new(&x, rows, cols).unwrap();
        softmax(x, MatMut::new(&mut y, rows, cols).unwrap()).unwrap();
        log_softmax(x, MatMut::new(&mut y, rows, cols).unwrap()).unwrap();
        let mut lse = vec![0.0; rows];
        log_sum_exp(x, &mut lse).unwrap();
        assert!(lse.iter().all(|&l| l == f32::NEG_INFINITY));
    }
}

#[test]
fn wrong_arguments_are_named() {
    let x = [0f32; 6];
    let mut y = [0f32; 6];
    let error =
        softmax(MatRef::new(&x, 2, 3).unwrap(), MatMut::new(&mut y, 3, 2).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert_eq!(error.to_string(), "softmax: output: expected 2 x 3, got 3 x 2");
    let columns = MatRef::new(&x, 3, 2).unwrap().t();
    let error = log_softmax(columns, MatMut::new(&mut y, 2, 3).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stride);
}

/// Values between -4 and 4, the same in every run.
fn noise(len: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * 8.0
    };
    (0..len).map(|_| next()).collect()
}

fn view(data: &[f32], rows: usize) -> MatRef<'_, f32> {
    MatRef::new(data, rows, data.len() / rows).unwrap()
}

fn out(data: &mut [f32], rows: usize) -> MatMut<'_, f32> {
    let cols = data.len() / rows;
    MatMut::new(data, rows, cols).unwrap()
}

#[test]
fn agrees_with_the_naive_twin_for_every_width() {
    on_every_path(|exec| {
        for cols in (1..=70).chain([127, 128, 129, 255, 256, 257, 1000]) {
            let rows = 3;
            let x = noise(rows * cols, 1);
            let dy = noise(rows * cols, 2);
            let check = |name: &str, got: &[f32], want: &[f32]| {
                for (got, want) in got.iter().zip(want) {
                    let tolerance = f32::EPSILON * (8.0 + cols as f32 / 8.0);
                    let error = (got - want).abs() / want.abs().max(1.0);
                    assert!(error <= tolerance, "{name} {cols}: {got} is not {want}");
                }
            };
            let mut got = vec![0f32; rows * cols];
            let mut want = got.clone();
            let (mut dx, mut want_dx) = (got.clone(), got.clone());
            Softmax::new(view(&x, rows), out(&mut got, rows)).unwrap().run(exec).unwrap();
            naive::softmax(view(&x, rows), out(&mut want, rows));
            check("softmax", &got, &want);
            let work = SoftmaxBackward::new(view(&want, rows), view(&dy, rows), out(&mut dx, rows))
                .unwrap();
            work.run(exec).unwrap();
            naive::softmax_backward(view(&want, rows), view(&dy, rows), out(&mut want_dx, rows));
            check("softmax backward", &dx, &want_dx);
            LogSoftmax::new(view(&x, rows), out(&mut got, rows)).unwrap().run(exec).unwrap();
            naive::log_softmax(view(&x, rows), out(&mut want, rows));
            check("log-softmax", &got, &want);
            let work =
                LogSoftmaxBackward::new(view(&want, rows), view(&dy, rows), out(&mut dx, rows))
                    .unwrap();
            work.run(exec).unwrap();
            naive::log_softmax_backward(
                view(&want, rows),
                view(&dy, rows),
                out(&mut want_dx, rows),
            );
            check("log-softmax backward", &dx, &want_dx);
        }
    });
}

#[test]
fn an_offset_that_is_exact_changes_no_bit() {
    on_every_path(|exec| {
        let cols = 45;
        let x: Vec<f32> = noise(cols, 9).iter().map(|x| (x * 16.0).round() / 16.0).collect();
        let run = |offset: f32| {
            let x: Vec<f32> = x.iter().map(|x| x + offset).collect();
            let mut y = vec![0f32; cols];
            LogSoftmax::new(view(&x, 1), out(&mut y, 1)).unwrap().run(exec).unwrap();
            y
        };
        assert_eq!(run(1e6), run(0.0));
        assert_eq!(run(-65536.0), run(0.0));
    });
}

#[test]
fn bits_do_not_depend_on_threads_or_alignment() {
    on_every_path(|exec| {
        let (rows, cols) = (37, 53);
        let x = noise(rows * cols + 5, 7);
        let run = |offset: usize, par: Par| {
            let mut shifted = vec![0.0; offset];
            shifted.extend_from_slice(&x[..rows * cols]);
            let mut y = vec![0f32; rows * cols + offset];
            let out = MatMut::new(&mut y[offset..], rows, cols).unwrap();
            let work = LogSoftmax::new(MatRef::new(&shifted[offset..], rows, cols).unwrap(), out);
            work.unwrap().run(exec.par(par)).unwrap();
            y[offset..].to_vec()
        };
        let want = run(0, Par::Serial);
        for (offset, threads) in [(0, 2), (1, 1), (3, 5)] {
            assert_eq!(run(offset, Par::Threads(threads)), want);
        }
    });
}
