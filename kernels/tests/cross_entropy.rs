//! Worked numbers, options and edge cases of the cross-entropies, on every path.

use tilewise_kernels::*;

/// Runs `body` for every instruction set of this machine.
fn on_every_path(body: impl Fn(Exec)) {
    for &isa in available().unwrap() {
        body(Exec::default().isa(isa));
    }
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance || got == want, "{got} is not {want}");
    }
}

fn view<T>(data: &[T], rows: usize) -> MatRef<'_, T> {
    MatRef::new(data, rows, data.len() / rows).unwrap()
}

fn out<T>(data: &mut [T], rows: usize) -> MatMut<'_, T> {
    let cols = data.len() / rows;
    MatMut::new(data, rows, cols).unwrap()
}

/// Values between -4 and 4, the same in every run.
fn noise(len: usize, mut state: u64) -> Vec<f64> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 8.0
    };
    (0..len).map(|_| next()).collect()
}

const WORKED: [f64; 4] = [5.0, 2.0, -1.0, 3.0];

#[test]
fn c8_loss_of_given_probabilities() {
    on_every_path(|exec| {
        let logits = [0.3, 0.2, 0.1, 0.4].map(f64::ln);
        let work = SoftmaxCrossEntropy::new(view(&logits, 1), Targets::Classes(&[1])).unwrap();
        assert_close(&[work.loss(exec).unwrap().value], &[1.609438], 5e-7);
    });
}

#[test]
fn c9_loss_and_gradient_of_the_worked_example() {
    on_every_path(|exec| {
        let mut d = [0.0; 4];
        let work = SoftmaxCrossEntropy::new(view(&WORKED, 1), Targets::Classes(&[1])).unwrap();
        let loss = work.loss_and_gradient(out(&mut d, 1), exec).unwrap();
        assert_close(&[loss.value], &[3.17193539], 5e-9);
        assert_close(&d, &[0.842034, -0.958078, 0.002087, 0.113957], 5e-7);
        assert_eq!(work.loss(exec).unwrap(), loss);
    });
}

#[test]
fn c10_the_mean_divides_the_gradient_by_the_rows() {
    on_every_path(|exec| {
        let logits = [WORKED, WORKED, WORKED].concat();
        let (mut mean, mut sum) = ([0.0; 12], [0.0; 12]);
        let work =
            SoftmaxCrossEntropy::new(view(&logits, 3), Targets::Classes(&[1, 0, 3])).unwrap();
        work.loss_and_gradient(out(&mut mean, 3), exec).unwrap();
        work.reduction(Reduction::Sum).loss_and_gradient(out(&mut sum, 3), exec).unwrap();
        let p = [0.84203357, 0.04192238, 0.00208719, 0.11395685];
        for (i, label) in [1, 0, 3].into_iter().enumerate() {
            let want: Vec<f64> = (0..4).map(|j| p[j] - f64::from(j == label)).collect();
            assert_close(&sum[4 * i..4 * i + 4], &want, 1e-8);
        }
        assert_close(&mean, &sum.map(|d| d / 3.0), 1e-15);
    });
}

#[test]
fn c11_jacobian_through_the_softmax_backward() {
    on_every_path(|exec| {
        let mut y = [0.0; 4];
        Softmax::new(view(&WORKED, 1), out(&mut y, 1)).unwrap().run(exec).unwrap();
        let mut diagonal = [0.0; 4];
        for j in 0..4 {
            let (mut dy, mut dx) = ([0.0; 4], [0.0; 4]);
            dy[j] = 1.0;
            let work = SoftmaxBackward::new(view(&y, 1), view(&dy, 1), out(&mut dx, 1)).unwrap();
            work.run(exec).unwrap();
            diagonal[j] = dx[j];
            if j == 1 {
                assert_close(&dx[..1], &[-0.035300], 5e-7);
            }
        }
        assert_close(&diagonal, &[0.133013, 0.040165, 0.002083, 0.100971], 5e-7);
    });
}

