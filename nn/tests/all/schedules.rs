//! Learning rates over time, and rates and decay by group of parameters.

use crate::common::blobs;
use tilewise_kernels::Exec;
use tilewise_nn::layers::{Parameter, ParameterKind};
use tilewise_nn::optim::schedule::Clock;
use tilewise_nn::optim::{OptimizerState, Stepped};
use tilewise_nn::prelude::*;

#[track_caller]
fn follows(schedule: &Schedule, course: &[(f64, f64)]) {
    schedule.check().unwrap();
    for &(t, expected) in course {
        let got = schedule.factor(t);
        assert!((got - expected).abs() < 1e-12, "{schedule:?} at {t}: {got}, not {expected}");
    }
}

#[test]
fn d22_inverse_time_decay_has_the_numbers_of_the_course() {
    let schedule = Schedule::inverse_time(1.0);
    for (epoch, expected) in [(0.0, 0.2), (1.0, 0.1), (2.0, 0.0667), (3.0, 0.05), (4.0, 0.04)] {
        let rate = 0.2 * schedule.factor(epoch);
        assert!((rate - expected).abs() < 5e-5, "{rate} in epoch {epoch}");
    }
}

#[test]
fn d23_every_schedule_follows_its_formula() {
    let root = 0.5f64.sqrt();
    follows(&Schedule::constant(), &[(0.0, 1.0), (1e6, 1.0)]);
    follows(&Schedule::exponential(0.95), &[(0.0, 1.0), (1.0, 0.95), (2.0, 0.9025)]);
    follows(&Schedule::step(30, 0.1), &[(0.0, 1.0), (29.0, 1.0), (30.0, 0.1), (60.0, 0.01)]);
    let mut course = vec![(0.0, 1.0), (2.0, 0.5), (4.0, 0.5), (5.0, 0.25), (90.0, 0.25)];
    follows(&Schedule::multi_step(&[5, 2], 0.5), &course);
    follows(&Schedule::inverse_sqrt(), &[(0.0, 1.0), (1.0, root), (3.0, 0.5), (99.0, 0.1)]);
    course = vec![(0.0, 1.0), (2.5, 0.5 + 0.5 * root), (5.0, 0.5), (10.0, 0.0), (15.0, 0.0)];
    follows(&Schedule::cosine(10.0), &course);
    follows(&Schedule::cosine(10.0).floor(0.3), &[(0.0, 1.0), (5.0, 0.5), (10.0, 0.3)]);
    follows(&Schedule::polynomial(10.0, 2.0), &[(0.0, 1.0), (5.0, 0.25), (10.0, 0.0), (11.0, 0.0)]);
    follows(&Schedule::polynomial(10.0, 1.0), &[(1.0, 0.9), (9.0, 0.1)]);
    follows(&Schedule::inverse_power(2.0, 0.5), &[(0.0, 1.0), (4.0, 1.0 / 3.0), (12.0, 0.2)]);
    let half = 1.0 / (1.0 + 2.0f64.exp());
    follows(&Schedule::sigmoid(4.0, -0.5), &[(0.0, 1.0 - half), (4.0, 0.5), (8.0, half)]);
    follows(&Schedule::sigmoid(4.0, 0.5), &[(0.0, half), (4.0, 0.5), (8.0, 1.0 - half)]);
    let end = 1.0 / 250_000.0;
    course = vec![(0.0, 0.04), (15.0, 0.52), (30.0, 1.0), (65.0, 0.5 + 0.5 * end), (100.0, end)];
    follows(&Schedule::one_cycle(100.0), &course);
    follows(&Schedule::one_cycle(100.0), &[(101.0, end)]);
}

#[test]
fn d23_a_warm_up_rises_to_the_beginning_of_its_curve() {
    let by_step = Schedule::cosine(10.0).warm_up(4.0).by_step();
    let at = |schedule: &Schedule, epoch, step| {
        schedule.factor_at(Clock { epoch, step, steps_per_epoch: 8 })
    };
    let rise: Vec<f64> = (0..5).map(|step| at(&by_step, 0, step)).collect();
    assert_eq!(rise, [0.25, 0.5, 0.75, 1.0, 1.0]);
    assert!(
        (at(&by_step, 1, 1) - 0.5).abs() < 1e-12,
        "half of the curve is over after 4 + 5 steps"
    );
    let smooth = Schedule::step(1, 0.1).warm_up(0.5);
    let rise: Vec<f64> = (0..5).map(|step| at(&smooth, 0, step)).collect();
    assert_eq!(rise, [0.25, 0.5, 0.75, 1.0, 1.0]);
    assert_eq!([at(&smooth, 1, 3), at(&smooth, 1, 4)], [1.0, 0.1]);
    // By epoch, the steps of one epoch are alike.
    let by_epoch = Schedule::inverse_time(1.0);
    assert_eq!([at(&by_epoch, 1, 0), at(&by_epoch, 1, 7)], [0.5, 0.5]);
    assert_eq!(at(&by_epoch.smoothly(), 0, 4), 1.0 / 1.5);
}

