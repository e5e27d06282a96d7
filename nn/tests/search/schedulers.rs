//! Stopping trials that others outdo.

use crate::common::run;
use tilewise_nn::Error;
use tilewise_nn::search::{Asha, Hyperband, Median, Pruner, State, Study};

/// Learning curves that never cross: worse trials are worse at every step.
fn curves(study: &Study, trials: u64, steps: i64, workers: usize) -> u64 {
    let taken = std::sync::atomic::AtomicU64::new(0);
    run(study, trials, workers, |trial| {
        let limit = trial.uniform("limit", 0.0, 1.0)?;
        for step in 1..=steps {
            taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            trial.report(step, limit + 1.0 / step as f64)?;
        }
        Ok(limit)
    });
    taken.into_inner()
}

fn count(study: &Study, state: State) -> usize {
    study.trials().unwrap().iter().filter(|trial| trial.state == state).count()
}

/// The smallest limit that any trial drew.
fn smallest(study: &Study) -> f64 {
    let trials = study.trials().unwrap();
    trials.iter().map(|t| t.number_of("limit").unwrap()).fold(f64::INFINITY, f64::min)
}

#[test]
fn a13_the_median_stops_the_worse_half() {
    let study = Study::minimize("median").seed(1).pruner(Median::default()).open().unwrap();
    curves(&study, 200, 9, 1);
    let pruned = count(&study, State::Pruned);
    // The median falls as only the better go on, so more than half are stopped.
    assert!((100..=195).contains(&pruned), "{pruned}");
    assert_eq!(count(&study, State::Failed), 0);
    assert_eq!(study.best().unwrap().unwrap().value, Some(smallest(&study)));
    let trials = study.trials().unwrap();
    assert!(trials[..5].iter().all(|trial| trial.state == State::Complete), "startup");
    for trial in trials.iter().filter(|trial| trial.state == State::Pruned) {
        assert_eq!((trial.reports.len(), trial.value), (1, trial.reports.get(&1).copied()));
    }
}

#[test]
fn a13_the_median_waits_for_warmup_and_judges_by_the_best_so_far() {
    let mut median = Median::default().startup(1).warmup(3);
    for (step, cost) in [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)] {
        assert!(!median.report(0, step, cost));
    }
    median.end(0, true);
    assert!(!median.report(1, 1, 99.0) && !median.report(1, 2, 3.0), "before warmup");
    assert!(!median.report(1, 3, 50.0), "its best, 3, is level");
    assert!(median.report(1, 4, 50.0), "its best, 3, is worse than 2");
    assert!(median.report(2, 4, f64::NAN));
    median.end(1, false);
    assert!(!median.report(3, 4, 1.9), "a trial that was stopped does not count");
}

#[test]
fn a13_successive_halving_keeps_the_best_of_each_rung() {
    let mut asha = Asha::new(1, 2).unwrap();
    // At the first rung: the first always goes on, then only the better half so far.
    let verdicts: Vec<bool> = [3.0, 5.0, 4.0, 2.0, 6.0, 1.0]
        .iter()
        .zip(0..)
        .map(|(&c, t)| asha.report(t, 1, c))
        .collect();
    assert_eq!(verdicts, [false, true, true, false, true, false]);
    // Trial 3 comes to the second rung, at step 2, before trial 0, which is worse there.
    assert!(!asha.report(3, 2, 1.5));
    assert!(asha.report(0, 2, 2.5));
    assert!(asha.report(9, 1, f64::NAN));
    assert!(Asha::new(0, 2).is_err() && Asha::new(1, 1).is_err());
}

#[test]
fn a13_successive_halving_saves_most_steps_and_finds_the_same() {
    for workers in [1, 4] {
        let study = Study::minimize("asha").seed(6).pruner(Asha::new(1, 3).unwrap());
        let study = study.open().unwrap();
        let steps = curves(&study, 120, 27, workers);
        assert!(steps < 120 * 27 / 3, "{steps} steps with {workers} workers");
        assert_eq!(study.best().unwrap().unwrap().value, Some(smallest(&study)));
        assert_eq!(count(&study, State::Running) + count(&study, State::Failed), 0);
    }
}

#[test]
fn a13_hyperband_gives_slow_starters_a_chance() {
    // The better the trial ends, the worse it begins.
    let slow = |trial: &mut tilewise_nn::search::Trial<'_>| {
        let end = trial.uniform("end", 0.0, 1.0)?;
        for step in 1..=9 {
            let value = if step < 9 { 2.0 - end } else { end };
            trial.report(step, value)?;
        }
        Ok(end)
    };
    let asha = Study::maximize("asha").seed(2).pruner(Asha::new(1, 3).unwrap()).open().unwrap();
    let band = Hyperband::new(1, 9, 3).unwrap();
    let band = Study::maximize("band").seed(2).pruner(band).open().unwrap();
    run(&asha, 60, 1, slow);
    run(&band, 60, 1, slow);
    let best = |study: &Study| study.best().unwrap().unwrap().value.unwrap();
    assert!(best(&band) > best(&asha) + 0.1, "{} {}", best(&band), best(&asha));
    assert!(count(&band, State::Pruned) > 20);
    assert!(Hyperband::new(10, 9, 3).is_err() && Hyperband::new(0, 9, 3).is_err());
}

#[test]
fn a13_a_trial_may_not_take_pruning_for_failure() {
    let study = Study::minimize("hand").pruner(Median::default().startup(1)).open().unwrap();
    run(&study, 1, 1, |trial| trial.report(0, 1.0).map(|()| 1.0));
    let mut trial = study.ask().unwrap();
    let verdict = trial.report(0, 2.0);
    assert!(matches!(verdict, Err(Error::Pruned { step: 0 })), "{verdict:?}");
    study.tell(&trial, verdict.map(|()| 0.0)).unwrap();
    let trials = study.trials().unwrap();
    assert_eq!((trials[1].state, trials[1].value), (State::Pruned, Some(2.0)));
}