#[test]
fn c12_sigmoid_cross_entropy_of_the_worked_examples() {
    on_every_path(|exec| {
        for (z, t, want, slope) in [
            (0.0, 1.0, std::f64::consts::LN_2, -0.5),
            (-1000.0, 1.0, 1000.0, -1.0),
            (1000.0, 1.0, 0.0, 0.0),
            (f64::NEG_INFINITY, 0.0, 0.0, 0.0),
            (f64::INFINITY, 1.0, 0.0, 0.0),
            (f64::INFINITY, 0.5, f64::INFINITY, 0.5),
            (2.0, 0.25, 1.62692801, 0.63079708),
        ] {
            let mut d = [0.0];
            let (z, t) = ([z], [t]);
            let work = SigmoidCrossEntropy::new(&z, &t).unwrap();
            let loss = work.loss_and_gradient(&mut d, exec).unwrap();
            assert_close(&[loss.value, d[0]], &[want, slope], 5e-7);
        }
        let nan = SigmoidCrossEntropy::new(&[0.0, f64::NAN], &[0.0, 0.0]).unwrap();
        assert!(nan.loss(exec).unwrap().value.is_nan());
    });
}

fn with_options<'a, Z>(
    work: SoftmaxCrossEntropy<'a, f64, Z>,
    options: naive::CrossEntropyOptions<'a, f64>,
) -> SoftmaxCrossEntropy<'a, f64, Z> {
    let mut work = work.reduction(options.reduction).label_smoothing(options.label_smoothing);
    if let Some(weights) = options.class_weights {
        work = work.class_weights(weights);
    }
    if let Some(label) = options.ignore_index {
        work = work.ignore_index(label);
    }
    work
}

#[test]
fn every_option_agrees_with_the_naive_twin() {
    on_every_path(|exec| {
        for (rows, classes) in [(1, 1), (5, 3), (70, 10), (3, 17), (4, 100), (2, 259)] {
            let logits = noise(rows * classes, 3);
            let shares: Vec<f64> = noise(rows * classes, 4).iter().map(|x| x.max(0.0)).collect();
            let weights: Vec<f64> = noise(classes, 5).iter().map(|x| x.abs()).collect();
            let labels: Vec<usize> = (0..rows).map(|i| i * 7 % classes).collect();
            let both = [Targets::Classes(&labels), Targets::Probabilities(view(&shares, rows))];
            for (case, targets) in (0..16).flat_map(|case| both.map(|targets| (case, targets))) {
                let classes_given = matches!(targets, Targets::Classes(_));
                let options = naive::CrossEntropyOptions {
                    reduction: if case & 1 == 0 { Reduction::Mean } else { Reduction::Sum },
                    label_smoothing: if case & 2 == 0 { 0.0 } else { 0.2 },
                    class_weights: (case & 4 != 0).then_some(&weights[..]),
                    ignore_index: (case & 8 != 0 && classes_given).then_some(0),
                };
                let work = SoftmaxCrossEntropy::new(view(&logits, rows), targets).unwrap();
                let work = with_options(work, options);
                let (mut d, mut want_d) = (vec![9.0; logits.len()], vec![9.0; logits.len()]);
                let loss = work.loss_and_gradient(out(&mut d, rows), exec).unwrap();
                let want = naive::softmax_cross_entropy(
                    view(&logits, rows),
                    targets,
                    options,
                    out(&mut want_d, rows),
                );
                let mut z = logits.clone();
                let over = SoftmaxCrossEntropy::in_place(out(&mut z, rows), targets).unwrap();
                assert_eq!(with_options(over, options).replace_by_gradient(exec).unwrap(), loss);
                assert_eq!(z, d);
                assert_eq!(loss.counted, want.counted);
                let size = want.value.abs().max(1.0);
                assert_close(&[loss.value / size], &[want.value / size], 1e-14);
                assert_close(&d, &want_d, 2e-13);
                assert_close(&[work.loss(exec).unwrap().value / size], &[want.value / size], 1e-14);
                let mut losses = vec![9.0; rows];
                work.losses(&mut losses, exec).unwrap();
                let sum: f64 = losses.iter().sum();
                let total = work.reduction(Reduction::Sum).loss(exec).unwrap().value;
                assert_close(&[sum / size], &[total / size], 1e-12);
            }
        }
    });
}

