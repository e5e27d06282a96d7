//! Batch normalisation: worked examples, laws, and its naive twins on every path.

mod case;
mod examples;
mod large;
mod moments;

use case::{Case, Numbers, close, rectified};
use tilewise_kernels::{
    Affine, BatchNormDims, BatchNormForward, BatchNormGrads, BatchNormInference, BatchStats,
    ErrorKind, Exec, Float, Par, Running, available, batch_norm_backward, batch_norm_forward,
    batch_norm_inference, naive,
};

/// Row counts around the block of 128, batches on both sides of a megabyte, widths around vectors and strips,
/// planes around vectors, blocks and cache lines.
fn shapes() -> Vec<BatchNormDims> {
    let mut shapes = Vec::new();
    for n in [2, 3, 7, 8, 9, 127, 128, 129, 300] {
        for c in [1, 2, 15, 16, 17, 63, 64, 65, 130] {
            shapes.push(BatchNormDims::rows(n, c));
        }
    }
    shapes.extend([BatchNormDims::rows(4096, 3), BatchNormDims::rows(4097, 33)]);
    shapes.extend([BatchNormDims::rows(700, 601), BatchNormDims::rows(20_000, 17)]);
    shapes.extend([BatchNormDims::rows(9001, 5), BatchNormDims::rows(9001, 1)]);
    for (n, c, h, w) in [(2, 3, 1, 2), (3, 5, 3, 3), (1, 2, 7, 7), (5, 3, 16, 16), (40, 2, 7, 9)] {
        shapes.push(BatchNormDims::nchw(n, c, h, w).unwrap());
    }
    shapes.push(BatchNormDims::nchw(2, 3, 64, 64).unwrap());
    shapes.push(BatchNormDims::nchw(2, 3, 67, 71).unwrap());
    shapes.push(BatchNormDims::nhwc(2, 5, 5, 19).unwrap());
    shapes
}

fn agrees_with_naive<T: Float>(offset: f64) {
    for (seed, dims) in shapes().into_iter().enumerate() {
        let case = Case::<T>::new(dims, offset, seed as u64);
        let (y, stats) = case.naive_forward();
        let grads = case.naive_backward(&case.dy, &stats);
        let masked: Vec<T> = (case.dy.iter().zip(&y))
            .map(|(&dy, &y)| if y <= T::ZERO { T::ZERO } else { dy })
            .collect();
        let relu_grads = case.naive_backward(&masked, &stats);
        let count = (dims.outer * dims.inner) as f64;
        for &isa in available().unwrap() {
            let exec = Exec::default().isa(isa);
            let what = format!("{} {} {dims:?}", T::NAME, isa);
            // Sums of 64 products per chain, a cancellation of 9 at most, and a few roundings of
            // outputs that lie within 2 * (sqrt(3) * 2.5 + 1).
            let bound = T::EPSILON.to_f64() * 1e3;
            let (fast_y, fast_stats) = case.forward(false, exec);
            close(&format!("{what} y"), &fast_y, &y, bound);
            close(
                &format!("{what} mean"),
                &fast_stats.mean,
                &stats.mean,
                1e-2 * bound * (1.0 + offset.abs()),
            );
            close(&format!("{what} var"), &fast_stats.var, &stats.var, 1e-2 * bound);
            let (fast_relu, _) = case.forward(true, exec);
            close(&format!("{what} relu"), &fast_relu, &rectified(&y), bound);
            // Gradients grow with gamma / std, here below 25 and, for very few values, 1000.
            let steep = bound * if count < 10.0 { 1e3 } else { 30.0 };
            // Chains of fewer than 100 sums here, of all values in the twin; terms below 3.
            let sums = (100.0 * T::EPSILON.to_f64() + count * f64::EPSILON) * count * 3.0;
            let fast = case.backward(&case.dy, &stats, false, exec);
            let fast_masked = case.backward(&case.dy, &stats, true, exec);
            for (k, name) in ["dx", "dgamma", "dbeta"].iter().enumerate() {
                let bound = if k == 0 { steep } else { sums };
                close(&format!("{what} {name}"), &fast[k], &grads[k], bound);
                close(&format!("{what} relu {name}"), &fast_masked[k], &relu_grads[k], bound);
            }
        }
    }
}

#[test]
fn f32_agrees_with_naive() {
    agrees_with_naive::<f32>(0.0);
}

