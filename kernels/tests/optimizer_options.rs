//! What steps do beside their rules: Adagrad, scaled and clipped gradients, norms, state in bf16.

use tilewise_kernels::{
    AdagradStep, AdamStep, ErrorKind, Exec, Moments, MomentumStep, Par, RmsPropStep, SgdStep,
    StateRounding, StepOptions, available, bf16, clip_factor, global_norm,
};

#[test]
fn adagrad_takes_the_known_steps() {
    // J(w) = w^2 - 10 w + 25 from 0: g = -10, then s = 100, w = 0.1; g = -9.8, s = 196.04; g from
    // 0.1 + 0.98 / sqrt(1.9604).
    let step = AdagradStep { lr: 0.1, ..AdagradStep::default() };
    let (mut w, mut s) = ([0.0_f64], [0.0]);
    let mut path = [0.0; 3];
    for at in &mut path {
        let grads = [2.0 * w[0] - 10.0];
        step.run(&mut w, &grads, &mut s, Exec::default()).unwrap();
        *at = w[0];
    }
    let second = 0.1 + 0.1 * 9.8 / 196.04_f64.sqrt();
    let g = 10.0 - 2.0 * second;
    let third = second + 0.1 * g / (196.04 + g * g).sqrt();
    for (got, want) in path.iter().zip([0.1, second, third]) {
        assert!((got - want).abs() < 1e-10, "{got}, expected {want}");
    }
}

fn stepped(options: StepOptions, grads: &[f32]) -> Vec<f32> {
    let mut w = vec![0.0; grads.len()];
    let step = SgdStep { lr: 1.0, options, ..SgdStep::default() };
    step.run(&mut w, grads, Exec::default()).unwrap();
    w.iter().map(|w| -w).collect()
}