#[test]
fn sigmoid_cross_entropy_agrees_with_the_naive_twin() {
    on_every_path(|exec| {
        for len in [1, 3, 16, 17, 1023, 1024, 1025, 5000] {
            let z = noise(len, 6);
            let t: Vec<f64> = noise(len, 7).iter().map(|x| x / 8.0 + 0.5).collect();
            let (mut d, mut want_d) = (vec![9.0; len], vec![9.0; len]);
            let work = SigmoidCrossEntropy::new(&z, &t).unwrap();
            let loss = work.loss_and_gradient(&mut d, exec).unwrap();
            let want = naive::sigmoid_cross_entropy(&z, &t, Reduction::Mean, &mut want_d);
            assert_close(&[loss.value], &[want.value], 1e-14);
            assert_close(&d, &want_d, 1e-15);
            assert_eq!(work.loss(exec).unwrap(), loss);
            let sum = work.reduction(Reduction::Sum).loss(exec).unwrap().value;
            assert_close(&[sum / len as f64], &[loss.value], 1e-15);
        }
    });
}

#[test]
fn all_ignored_gives_zero() {
    on_every_path(|exec| {
        let logits = noise(12, 1);
        let mut d = [9.0; 12];
        let work = SoftmaxCrossEntropy::new(view(&logits, 3), Targets::Classes(&[99; 3]))
            .unwrap()
            .ignore_index(99);
        let loss = work.loss_and_gradient(out(&mut d, 3), exec).unwrap();
        assert_eq!(loss, Loss { value: 0.0, counted: 0 });
        assert_eq!(d, [0.0; 12]);
        let none = SoftmaxCrossEntropy::new(MatRef::new(&[], 0, 4).unwrap(), Targets::Classes(&[]));
        assert_eq!(none.unwrap().loss(exec).unwrap(), Loss { value: 0f64, counted: 0 });
    });
}

#[test]
fn infinite_and_nan_logits() {
    const NEG: f64 = f64::NEG_INFINITY;
    let loss = |row: [f64; 4], label: usize, exec: Exec| {
        let mut d = [0.0; 4];
        let labels = [label];
        let work = SoftmaxCrossEntropy::new(view(&row, 1), Targets::Classes(&labels)).unwrap();
        let value = work.loss_and_gradient(out(&mut d, 1), exec).unwrap().value;
        let mut z = row;
        let over = SoftmaxCrossEntropy::in_place(out(&mut z, 1), Targets::Classes(&labels));
        let again = over.unwrap().replace_by_gradient(exec).unwrap().value;
        assert!(again == value || (again.is_nan() && value.is_nan()));
        assert!(z.iter().zip(&d).all(|(z, d)| z == d || (z.is_nan() && d.is_nan())));
        (value, d)
    };
    on_every_path(|exec| {
        assert_close(&[loss([NEG, 1.0, 1.0, NEG], 1, exec).0], &[2f64.ln()], 1e-15);
        assert_eq!(loss([NEG, 1.0, 1.0, 0.0], 0, exec).0, f64::INFINITY);
        let (value, d) = loss([NEG; 4], 2, exec);
        assert_close(&[value], &[4f64.ln()], 1e-15);
        assert_close(&d, &[0.25, 0.25, -0.75, 0.25], 1e-15);
        for bad in [f64::NAN, f64::INFINITY] {
            let (value, d) = loss([0.0, bad, NEG, 1.0], 0, exec);
            assert!(value.is_nan() && d.iter().all(|d| d.is_nan()));
        }
        assert!(loss([NEG, f64::NAN, NEG, NEG], 0, exec).0.is_nan());
        let (value, d) = loss([1e30, -1e30, 0.0, 1e30], 1, exec);
        assert_close(&[value / 1e30], &[2.0], 1e-15);
        assert_close(&d, &[0.5, -1.0, 0.0, 0.5], 1e-15);
    });
}

