//! Optimiser steps: worked numbers, hyperparameter checks, and their naive twins on every path.

use tilewise_kernels::{
    AdamStep, EpsilonPlacement, ErrorKind, Exec, Float, Moments, MomentumForm, MomentumStep, Par,
    RmsPropStep, SgdStep, StepTensor, available, naive,
};

/// `w` after three steps that minimise `w^2 - 10 w + 25` from 0.
fn three_steps(mut step: impl FnMut(&mut [f64], &[f64], u64)) -> [f64; 3] {
    let mut w = [0.0];
    [1, 2, 3].map(|t| {
        let grad = [2.0 * w[0] - 10.0];
        step(&mut w, &grad, t);
        w[0]
    })
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance, "{got}, expected {expected}");
    }
}

const LR: f64 = 0.01;

#[test]
fn d7_sgd_matches_worked_example() {
    let step = SgdStep { lr: LR, ..SgdStep::default() };
    let w = three_steps(|w, g, _| step.run(w, g, Exec::default()).unwrap());
    close(&w, &[0.1, 0.198, 0.29404], 1e-14);
}

#[test]
fn d3_sgd_converges_in_f64_and_settles_in_f32() {
    let step = SgdStep { lr: LR, ..SgdStep::default() };
    let (mut wide, mut narrow) = ([0.0f64], [0.0f32]);
    for _ in 0..1000 {
        let grads = ([2.0 * wide[0] - 10.0], [2.0 * narrow[0] - 10.0]);
        step.run(&mut wide, &grads.0, Exec::default()).unwrap();
        step.run(&mut narrow, &grads.1, Exec::default()).unwrap();
    }
    assert!((wide[0] - 4.9999999916).abs() < 1e-9, "{}", wide[0]);
    assert!((narrow[0] - 5.0).abs() < 5e-5, "{}", narrow[0]);
}

#[test]
fn d7_momentum_matches_worked_examples() {
    for (form, expected) in [
        (MomentumForm::Ewa, [0.01, 0.02898, 0.056004]),
        (MomentumForm::Classical, [0.1, 0.288, 0.55144]),
        (MomentumForm::Nesterov, [0.19, 0.45378, 0.77735836]),
    ] {
        let step = MomentumStep { lr: LR, form, ..MomentumStep::default() };
        let mut v = [0.0];
        let w = three_steps(|w, g, _| step.run(w, g, &mut v, Exec::default()).unwrap());
        // The third average is given to five digits.
        close(&w, &expected, 5e-8);
    }
}

#[test]
fn d7_rms_prop_matches_worked_example() {
    let step = RmsPropStep { lr: LR, ..RmsPropStep::default() };
    let mut s = [0.0];
    let w = three_steps(|w, g, _| step.run(w, g, &mut s, Exec::default()).unwrap());
    close(&w, &[0.0316228, 0.0544953, 0.0736122], 5e-8);
}

#[test]
fn epsilon_counts_inside_or_outside_the_root() {
    for (placement, divisor) in
        [(EpsilonPlacement::Outside, 0.1 + 0.5), (EpsilonPlacement::Inside, 0.51f64.sqrt())]
    {
        let step =
            RmsPropStep { lr: 1.0, beta: 0.0, epsilon: 0.5, placement, ..RmsPropStep::default() };
        let (mut w, mut s) = ([0.0], [0.0]);
        step.run(&mut w, &[0.1], &mut s, Exec::default()).unwrap();
        close(&w, &[-0.1 / divisor], 1e-15);
    }
}

#[test]
fn d7_adam_matches_worked_example() {
    let step = AdamStep { lr: 0.1, ..AdamStep::default() };
    let (mut m, mut v) = ([0.0], [0.0]);
    let w = three_steps(|w, g, t| {
        let moments = Moments { first: &mut m, second: &mut v };
        step.run(w, g, moments, t, Exec::default()).unwrap();
    });
    close(&w[..2], &[0.1, 0.1999422], 5e-8);
}