#[test]
fn f64_agrees_with_naive() {
    agrees_with_naive::<f64>(0.0);
}

#[test]
fn b17_a_row_alone_equals_that_row_in_a_batch() {
    for (n, c) in [(1000, 70), (5, 3), (70, 1)] {
        let case = Case::<f32>::new(BatchNormDims::rows(n, c), 3.0, 17);
        let (mean, var) = (Numbers(1).take(c, 1.0, 3.0), Numbers(2).take(c, 1.0, 2.0));
        let infer = |x: &[f32], dims, exec| {
            let running = Running { mean: &mean, var: &var };
            let mut y = vec![f32::NAN; x.len()];
            let op = BatchNormInference::new(x, dims, case.affine(), running, 1e-5).unwrap();
            op.run(&mut y, exec).unwrap();
            y
        };
        for &isa in available().unwrap() {
            let exec = Exec::default().isa(isa);
            let batch = infer(&case.x, case.dims, exec.par(Par::Threads(3)));
            for (x, y) in case.x.chunks(c).zip(batch.chunks(c)) {
                assert_eq!(infer(x, BatchNormDims::rows(1, c), exec), y);
            }
            let mut naive = vec![0.0; batch.len()];
            let running = Running { mean: &mean, var: &var };
            naive::batch_norm_inference(
                &case.x,
                case.dims,
                case.affine(),
                running,
                1e-5,
                &mut naive,
            );
            close("inference", &batch, &naive, 1e-5);
        }
    }
}

#[test]
fn inference_of_planes_agrees_with_naive() {
    for (seed, dims) in shapes().into_iter().enumerate() {
        let case = Case::<f32>::new(dims, 3.0, seed as u64);
        let (mean, var) =
            (Numbers(1).take(dims.channels, 1.0, 3.0), Numbers(2).take(dims.channels, 1.0, 2.0));
        let running = Running { mean: &mean, var: &var };
        let mut expected = vec![0.0; case.x.len()];
        naive::batch_norm_inference(&case.x, dims, case.affine(), running, 1e-5, &mut expected);
        for relu in [false, true] {
            let mut y = vec![f32::NAN; case.x.len()];
            let op = BatchNormInference::new(&case.x, dims, case.affine(), running, 1e-5).unwrap();
            op.relu(relu).run(&mut y, Exec::default()).unwrap();
            let expected = if relu { rectified(&expected) } else { expected.clone() };
            close(&format!("{dims:?}"), &y, &expected, 1e-5);
        }
    }
}

#[test]
fn b19_a_constant_feature_gives_beta_and_a_finite_gradient() {
    for value in [0.0f32, 0.1, -1e6, 3.3e7] {
        for dims in [
            BatchNormDims::rows(1000, 20),
            BatchNormDims::rows(5000, 60),
            BatchNormDims::nchw(7, 3, 11, 13).unwrap(),
        ] {
            let mut case = Case::<f32>::new(dims, 0.0, 19);
            case.x.fill(value);
            for &isa in available().unwrap() {
                let exec = Exec::default().isa(isa);
                let (y, stats) = case.forward(false, exec);
                for (i, &y) in y.iter().enumerate() {
                    assert_eq!(y, case.beta[i / dims.inner % dims.channels], "{isa} {value}");
                }
                assert!(stats.var.iter().all(|&var| var == 0.0));
                let [dx, dgamma, _] = case.backward(&case.dy, &stats, false, exec);
                assert!(dx.iter().all(|dx| dx.is_finite()));
                assert!(dgamma.iter().all(|&dgamma| dgamma == 0.0));
            }
        }
    }
}

#[test]
fn large_offsets_cost_no_precision() {
    for offset in [1e4, 1e6] {
        agrees_with_naive::<f32>(offset);
        agrees_with_naive::<f64>(offset);
    }
}

#[test]
fn an_outlier_in_the_first_row_costs_no_precision() {
    let mut case = Case::<f32>::new(BatchNormDims::rows(1000, 33), 0.0, 3);
    case.x[..33].fill(1e6);
    let (y, stats) = case.naive_forward();
    for &isa in available().unwrap() {
        let (fast, fast_stats) = case.forward(false, Exec::default().isa(isa));
        close("mean", &fast_stats.mean, &stats.mean, 1e-5 * 1e3);
        close("var", &fast_stats.var, &stats.var, 1e-5 * 1e9);
        close("y", &fast, &y, 1e-3);
    }
}

