//! The worked numbers of the course, by their ids, on every path and in both types. The softmax
//! family's are in the kernels' own tests.

use tilewise_kernels::*;
use tilewise_tests::data::{Rng, Values};
use tilewise_tests::isas::each_isa;
use tilewise_tests::real::{Real, widen};

const EPSILON: f64 = 1e-5;

#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{what}: {got}, not {want}");
    }
}

fn narrow<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&x| T::from_f64(x)).collect()
}

/// What six printed digits and a few roundings of `T` allow for values near 1.
fn digits<T: Real>() -> f64 {
    1e-6 + 16.0 * T::UNIT
}

/// Batch norm of a single channel: the output and the statistics.
fn normalised<T: Real>(isa: Isa, x: &[f64], [gamma, beta]: [f64; 2]) -> (Vec<f64>, BatchStats<T>) {
    let (x, gamma, beta) = (narrow::<T>(x), narrow(&[gamma]), narrow(&[beta]));
    let affine = Affine { gamma: &gamma, beta: &beta };
    let (mut y, mut stats) = (vec![T::NAN; x.len()], BatchStats::new(1));
    let dims = BatchNormDims::rows(x.len(), 1);
    BatchNormForward::new(&x, dims, affine, T::from_f64(EPSILON))
        .and_then(|op| op.run(&mut y, &mut stats, Exec::default().isa(isa)))
        .unwrap();
    (widen(&y), stats)
}

/// Batch norm's gradients for a single channel: of x, gamma and beta.
fn gradients<T: Real>(isa: Isa, x: &[f64], gamma: f64, dy: &[f64]) -> [Vec<f64>; 3] {
    let (_, stats) = normalised::<T>(isa, x, [gamma, 0.5]);
    let (x, dy) = (narrow::<T>(x), narrow::<T>(dy));
    let (gamma, beta) = (narrow(&[gamma]), narrow(&[0.5]));
    let affine = Affine { gamma: &gamma, beta: &beta };
    let (mut dx, mut dgamma, mut dbeta) = (vec![T::NAN; x.len()], [T::NAN], [T::NAN]);
    let grads = BatchNormGrads { dx: &mut dx, dgamma: &mut dgamma, dbeta: &mut dbeta };
    BatchNormBackward::new(&x, BatchNormDims::rows(x.len(), 1), affine, &stats)
        .and_then(|op| op.run(&dy, grads, Exec::default().isa(isa)))
        .unwrap();
    [widen(&dx), widen(&dgamma), widen(&dbeta)]
}

fn normal(count: usize, seed: u64) -> Vec<f64> {
    Values::Normal.fill(count, &mut Rng::new(seed, 0))
}

const X: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

fn batch_norm_examples<T: Real>(isa: Isa) {
    let (y, stats) = normalised::<T>(isa, &X, [1.0, 0.0]);
    close("b3 mean", &widen(&stats.mean), &[2.5], 0.0);
    close("b3 var", &widen(&stats.var), &[1.25], 1e-15);
    close("b3", &y, &[-1.341635, -0.447212, 0.447212, 1.341635], digits::<T>());
    let (y, _) = normalised::<T>(isa, &X, [2.0, 0.5]);
    close("b4", &y, &[-2.183271, -0.394424, 1.394424, 3.183271], 2.0 * digits::<T>());
    let scale = (1.25 + EPSILON).sqrt();
    let (y, _) = normalised::<T>(isa, &X, [scale, 2.5]);
    close("b5", &y, &X, 4.0 * 1e-6);
    let [dx, dgamma, dbeta] = gradients::<T>(isa, &X, 2.0, &[1.0, 0.0, 0.0, 0.0]);
    close("b12 dgamma", &dgamma, &[-1.3416354], digits::<T>());
    close("b12 dbeta", &dbeta, &[1.0], 0.0);
    close("b12", &dx, &[0.5366606, -0.7155367, -0.1788869, 0.3577630], digits::<T>());
    let (_, stats) = normalised::<T>(isa, &[1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0, 8.0], [1.0, 0.0]);
    close("b18 mean", &widen(&stats.mean), &[3.75], 0.0);
    close("b18 var", &widen(&stats.var), &[4.6875], 1e-15);
}