#[test]
fn gradients_are_scaled_then_cut_and_nan_passes() {
    let grads = [1.0, -2048.0, 64.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
    let options = StepOptions { factor: 1.0 / 64.0, limit: 2.0, ..StepOptions::default() };
    let got = stepped(options, &grads);
    assert_eq!(got[..5], [1.0 / 64.0, -2.0, 1.0, 2.0, -2.0]);
    assert!(got[5].is_nan());
    assert_eq!(got[6], 0.0);
    let got = stepped(StepOptions::default(), &grads);
    assert_eq!(got[..5], grads[..5]);
}

#[test]
fn weight_decay_is_not_clipped() {
    let options = StepOptions { limit: 0.5, ..StepOptions::default() };
    let step = SgdStep { lr: 1.0, weight_decay: 0.25, options };
    let mut w = [8.0];
    step.run(&mut w, &[100.0], Exec::default()).unwrap();
    assert_eq!(w, [8.0 - 0.5 - 2.0]);
}

#[test]
fn wrong_options_are_named_and_nothing_is_written() {
    for (options, what) in [
        (StepOptions { factor: f64::NAN, ..StepOptions::default() }, "adam gradient factor"),
        // Infinite once it is rounded to f32.
        (StepOptions { factor: 1e300, ..StepOptions::default() }, "adam gradient factor"),
        (StepOptions { limit: 0.0, ..StepOptions::default() }, "adam gradient limit"),
        (StepOptions { limit: -1.0, ..StepOptions::default() }, "adam gradient limit"),
        (StepOptions { limit: f64::NAN, ..StepOptions::default() }, "adam gradient limit"),
    ] {
        let (mut w, mut m, mut v) = ([1.0_f32], [0.0_f32], [0.0]);
        let step = AdamStep { options, ..AdamStep::default() };
        let moments = Moments { first: &mut m, second: &mut v };
        let error = step.run(&mut w, &[1.0], moments, 1, Exec::default()).unwrap_err();
        assert_eq!((error.kind(), error.what()), (ErrorKind::Value, what));
        assert_eq!((w, m, v), ([1.0], [0.0], [0.0]));
    }
}

/// What every step makes of an infinite gradient and of NaN, beside one that is neither.
#[test]
fn what_is_not_finite_stays_with_its_element() {
    let grads = [f32::INFINITY, 1.0, f32::NAN];
    let adam = |options| {
        let (mut w, mut m, mut v) = ([0.0_f32; 3], [0.0_f32; 3], [0.0; 3]);
        let moments = Moments { first: &mut m, second: &mut v };
        let step = AdamStep { options, ..AdamStep::default() };
        step.run(&mut w, &grads, moments, 1, Exec::default()).unwrap();
        (w, m, v)
    };
    let (w, m, v) = adam(StepOptions::default());
    assert!(w[0].is_nan() && m[0] == f32::INFINITY && v[0] == f32::INFINITY);
    assert!(w[1].is_finite() && w[2].is_nan() && m[2].is_nan() && v[2].is_nan());
    let (w, m, v) = adam(StepOptions { limit: 5.0, ..StepOptions::default() });
    assert!(w[0].is_finite() && m[0] == 0.5 && v[0].is_finite() && w[2].is_nan());
    let (mut w, mut v) = ([0.0_f32; 3], [0.0_f32; 3]);
    MomentumStep::default().run(&mut w, &grads, &mut v, Exec::default()).unwrap();
    assert!(w[0] == f32::NEG_INFINITY && v[0] == f32::INFINITY && w[1].is_finite());
    assert!(w[2].is_nan() && v[2].is_nan());
}

#[test]
fn norms_are_of_all_tensors_and_of_any_size() {
    const FAR: f32 = (1_u128 << 100) as f32;
    assert_eq!(global_norm::<f32>(&[]).unwrap(), 0.0);
    assert_eq!(global_norm::<f32>(&[&[], &[]]).unwrap(), 0.0);
    assert_eq!(
        global_norm(&[&[3.0 * FAR, 0.0][..], &[], &[-4.0 * FAR]]).unwrap(),
        (5.0 * FAR).into()
    );
    let least = f32::from_bits(1);
    let tiny = global_norm(&[&[least; 16][..]]).unwrap();
    assert_eq!(tiny, 4.0 * f64::from(least));
    assert!(global_norm(&[&[f32::NAN, f32::INFINITY][..]]).unwrap().is_nan());
    assert_eq!(global_norm(&[&[0.0][..], &[f64::NEG_INFINITY]]).unwrap(), f64::INFINITY);
}

#[test]
fn clipping_by_the_norm_leaves_short_gradients_alone() {
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
    assert_eq!(clip_factor(1.0, 1.0), 1.0);
    assert_eq!(clip_factor(8.0, 2.0), 0.25);
    assert!(clip_factor(f64::INFINITY, 2.0).is_nan() && clip_factor(f64::NAN, 2.0).is_nan());
    let grads = [3.0_f32, -4.0];
    let factor = clip_factor(global_norm(&[&grads]).unwrap(), 1.0);
    let clipped = stepped(StepOptions { factor, ..StepOptions::default() }, &grads);
    assert!((global_norm(&[&clipped]).unwrap() - 1.0).abs() < 1e-6);
}

/// An average of squares that should move from 1 to 2 by 0.1 % of the way a step.
fn average_of_squares(steps: u64, rounding: impl Fn(u64) -> StateRounding) -> f64 {
    const COUNT: usize = 1000;
    let grads = vec![2.0_f32.sqrt(); COUNT];
    let (mut w, mut s) = (vec![0.0; COUNT], vec![bf16::ONE; COUNT]);
    for t in 0..steps {
        let options = StepOptions { rounding: rounding(t), ..StepOptions::default() };
        let step = RmsPropStep { beta: 0.999, options, ..RmsPropStep::default() };
        step.run(&mut w, &grads, &mut s, Exec::serial()).unwrap();
    }
    s.iter().map(|s| f64::from(s.to_f32())).sum::<f64>() / COUNT as f64
}

#[test]
fn stochastic_rounding_moves_an_average_that_stands_still_without() {
    let nearest = average_of_squares(300, |_| StateRounding::Nearest);
    assert_eq!(nearest, 1.0);
    let got = average_of_squares(300, |step| StateRounding::Stochastic { seed: 7, step });
    let want = 2.0 - 0.999_f64.powi(300);
    // A walk of 300 steps that each err by at most 2^-7 in units of which the variance is at most a
    // quarter; of the mean of 1000 such walks, five deviations.
    let deviation = 300.0_f64.sqrt() * 0.5 / 128.0 / 1000.0_f64.sqrt();
    assert!((got - want).abs() < 5.0 * deviation, "{got}, expected {want} within {deviation}");
}

/// A value a third of the way between two halves is rounded up in a third of the positions, and
/// independently of the step before.
#[test]
fn stochastic_rounding_has_the_right_mean_at_every_step() {
    const COUNT: usize = 30_000;
    let up = |step| {
        let rounding = StateRounding::Stochastic { seed: 1, step };
        let options = StepOptions { rounding, ..StepOptions::default() };
        let rule = MomentumStep { beta: 0.0, options, ..MomentumStep::default() };
        let (mut w, mut v) = (vec![0.0; COUNT], vec![bf16::ZERO; COUNT]);
        rule.run(&mut w, &vec![1.0 + 2.0_f32.powi(-7) / 3.0; COUNT], &mut v, Exec::serial())
            .unwrap();
        v.iter().map(|v| v.to_f32() > 1.0).collect::<Vec<_>>()
    };
    let (first, second) = (up(1), up(2));
    let share = |hits: usize| hits as f64 / COUNT as f64;
    // Five deviations of a share of 1/3 among 30,000: 0.0136; of 1/9: 0.0091.
    for rounded in [&first, &second] {
        let hits = rounded.iter().filter(|up| **up).count();
        assert!((share(hits) - 1.0 / 3.0).abs() < 0.0136, "{hits}");
    }
    let both = first.iter().zip(&second).filter(|(a, b)| **a && **b).count();
    assert!((share(both) - 1.0 / 9.0).abs() < 0.0091, "{both}");
    let neighbours = first.windows(2).filter(|pair| pair[0] && pair[1]).count();
    assert!((share(neighbours) - 1.0 / 9.0).abs() < 0.0091, "{neighbours}");
}

#[test]
fn paths_and_threads_round_alike() {
    let grads: Vec<f32> = (0..70_001).map(|i| (i as f32).sin()).collect();
    let rounding = StateRounding::Stochastic { seed: 3, step: 9 };
    let step = MomentumStep {
        beta: 0.0,
        options: StepOptions { rounding, ..StepOptions::default() },
        ..MomentumStep::default()
    };
    let run = |exec| {
        let (mut w, mut v) = (vec![0.0; grads.len()], vec![bf16::ZERO; grads.len()]);
        step.run(&mut w, &grads, &mut v, exec).unwrap();
        v
    };
    let first = run(Exec::serial().isa(available().unwrap()[0]));
    for &isa in available().unwrap() {
        for par in [Par::Serial, Par::Threads(3), Par::Threads(8)] {
            assert!(run(Exec::default().isa(isa).par(par)) == first, "{isa} {par:?}");
        }
    }
}