#[test]
fn decoupled_decay_shrinks_weights_without_a_gradient() {
    let step = AdamStep { lr: 0.1, weight_decay: 0.5, decoupled: true, ..AdamStep::default() };
    let (mut w, mut m, mut v) = ([2.0f64], [0.0], [0.0]);
    let moments = Moments { first: &mut m, second: &mut v };
    step.run(&mut w, &[0.0], moments, 1, Exec::default()).unwrap();
    close(&w, &[2.0 * (1.0 - 0.05)], 1e-15);
    // Coupled, the decay is a gradient like any other and is divided by its own root.
    let step = AdamStep { decoupled: false, ..step };
    let (mut w, mut m, mut v) = ([2.0f64], [0.0], [0.0]);
    let moments = Moments { first: &mut m, second: &mut v };
    step.run(&mut w, &[0.0], moments, 1, Exec::default()).unwrap();
    close(&w, &[2.0 - 0.1], 1e-8);
}

/// Values in [-1, 1), the same for the same seed.
fn numbers<T: Float>(n: usize, mut seed: u64) -> Vec<T> {
    (0..n)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::from_f64((seed >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
        })
        .collect()
}

/// Parameters, gradients and two vectors of state, the second one not negative.
fn problem<T: Float>(n: usize) -> [Vec<T>; 4] {
    let second = numbers::<T>(n, 4).into_iter().map(T::abs).collect();
    [numbers(n, 1), numbers(n, 2), numbers(n, 3), second]
}

/// Runs all steps after each other; `fast` on a path, the naive twins without one.
fn all_steps<T: Float>(n: usize, exec: Option<Exec>) -> [Vec<T>; 4] {
    let [mut w, g, mut first, mut second] = problem::<T>(n);
    let sgd = SgdStep { lr: 0.1, weight_decay: 0.01, ..SgdStep::default() };
    let rms = [EpsilonPlacement::Inside, EpsilonPlacement::Outside].map(|placement| RmsPropStep {
        lr: 0.01,
        beta: 0.9,
        epsilon: 1e-3,
        placement,
        weight_decay: 0.01,
        ..RmsPropStep::default()
    });
    let momenta = [MomentumForm::Classical, MomentumForm::Ewa, MomentumForm::Nesterov]
        .map(|form| MomentumStep { form, weight_decay: 0.01, ..MomentumStep::default() });
    let adams = [false, true].map(|decoupled| AdamStep {
        weight_decay: 0.01,
        decoupled,
        ..AdamStep::default()
    });
    match exec {
        Some(exec) => sgd.run(&mut w, &g, exec).unwrap(),
        None => naive::sgd_step(&sgd, &mut w, &g),
    }
    for step in &momenta {
        match exec {
            Some(exec) => step.run(&mut w, &g, &mut first, exec).unwrap(),
            None => naive::momentum_step(step, &mut w, &g, &mut first),
        }
    }
    for step in &rms {
        match exec {
            Some(exec) => step.run(&mut w, &g, &mut second, exec).unwrap(),
            None => naive::rms_prop_step(step, &mut w, &g, &mut second),
        }
    }
    for step in &adams {
        let moments = Moments { first: &mut first, second: &mut second };
        match exec {
            Some(exec) => step.run(&mut w, &g, moments, 3, exec).unwrap(),
            None => naive::adam_step(step, &mut w, &g, moments, 3),
        }
    }
    [w, g, first, second]
}

fn agrees_with_naive<T: Float>() {
    for n in [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 1000, 40_000] {
        let expected = all_steps::<T>(n, None);
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let got = all_steps::<T>(n, Some(exec));
            for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                // Eight steps of a few roundings each, of values below 4.
                let bound = 64.0 * 4.0 * T::EPSILON.to_f64();
                let error = (got.to_f64() - expected.to_f64()).abs();
                assert!(error <= bound, "{isa} {n}: {got}, expected {expected}");
            }
            let threads = all_steps::<T>(n, Some(exec.par(Par::Threads(3))));
            assert_eq!(threads, got, "{isa} {n}: threads change bits");
        }
    }
}