#[test]
fn b3_b4_b5_b12_b18_batch_norm_of_four_numbers() {
    each_isa(|isa| {
        batch_norm_examples::<f32>(isa);
        batch_norm_examples::<f64>(isa);
    });
}

fn batch_norm_invariances<T: Real>(isa: Isa) {
    let x = normal(300, 1);
    let (y, _) = normalised::<T>(isa, &x, [1.3, -0.2]);
    let shifted: Vec<f64> = x.iter().map(|x| x + 5.0).collect();
    // Adding the constant rounds each value by u * 8 at most.
    let (moved, _) = normalised::<T>(isa, &shifted, [1.3, -0.2]);
    close("b7: a bias is lost", &moved, &y, 32.0 * T::UNIT * 8.0);
    let [dx, _, _] = gradients::<T>(isa, &x, 1.3, &normal(300, 2));
    close("b7: the sum of dz", &[dx.iter().sum()], &[0.0], 300.0 * 32.0 * T::UNIT);
    let scaled: Vec<f64> = x.iter().map(|x| x * 10.0).collect();
    let (wider, _) = normalised::<T>(isa, &scaled, [1.3, -0.2]);
    let largest = y.iter().fold(0.0, |largest: f64, y| largest.max(y.abs()));
    close("b14: the scale of the weights is lost", &wider, &y, 1e-4 * largest);
    let (y, _) = normalised::<T>(isa, &[3.7; 50], [1.3, -0.2]);
    close("b19: a constant feature gives beta", &y, &[T::from_f64(-0.2).to_f64(); 50], 0.0);
    let [dx, ..] = gradients::<T>(isa, &[3.7; 50], 1.3, &normal(50, 3));
    assert!(dx.iter().all(|dx| dx.is_finite()), "b19: a finite gradient");
}

#[test]
fn b7_b14_b19_what_batch_norm_does_not_see() {
    each_isa(|isa| {
        batch_norm_invariances::<f32>(isa);
        batch_norm_invariances::<f64>(isa);
    });
}

/// With 4000 batches a standard deviation is known to 1 / sqrt(8000) = 1.1 %: four times that.
#[test]
fn b15_larger_minibatches_are_less_noisy() {
    const BATCHES: usize = 4000;
    let deviation = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    for (m, of_mean, of_var) in [(64, 0.1250, 0.1782), (512, 0.0442, 0.0626)] {
        let x: Vec<f32> = Values::Normal.fill(m * BATCHES, &mut Rng::new(15, m as u64));
        each_isa(|isa| {
            let (mut mean, mut var) = (vec![0.0; BATCHES], vec![0.0; BATCHES]);
            let x = MatRef::new(&x, m, BATCHES).unwrap();
            let op = ColumnMeanVar::new(x, &mut mean, &mut var).unwrap();
            op.run(Exec::default().isa(isa)).unwrap();
            let unbiased = m as f64 / (m as f64 - 1.0);
            let var: Vec<f64> = var.iter().map(|&var| f64::from(var) * unbiased).collect();
            close("sd of means", &[deviation(&widen(&mean))], &[of_mean], 0.045 * of_mean);
            close("sd of variances", &[deviation(&var)], &[of_var], 0.045 * of_var);
        });
    }
}

#[test]
fn c1_a_label_that_is_no_class_is_an_error() {
    let logits = [0.0f32; 8];
    let logits = MatRef::new(&logits, 2, 4).unwrap();
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let loss = |labels| SoftmaxCrossEntropy::new(logits, Targets::Classes(labels))?.loss(exec);
        assert!(loss(&[0, 3]).is_ok());
        let error = loss(&[0, 4]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Value);
        let text = error.to_string();
        assert!(text.contains("row 1") && text.contains('4'), "{text}");
    });
}

