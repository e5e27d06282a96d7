//! Backward passes against central differences of their forward passes, in f64, on every path. The
//! upstream gradient is never uniform: a wrong sum of it would not show.

use tilewise_kernels::*;
use tilewise_tests::checks;
use tilewise_tests::data::{Rng, Values};
use tilewise_tests::isas::each_isa;

/// Half the distance of a difference: its error h^2 f''' / 6 and the rounding u |f| / h are both
/// near 1e-10 for functions and third derivatives of order 1 to 10.
const H: f64 = 1e-5;
/// Ten times that.
const TOLERANCE: f64 = 1e-8;

fn normal(count: usize, seed: u64) -> Vec<f64> {
    Values::Normal.fill(count, &mut Rng::new(seed, 0))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares `gradient` with the differences of `loss` at `x`.
fn check(what: &str, x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let mut at = |offset: f64| {
            moved[i] = x[i] + offset;
            let value = loss(&moved);
            moved[i] = x[i];
            value
        };
        let numeric = (at(H) - at(-H)) / (2.0 * H);
        let off = (gradient[i] - numeric).abs();
        let size = 1.0 + gradient[i].abs();
        assert!(
            off <= TOLERANCE * size,
            "{what}[{i}]: {} but {numeric} by differences",
            gradient[i]
        );
    }
}

#[test]
fn a_wrong_gradient_is_found() {
    let right = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let x = normal(3, 1);
    let wrong: Vec<f64> = x.iter().map(|x| 2.0 * x + 1e-6).collect();
    assert!(std::panic::catch_unwind(|| check("x^2", &x, &wrong, right)).is_err());
}

#[test]
fn activations() {
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        for f in checks::activation::ALL {
            let (x, dy) = (normal(19, 2), normal(19, 3));
            let forward = |x: &[f64]| {
                let mut y = vec![0.0; x.len()];
                Activate::new(f, x, &mut y).unwrap().run(exec).unwrap();
                y
            };
            let mut dx = vec![0.0; x.len()];
            ActivateBackward::from_input(f, &x, &dy, &mut dx).unwrap().run(exec).unwrap();
            check(&format!("{f:?} on {isa}"), &x, &dx, |x| dot(&forward(x), &dy));
            if !f.needs_input() {
                let y = forward(&x);
                ActivateBackward::new(f, &y, &dy, &mut dx).unwrap().run(exec).unwrap();
                check(&format!("{f:?} on {isa}, from y"), &x, &dx, |x| dot(&forward(x), &dy));
            }
        }
    });
}

#[test]
fn softmax_and_log_softmax() {
    const SHAPE: [usize; 2] = [3, 11];
    fn view(data: &[f64]) -> MatRef<'_, f64> {
        MatRef::new(data, SHAPE[0], SHAPE[1]).unwrap()
    }
    fn out(data: &mut [f64]) -> MatMut<'_, f64> {
        MatMut::new(data, SHAPE[0], SHAPE[1]).unwrap()
    }
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let (x, dy) = (normal(33, 4), normal(33, 5));
        let forward = |log: bool, x: &[f64]| {
            let mut y = vec![0.0; x.len()];
            match log {
                false => Softmax::new(view(x), out(&mut y)).unwrap().run(exec).unwrap(),
                true => LogSoftmax::new(view(x), out(&mut y)).unwrap().run(exec).unwrap(),
            }
            y
        };
        let mut dx = vec![0.0; x.len()];
        let y = forward(false, &x);
        let op = SoftmaxBackward::new(view(&y), view(&dy), out(&mut dx)).unwrap();
        op.run(exec).unwrap();
        check(&format!("softmax on {isa}"), &x, &dx, |x| dot(&forward(false, x), &dy));
        let y = forward(true, &x);
        let op = LogSoftmaxBackward::new(view(&y), view(&dy), out(&mut dx)).unwrap();
        op.run(exec).unwrap();
        check(&format!("log-softmax on {isa}"), &x, &dx, |x| dot(&forward(true, x), &dy));
    });
}

/// Rows and classes.
const BATCH: [usize; 2] = [7, 5];
const LABELS: [usize; 7] = [0, 3, 4, 1, 2, 2, 0];
const WEIGHTS: [f64; 5] = [0.5, 2.0, 0.0, 1.25, 0.75];

/// The cross-entropy whose options are the bits of `options`.
fn cross_entropy<'a>(
    x: &'a [f64],
    shares: &'a [f64],
    options: u32,
) -> SoftmaxCrossEntropy<'a, f64> {
    let has = |bit: u32| options >> bit & 1 == 1;
    let view = |data| MatRef::new(data, BATCH[0], BATCH[1]).unwrap();
    let targets = match has(0) {
        false => Targets::Classes(&LABELS),
        true => Targets::Probabilities(view(shares)),
    };
    let mut op = SoftmaxCrossEntropy::new(view(x), targets).unwrap();
    if has(1) {
        op = op.reduction(Reduction::Sum);
    }
    if has(2) {
        op = op.label_smoothing(0.2);
    }
    if has(3) {
        op = op.class_weights(&WEIGHTS);
    }
    if has(4) && !has(0) {
        op = op.ignore_index(3);
    }
    op
}