/// Nothing is written when an argument is wrong, and the message names it.
#[test]
fn wrong_arguments_are_named_before_anything_is_written() {
    let logits = noise(12, 1);
    let mut d = [9.0; 12];
    let labels = [0, 4, 1];
    let work = SoftmaxCrossEntropy::new(view(&logits, 3), Targets::Classes(&labels)).unwrap();
    let error = work.loss_and_gradient(out(&mut d, 3), Exec::default()).unwrap_err();
    let label = "softmax cross-entropy: label of row 1: expected a class below 4, got 4";
    assert_eq!(error.to_string(), label);
    for bad in [-0.25, f64::NAN, f64::INFINITY] {
        let mut shares = [0.25; 12];
        shares[6] = bad;
        let targets = Targets::Probabilities(view(&shares, 3));
        let work = SoftmaxCrossEntropy::new(view(&logits, 3), targets).unwrap();
        let error = work.loss_and_gradient(out(&mut d, 3), Exec::default()).unwrap_err();
        assert!(error.to_string().contains("row 1, class 2"), "{error}");
        let work = SigmoidCrossEntropy::new(&logits, &shares).unwrap();
        let error = work.loss_and_gradient(&mut d, Exec::default()).unwrap_err();
        assert!(error.to_string().contains("target 6"), "{error}");
    }
    let good = SoftmaxCrossEntropy::new(view(&logits, 3), Targets::Classes(&[0, 1, 2])).unwrap();
    let weights = [1.0, 1.0, -1.0, 1.0];
    for (work, text) in [
        (good.label_smoothing(1.5), "label smoothing"),
        (good.class_weights(&weights), "weight of class 2"),
        (good.class_weights(&weights[..2]), "class weights"),
    ] {
        let error = work.loss_and_gradient(out(&mut d, 3), Exec::default()).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(SoftmaxCrossEntropy::new(view(&logits, 3), Targets::Classes(&[0])).is_err());
    assert!(good.loss_and_gradient(out(&mut d, 4), Exec::default()).is_err());
    let over = SoftmaxCrossEntropy::in_place(out(&mut d, 3), Targets::Classes(&labels)).unwrap();
    assert_eq!(over.replace_by_gradient(Exec::default()).unwrap_err().to_string(), label);
    assert_eq!(d, [9.0; 12]);
}

#[test]
fn bits_do_not_depend_on_threads() {
    on_every_path(|exec| {
        let (rows, classes) = (333, 21);
        let logits: Vec<f32> = noise(rows * classes, 8).iter().map(|&x| x as f32).collect();
        let labels: Vec<usize> = (0..rows).map(|i| i % classes).collect();
        let run = |par: Par| {
            let mut d = vec![0f32; rows * classes];
            let work = SoftmaxCrossEntropy::new(view(&logits, rows), Targets::Classes(&labels));
            let loss = work.unwrap().loss_and_gradient(out(&mut d, rows), exec.par(par)).unwrap();
            let mut z = logits.clone();
            let over = SoftmaxCrossEntropy::in_place(out(&mut z, rows), Targets::Classes(&labels));
            assert_eq!(over.unwrap().replace_by_gradient(exec.par(par)).unwrap(), loss);
            assert_eq!(z, d);
            (loss.value.to_bits(), d)
        };
        let want = run(Par::Serial);
        for threads in [1, 2, 3, 7] {
            assert_eq!(run(Par::Threads(threads)), want);
        }
    });
}