#[test]
fn c5_hardmax_takes_the_first_of_equals_and_no_nan() {
    each_isa(|isa| {
        let hardmax = |x: &[f32]| Argmax::new(x).and_then(|op| op.run(Exec::default().isa(isa)));
        assert_eq!(hardmax(&[5.0, 2.0, -1.0, 3.0]), Ok(0));
        assert_eq!(hardmax(&[1.0, 7.0, 7.0, 7.0]), Ok(1));
        assert!(hardmax(&[1.0, f32::NAN]).is_err());
    });
}

/// J(w) = w^2 - 10 w + 25 from w = 0: `steps` steps, and w after each.
fn descend<T: Real>(steps: u64, mut step: impl FnMut(&mut [T], &[T], u64)) -> Vec<f64> {
    let mut w = [T::ZERO];
    let two = T::from_f64(2.0);
    let mut path = Vec::new();
    for t in 1..=steps {
        let gradient = [two * w[0] - T::from_f64(10.0)];
        step(&mut w, &gradient, t);
        path.push(w[0].to_f64());
    }
    path
}

#[test]
fn d3_gradient_descent_nears_five_and_f32_stops_short() {
    let sgd = SgdStep { lr: 0.01, ..SgdStep::default() };
    each_isa(|isa| {
        let exec = Exec::default().isa(isa);
        let wide = descend::<f64>(1000, |w, g, _| sgd.run(w, g, exec).unwrap());
        close("d3 first", &wide[..1], &[0.1], 1e-15);
        close("d3 last", &wide[999..], &[4.9999999916], 1e-10);
        let narrow = descend::<f32>(3000, |w, g, _| sgd.run(w, g, exec).unwrap());
        close("d3 f32 settles", &narrow[2998..], &[4.9999886; 2], 2.4e-6);
        assert_eq!(narrow[2998], narrow[2999], "f32 has settled");
    });
}

fn optimizer_examples<T: Real>(isa: Isa) {
    let exec = Exec::default().isa(isa);
    let tolerance = 6e-8 + 8.0 * T::UNIT;
    let sgd = SgdStep { lr: 0.01, ..SgdStep::default() };
    let path = descend::<T>(3, |w, g, _| sgd.run(w, g, exec).unwrap());
    close("d7 sgd", &path, &[0.1, 0.198, 0.29404], tolerance);
    for (form, want) in [
        (MomentumForm::Ewa, [0.01, 0.02898, 0.056004]),
        (MomentumForm::Classical, [0.1, 0.288, 0.55144]),
    ] {
        let step = MomentumStep { lr: 0.01, form, ..MomentumStep::default() };
        let mut v = [T::ZERO];
        let path = descend::<T>(3, |w, g, _| step.run(w, g, &mut v, exec).unwrap());
        close("d7 momentum", &path, &want, tolerance);
    }
    let rms_prop = RmsPropStep { lr: 0.01, beta: 0.9, ..RmsPropStep::default() };
    let mut square = [T::ZERO];
    let path = descend::<T>(3, |w, g, _| rms_prop.run(w, g, &mut square, exec).unwrap());
    close("d7 rmsprop", &path, &[0.0316228, 0.0544953, 0.0736122], tolerance);
    let adam = AdamStep { lr: 0.1, ..AdamStep::default() };
    let (mut m, mut v) = ([T::ZERO], [T::ZERO]);
    let path = descend::<T>(2, |w, g, t| {
        adam.run(w, g, Moments { first: &mut m, second: &mut v }, t, exec).unwrap();
    });
    close("d7 adam", &path, &[0.1, 0.1999422], tolerance);
}

#[test]
fn d7_three_steps_of_every_optimiser() {
    each_isa(|isa| {
        optimizer_examples::<f32>(isa);
        optimizer_examples::<f64>(isa);
    });
}