#[test]
fn schedules_outside_their_domain_are_refused() {
    for (schedule, expected) in [
        (
            Schedule::inverse_time(-1.0),
            "decay of the schedule: expected a finite value of 0 or more",
        ),
        (Schedule::inverse_power(1.0, 0.0), "power of the schedule: expected a finite value above"),
        (
            Schedule::sigmoid(1.0, 0.0),
            "gamma of the schedule: expected a finite value other than 0",
        ),
        (Schedule::exponential(0.0), "base of the schedule: expected a finite value above 0"),
        (Schedule::step(0, 0.5), "steps of the schedule"),
        (Schedule::multi_step(&[1], f64::NAN), "factor of the schedule"),
        (Schedule::cosine(0.0), "length of the schedule"),
        (Schedule::polynomial(1.0, f64::INFINITY), "power of the schedule"),
        (Schedule::constant().warm_up(-1.0), "length of the warm-up"),
        (Schedule::constant().floor(-0.5), "floor of the schedule"),
    ] {
        let data = blobs(20, 4, 2, 3.0);
        let mut model = Sequential::new().linear(4, 2).build(1).unwrap();
        let trainer = Trainer::new(Adam::default()).schedule(schedule);
        let error = trainer.fit(&mut model, &data, &data).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The weights after a training are those of steps by hand at the schedule's rates.
#[test]
fn a_trainer_steps_at_the_rates_of_its_schedule() {
    let data = blobs(40, 4, 2, 3.0);
    let start = || Sequential::new().linear(4, 2).build(1).unwrap();
    let schedule = Schedule::exponential(0.5).warm_up(0.5);
    let mut trained = start();
    let trainer = Trainer::new(Sgd::new(0.1)).epochs(2).batch_size(10).seed(3);
    trainer.schedule(schedule.clone()).fit(&mut trained, &data, &data).unwrap();
    let mut by_hand = start();
    let mut batches = tilewise_nn::data::Minibatches::new(40, 10, false).unwrap();
    for epoch in 0..2 {
        batches.shuffle(3, epoch);
        for (step, rows) in batches.iter().enumerate() {
            let part = data.select(rows).unwrap();
            let loss = SoftmaxCrossEntropy::default();
            by_hand.loss_and_gradients(part.features(), part.labels(), &loss).unwrap();
            let clock = Clock { epoch, step: step as u64, steps_per_epoch: 4 };
            let sgd = Sgd::new(0.1 * schedule.factor_at(clock));
            OptimizerState::new().step(&sgd, &mut by_hand).unwrap();
        }
    }
    assert_eq!(trained.to_safetensors().unwrap(), by_hand.to_safetensors().unwrap());
}

#[test]
fn groups_have_rates_and_decay_of_their_own() {
    let mut model = Sequential::new().linear(3, 3).tanh().linear(3, 3).build(1).unwrap();
    model.for_each_parameter(|layer, parameter| {
        parameter.value.fill(1.0);
        parameter.gradient.fill(1.0);
        match layer {
            0 => parameter.rate = 0.0,
            _ if parameter.kind == ParameterKind::Bias => parameter.rate = 0.5,
            _ => parameter.decay = 2.0,
        }
    });
    let sgd = Sgd::new(0.125).weight_decay(0.25);
    OptimizerState::new().step_at(0.5, &sgd, &mut model).unwrap();
    let mut values = Vec::new();
    model.for_each_parameter(|layer, p| values.push((layer, p.name, p.value[0])));
    let expected = [
        (0, "weight", 1.0),
        (0, "bias", 1.0),
        (2, "weight", 1.0 - 0.125 * 0.5 * (1.0 + 2.0 * 0.25)),
        (2, "bias", 1.0 - 0.125 * 0.5 * 0.5),
    ];
    assert_eq!(values, expected);
}

#[test]
fn factors_outside_their_domain_move_nothing() {
    for (rate, decay, expected) in [
        (
            -1.0,
            1.0,
            "factor on the learning rate of w: expected a finite value of 0 or more, got -1",
        ),
        (1.0, f64::NAN, "factor on the weight decay of w: expected a finite value of 0 or more"),
    ] {
        let mut parameters = [1.0, rate].map(|rate| {
            let mut parameter = Parameter::new("w", ParameterKind::Weight, &[1], 1.0f64);
            parameter.gradient[0] = 1.0;
            parameter.rate = rate;
            parameter
        });
        parameters[1].decay = decay;
        let mut all =
            parameters.each_mut().map(|p| Stepped { parameter: p, state: &mut [], rate: 1.0 });
        let error = Sgd::new(0.1).update_all(&mut all, 1, Exec::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(parameters.iter().all(|p| p.value == [1.0]));
    }
}