#[test]
fn f32_agrees_with_naive() {
    agrees_with_naive::<f32>();
}

#[test]
fn f64_agrees_with_naive() {
    agrees_with_naive::<f64>();
}

/// Lengths around vectors and tasks, some of them 0.
const LENGTHS: [usize; 11] = [0, 5, 17, 0, 1000, 20_000, 1, 16, 33, 40_000, 0];

fn tensor<T: Float, const N: usize>(data: &mut [Vec<T>; 4]) -> StepTensor<'_, T, N> {
    let [params, grads, state @ ..] = data;
    let mut state = state.iter_mut();
    let state = std::array::from_fn(|_| &mut state.next().unwrap()[..]);
    StepTensor { params, grads, state }
}

/// Every step on tensors of all lengths: one by one, or in one call.
fn steps_of_many<T: Float>(together: bool, exec: Exec) -> Vec<[Vec<T>; 4]> {
    let mut data = LENGTHS.map(problem::<T>).to_vec();
    let momenta = [MomentumForm::Classical, MomentumForm::Nesterov]
        .map(|form| MomentumStep { form, ..MomentumStep::default() });
    let (sgd, rms) = (SgdStep::default(), RmsPropStep::default());
    let adam = AdamStep { weight_decay: 0.01, ..AdamStep::default() };
    if together {
        let mut tensors: Vec<_> = data.iter_mut().map(tensor).collect();
        sgd.run_many(&mut tensors, exec).unwrap();
        let mut tensors: Vec<_> = data.iter_mut().map(tensor).collect();
        momenta.iter().for_each(|step| step.run_many(&mut tensors, exec).unwrap());
        data.iter_mut().flat_map(|data| &mut data[2]).for_each(|s| *s = s.abs());
        let mut tensors: Vec<_> = data.iter_mut().map(tensor).collect();
        rms.run_many(&mut tensors, exec).unwrap();
        let mut tensors: Vec<_> = data.iter_mut().map(tensor).collect();
        adam.run_many(&mut tensors, 3, exec).unwrap();
        return data;
    }
    for [w, g, first, second] in &mut data {
        sgd.run(w, g, exec).unwrap();
        momenta.iter().for_each(|step| step.run(w, g, first, exec).unwrap());
        first.iter_mut().for_each(|s| *s = s.abs());
        rms.run(w, g, first, exec).unwrap();
        adam.run(w, g, Moments { first, second }, 3, exec).unwrap();
    }
    data
}

fn many_equal_one_by_one<T: Float>() {
    for &isa in available().unwrap() {
        let exec = Exec::serial().isa(isa);
        let expected = steps_of_many::<T>(false, exec);
        for par in [Par::Serial, Par::Threads(2), Par::Threads(7), Par::Threads(64), Par::Auto] {
            assert!(steps_of_many::<T>(true, exec.par(par)) == expected, "{isa} {par:?}");
        }
    }
}

#[test]
fn f32_many_equal_one_by_one() {
    many_equal_one_by_one::<f32>();
}

#[test]
fn f64_many_equal_one_by_one() {
    many_equal_one_by_one::<f64>();
}

#[test]
fn more_threads_than_elements_share_many_tensors() {
    let (mut a, mut b) = ([1.0f32, 2.0], [3.0f32]);
    let tensor = |params| StepTensor { params, grads: &[], state: [] };
    let mut tensors = [tensor(&mut a[..]), tensor(&mut []), tensor(&mut b)];
    tensors[0].grads = &[1.0, 1.0];
    tensors[2].grads = &[1.0];
    let step = SgdStep { lr: 1.0, ..SgdStep::default() };
    step.run_many(&mut tensors, Exec::default().par(Par::Threads(50))).unwrap();
    step.run_many::<f64>(&mut [], Exec::default()).unwrap();
    assert_eq!((a, b), ([0.0, 1.0], [2.0]));
}