#[test]
fn cross_entropy_under_every_option() {
    let count = BATCH[0] * BATCH[1];
    let shares: Vec<f64> = normal(count, 6).iter().map(|x| x.abs()).collect();
    let x = normal(count, 7);
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        for options in 0..32 {
            let mut dx = vec![0.0; count];
            let out = MatMut::new(&mut dx, BATCH[0], BATCH[1]).unwrap();
            cross_entropy(&x, &shares, options).loss_and_gradient(out, exec).unwrap();
            let what = format!("cross-entropy, options {options:05b}, on {isa}");
            check(&what, &x, &dx, |x| cross_entropy(x, &shares, options).loss(exec).unwrap().value);
        }
    });
}

#[test]
fn linear_cross_entropy_in_tiles() {
    const DEPTH: usize = 3;
    let [rows, classes] = BATCH;
    let shapes = [[rows, DEPTH], [DEPTH, classes], [1, classes]];
    let x = normal(shapes.iter().map(|[rows, cols]| rows * cols).sum(), 13);
    let cut = |x: &[f64]| {
        let (hidden, rest) = x.split_at(rows * DEPTH);
        let (weights, bias) = rest.split_at(DEPTH * classes);
        [hidden.to_vec(), weights.to_vec(), bias.to_vec()]
    };
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let run = |x: &[f64], options: u32| {
            let has = |bit: u32| options >> bit & 1 == 1;
            let [hidden, weights, bias] = cut(x);
            let view = |data, [rows, cols]: [usize; 2]| MatRef::new(data, rows, cols).unwrap();
            let (hidden, weights) = (view(&hidden, shapes[0]), view(&weights, shapes[1]));
            let op = LinearCrossEntropy::new(hidden, weights, &LABELS).unwrap();
            let mut op = op.bias(&bias).tile([3, 2]);
            if has(0) {
                op = op.reduction(Reduction::Sum);
            }
            if has(1) {
                op = op.label_smoothing(0.2);
            }
            if has(2) {
                op = op.class_weights(&WEIGHTS);
            }
            if has(3) {
                op = op.ignore_index(3);
            }
            let mut room = vec![0.0; op.workspace().unwrap()];
            let mut dx = cut(x);
            let [dhidden, dweights, dbias] = &mut dx;
            let grads = LinearCrossEntropyGrads {
                dhidden: MatMut::new(dhidden, rows, DEPTH).unwrap(),
                dweights: MatMut::new(dweights, DEPTH, classes).unwrap(),
                dbias: Some(dbias),
            };
            let loss = op.loss_and_gradients(grads, &mut room, exec).unwrap();
            (loss.value, dx.concat())
        };
        for options in 0..16 {
            let what = format!("linear cross-entropy, options {options:04b}, on {isa}");
            check(&what, &x, &run(&x, options).1, |x| run(x, options).0);
        }
    });
}

#[test]
fn sigmoid_cross_entropy_of_logits() {
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let x: Vec<f64> = normal(21, 8).iter().map(|x| 3.0 * x).collect();
        let t: Vec<f64> = (0..21).map(|i| f64::from(i % 4) / 3.0).collect();
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let mut dx = vec![0.0; x.len()];
            let op = SigmoidCrossEntropy::new(&x, &t).unwrap().reduction(reduction);
            op.loss_and_gradient(&mut dx, exec).unwrap();
            check(&format!("sigmoid cross-entropy on {isa}"), &x, &dx, |x| {
                let op = SigmoidCrossEntropy::new(x, &t).unwrap().reduction(reduction);
                op.loss(exec).unwrap().value
            });
        }
    });
}

#[test]
fn batch_norm_in_every_layout_with_and_without_relu() {
    let layouts = [BatchNormDims::rows(9, 5), BatchNormDims { outer: 3, channels: 4, inner: 6 }];
    each_isa(|isa| {
        for (dims, relu) in layouts.into_iter().flat_map(|dims| [(dims, false), (dims, true)]) {
            batch_norm(isa, dims, relu);
        }
    });
}