#[test]
fn thread_counts_and_neighbours_do_not_change_bits() {
    let cases =
        [(300, 130), (4097, 65), (12_289, 33), (700, 601)].map(|(n, c)| BatchNormDims::rows(n, c));
    for dims in cases.into_iter().chain([BatchNormDims::nchw(9, 7, 8, 9).unwrap()]) {
        let case = Case::<f32>::new(dims, 2.0, 23);
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let (y, stats) = case.forward(true, exec);
            let grads = case.backward(&case.dy, &stats, true, exec);
            for threads in [2, 3, 7] {
                let exec = exec.par(Par::Threads(threads));
                let (other, other_stats) = case.forward(true, exec);
                assert_eq!((&other, &other_stats), (&y, &stats), "{isa} {dims:?} {threads}");
                assert_eq!(case.backward(&case.dy, &stats, true, exec), grads);
            }
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_channel() {
    for bad in [f32::NAN, f32::INFINITY] {
        for dims in [BatchNormDims::rows(200, 37), BatchNormDims::nchw(3, 37, 5, 5).unwrap()] {
            let mut case = Case::<f32>::new(dims, 0.0, 29);
            let (clean, _) = case.forward(true, Exec::default());
            let place = 40 * dims.inner;
            case.x[place] = bad;
            let hit = place / dims.inner % dims.channels;
            for &isa in available().unwrap() {
                let (y, stats) = case.forward(true, Exec::default().isa(isa));
                let grads = case.backward(&case.dy, &stats, true, Exec::default().isa(isa));
                for (i, y) in y.iter().enumerate() {
                    let in_channel = i / dims.inner % dims.channels == hit;
                    assert_eq!(y.is_nan(), in_channel, "{isa} {bad} {dims:?} {i} {y}");
                    assert_eq!(grads[0][i].is_nan(), in_channel);
                    assert!(in_channel || (y - clean[i]).abs() < 1e-4);
                }
                assert!(stats.mean[hit].is_nan() && grads[1][hit].is_nan());
            }
        }
    }
}

#[test]
fn wrong_arguments_are_clear_errors() {
    let case = Case::<f32>::new(BatchNormDims::rows(4, 3), 0.0, 0);
    let (affine, dims) = (case.affine(), case.dims);
    let error = BatchNormForward::new(&case.x[..11], dims, affine, 1e-5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert_eq!(error.to_string(), "batch norm input: expected 12 elements, got 11 elements");

    let one = BatchNormDims::rows(1, 3);
    let error = BatchNormForward::new(&case.x[..3], one, affine, 1e-5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Value);
    assert_eq!(
        error.to_string(),
        "batch norm: expected at least 2 values per channel in training, got 1"
    );

    for epsilon in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = BatchNormForward::new(&case.x, dims, affine, epsilon).unwrap_err();
        assert_eq!(error.what(), "batch norm epsilon");
    }

    let short = Affine { gamma: &case.gamma[..2], beta: &case.beta };
    let error = BatchNormForward::new(&case.x, dims, short, 1e-5).unwrap_err();
    assert_eq!(error.what(), "batch norm gamma");

    let mut stats = BatchStats::new(2);
    let error = batch_norm_forward(&case.x, dims, affine, 1e-5, &mut [0.0; 12], &mut stats);
    assert!(error.unwrap_err().what().contains("statistics"));

    let huge = BatchNormDims { outer: usize::MAX, channels: 2, inner: 2 };
    let error = BatchNormForward::new(&case.x, huge, affine, 1e-5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
}

#[test]
fn nothing_is_normalised_to_nothing() {
    let dims = BatchNormDims::rows(5, 0);
    let affine = Affine::<f32> { gamma: &[], beta: &[] };
    let mut stats = BatchStats::new(0);
    batch_norm_forward(&[], dims, affine, 1e-5, &mut [], &mut stats).unwrap();
    let grads = BatchNormGrads { dx: &mut [], dgamma: &mut [], dbeta: &mut [] };
    batch_norm_backward(&[], dims, affine, &stats, &[], grads).unwrap();
    let running = Running { mean: &[1.0f32], var: &[1.0] };
    let (affine, dims) = (Affine { gamma: &[1.0], beta: &[0.0] }, BatchNormDims::rows(0, 1));
    batch_norm_inference(&[], dims, affine, running, 1e-5, &mut []).unwrap();
}