#[test]
fn the_wrong_one_of_many_is_named_and_nothing_is_written() {
    let (mut a, mut b) = (problem::<f32>(4), problem::<f32>(5));
    b[3].pop();
    let before = (a.clone(), b.clone());
    let mut tensors = [tensor(&mut a), tensor(&mut b)];
    let error = AdamStep::default().run_many(&mut tensors, 1, Exec::default()).unwrap_err();
    let text = "tensor 1: adam second moment: expected 5 elements, got 4 elements";
    assert_eq!(error.to_string(), text);
    let error = AdamStep::default().run_many(&mut tensors, 0, Exec::default()).unwrap_err();
    assert_eq!(error.what(), "adam step");
    assert_eq!((a, b), before);
}

#[test]
fn nan_in_a_gradient_reaches_its_weight_only() {
    let [mut w, mut g, mut first, mut second] = problem::<f32>(50);
    g[20] = f32::NAN;
    let moments = Moments { first: &mut first, second: &mut second };
    AdamStep::default().run(&mut w, &g, moments, 1, Exec::default()).unwrap();
    assert!(w.iter().enumerate().all(|(i, w)| w.is_nan() == (i == 20)));
}

#[test]
fn wrong_hyperparameters_are_named_and_nothing_is_written() {
    let adam = AdamStep::default();
    for (step, t, what) in [
        (AdamStep { lr: f64::NAN, ..adam }, 1, "adam learning rate"),
        (AdamStep { lr: -1.0, ..adam }, 1, "adam learning rate"),
        (AdamStep { beta1: 1.0, ..adam }, 1, "adam beta1"),
        (AdamStep { beta2: -0.1, ..adam }, 1, "adam beta2"),
        (AdamStep { epsilon: 0.0, ..adam }, 1, "adam epsilon"),
        // Zero once it is rounded to f32.
        (AdamStep { epsilon: 1e-60, ..adam }, 1, "adam epsilon"),
        (AdamStep { weight_decay: f64::INFINITY, ..adam }, 1, "adam weight decay"),
        (adam, 0, "adam step"),
    ] {
        let (mut w, mut m, mut v) = ([1.0f32], [0.0], [0.0]);
        let moments = Moments { first: &mut m, second: &mut v };
        let error = step.run(&mut w, &[1.0], moments, t, Exec::default()).unwrap_err();
        assert_eq!((error.kind(), error.what()), (ErrorKind::Value, what));
        assert_eq!((w, m, v), ([1.0], [0.0], [0.0]));
    }
    let error = SgdStep { lr: -1.0, ..SgdStep::default() }
        .run(&mut [1.0f32], &[1.0], Exec::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sgd learning rate: expected a finite value of at least 0, got -1"
    );
    let step = MomentumStep { beta: 1.5, ..MomentumStep::default() };
    let error = step.run(&mut [1.0f32], &[1.0], &mut [0.0], Exec::default()).unwrap_err();
    assert_eq!(error.what(), "momentum beta");
    let step = RmsPropStep { beta: f64::NAN, ..RmsPropStep::default() };
    let error = step.run(&mut [1.0f32], &[1.0], &mut [0.0], Exec::default()).unwrap_err();
    assert_eq!(error.what(), "rmsprop beta");
}

#[test]
fn wrong_lengths_are_named() {
    let error = SgdStep::default().run(&mut [0.0f32; 3], &[0.0; 2], Exec::default()).unwrap_err();
    assert_eq!(error.to_string(), "sgd gradients: expected 3 elements, got 2 elements");
    let moments = Moments { first: &mut [0.0; 3], second: &mut [0.0; 4] };
    let error = AdamStep::default()
        .run(&mut [0.0f32; 3], &[0.0; 3], moments, 1, Exec::default())
        .unwrap_err();
    assert_eq!(error.what(), "adam second moment");
}