fn batch_norm(isa: Isa, dims: BatchNormDims, relu: bool) {
    let exec = Exec::default().isa(isa);
    let count = dims.len().unwrap();
    let (x, dy) = (normal(count, 9), normal(count, 10));
    let (gamma, beta) = (normal(dims.channels, 11), normal(dims.channels, 12));
    let forward = |x: &[f64], affine: Affine<'_, f64>| {
        let (mut y, mut stats) = (vec![0.0; x.len()], BatchStats::new(dims.channels));
        let op = BatchNormForward::new(x, dims, affine, 1e-5).unwrap().relu(relu);
        op.run(&mut y, &mut stats, exec).unwrap();
        (y, stats)
    };
    let affine = Affine { gamma: &gamma, beta: &beta };
    let (_, stats) = forward(&x, affine);
    let mut dx = vec![0.0; count];
    let (mut dgamma, mut dbeta) = (vec![0.0; dims.channels], vec![0.0; dims.channels]);
    let grads = BatchNormGrads { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
    let op = BatchNormBackward::new(&x, dims, affine, &stats).unwrap().relu(relu);
    op.run(&dy, grads, exec).unwrap();
    let what = |of: &str| format!("batch norm {of}, relu {relu}, {dims:?}, on {isa}");
    check(&what("x"), &x, &dx, |x| dot(&forward(x, affine).0, &dy));
    let with_gamma = |gamma: &[f64]| dot(&forward(&x, Affine { gamma, beta: &beta }).0, &dy);
    check(&what("gamma"), &gamma, &dgamma, with_gamma);
    let with_beta = |beta: &[f64]| dot(&forward(&x, Affine { gamma: &gamma, beta }).0, &dy);
    check(&what("beta"), &beta, &dbeta, with_beta);
}

/// Three rows of seven.
fn rows_of_seven(values: &[f64]) -> MatRef<'_, f64> {
    MatRef::new(values, 3, 7).unwrap()
}

fn norm_of_rows(centred: bool, exec: Exec) {
    let (x, dy) = (normal(21, 30), normal(21, 31));
    let (gamma, beta) = (normal(7, 32), normal(7, 33));
    let forward = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        let (mut y, mut stats) = (vec![0.0; 21], RowStats::new(3));
        let op = match centred {
            true => RowNorm::layer(rows_of_seven(x), [gamma, beta], 1e-5).unwrap(),
            false => RowNorm::rms(rows_of_seven(x), gamma, 1e-5).unwrap(),
        };
        op.run(MatMut::new(&mut y, 3, 7).unwrap(), &mut stats, exec).unwrap();
        (dot(&y, &dy), stats)
    };
    let (_, stats) = forward(&x, &gamma, &beta);
    let (mut dx, mut dgamma) = (vec![0.0; 21], vec![0.0; 7]);
    let mut dbeta = vec![0.0; if centred { 7 } else { 0 }];
    let op = match centred {
        true => RowNormBackward::layer(rows_of_seven(&x), &gamma, &stats).unwrap(),
        false => RowNormBackward::rms(rows_of_seven(&x), &gamma, &stats).unwrap(),
    };
    let out = MatMut::new(&mut dx, 3, 7).unwrap();
    let grads = NormGrads { dx: out, dgamma: &mut dgamma, dbeta: &mut dbeta };
    op.run(rows_of_seven(&dy), grads, exec).unwrap();
    check("norm of rows x", &x, &dx, |x| forward(x, &gamma, &beta).0);
    check("norm of rows gamma", &gamma, &dgamma, |gamma| forward(&x, gamma, &beta).0);
    if centred {
        check("norm of rows beta", &beta, &dbeta, |beta| forward(&x, &gamma, beta).0);
    }
}

#[test]
fn norms_of_rows() {
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        norm_of_rows(true, exec);
        norm_of_rows(false, exec);
    });
}

#[test]
fn patches_and_pooling() {
    let dims = ImageDims { channels: 2, height: 5, width: 6 };
    let window = Window::new(3, 2).stride(2, 1).padding(1, 1);
    let x = normal(60, 40);
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let patches = Patches::new(dims, window).unwrap();
        let [weights, positions] = patches.shape();
        let dy = normal(weights * positions, 41);
        let mut dx = vec![0.0; 60];
        patches.scatter(&dy, &mut dx, exec).unwrap();
        check("patches", &x, &dx, |x| {
            let mut y = vec![0.0; dy.len()];
            patches.gather(x, &mut y, exec).unwrap();
            dot(&y, &dy)
        });
        for kind in [Pooling::Max, Pooling::Mean] {
            let pool = Pool::new(kind, dims, window).unwrap();
            let dy = normal(2 * positions, 42);
            let mut dx = vec![0.0; 60];
            pool.backward(&x, &dy, &mut dx, exec).unwrap();
            check("pooling", &x, &dx, |x| {
                let mut y = vec![0.0; dy.len()];
                pool.forward(x, &mut y, exec).unwrap();
                dot(&y, &dy)
            });
        }
    });
}

#[test]
fn losses_of_regressions() {
    let (x, t) = (normal(37, 50), normal(37, 51));
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        for distance in checks::regression::DISTANCES {
            let mut dx = vec![0.0; 37];
            let op = RegressionLoss::new(&x, &t, distance).unwrap();
            op.loss_and_gradient(&mut dx, exec).unwrap();
            check("regression", &x, &dx, |x| {
                RegressionLoss::new(x, &t, distance).unwrap().loss(exec).unwrap().value
            });
        }
    });
}
