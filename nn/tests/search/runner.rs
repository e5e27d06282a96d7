//! Many trials at once: failures, threads, order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Together, essence, gap, parabola, quickest, run};
use tilewise_nn::Error;
use tilewise_nn::prelude::*;
use tilewise_nn::search::{Caviar, Choice, Direction, Stale, State, Study, Value, fingerprint};

#[test]
fn a17_failures_are_kept_with_their_reason_and_the_study_goes_on() {
    let study = Study::minimize("failures").seed(2).open().unwrap();
    run(&study, 40, 3, |trial| {
        let alpha = trial.log("alpha", 1e-4, 1.0)?;
        trial.report(1, alpha)?;
        match trial.number() % 5 {
            0 => Ok(f64::NAN),
            1 => Err(Error::failed("no memory left")),
            2 => panic!("index {} out of range", trial.number()),
            3 => Err(Error::Diverged { step: 7, place: "layer 2".into(), got: f64::INFINITY }),
            _ => Ok(alpha),
        }
    });
    let trials = study.trials().unwrap();
    assert_eq!(trials.len(), 40);
    for trial in &trials {
        let expected = match trial.number % 5 {
            0 => "NaN",
            1 => "no memory left",
            2 => "out of range",
            3 => "after training step 7",
            _ => {
                assert_eq!((trial.state, trial.failure()), (State::Complete, None));
                continue;
            }
        };
        let reason = trial.failure().unwrap();
        assert!(reason.contains(expected) && reason.contains("after step 1"), "{reason}");
        assert_eq!((trial.state, trial.value), (State::Failed, None));
        assert!(trial.number_of("alpha").is_some(), "the parameters are kept");
    }
    assert_eq!(study.best().unwrap().unwrap().number % 5, 4);
}

#[test]
fn a17_a_study_without_a_result_has_no_best() {
    let study = Study::maximize("nothing").open().unwrap();
    assert!(study.best().unwrap().is_none());
    run(&study, 3, 1, |_| Err(Error::failed("always")));
    assert!(study.best().unwrap().is_none());
    assert!(study.look(|history| history.finished()).unwrap() == 3);
}

#[test]
fn a17_infinity_is_a_value_and_the_worst() {
    for (study, worst) in
        [(Study::minimize("least"), f64::INFINITY), (Study::maximize("most"), f64::NEG_INFINITY)]
    {
        let study = study.open().unwrap();
        run(&study, 4, 1, |trial| Ok(if trial.number() == 2 { 1.5 } else { worst }));
        assert_eq!(study.best().unwrap().unwrap().number, 2);
        let order: Vec<u64> = study.look(|h| h.ranked().map(|t| t.number).collect()).unwrap();
        assert_eq!(order, [2, 0, 1, 3]);
    }
}

#[test]
fn a12_trials_keep_within_the_budget_of_threads() {
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all = Together::new(3);
    let study = Study::minimize("threads").open().unwrap();
    let caviar = Caviar::new(24).threads(6).workers(3).progress(false);
    let count = caviar.run(&study, |trial| {
        assert_eq!((trial.threads(), rayon::current_num_threads()), (2, 2));
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        all.begin();
        std::thread::sleep(Duration::from_millis(4));
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(0.0)
    });
    count.unwrap();
    assert!(study.trials().unwrap().iter().all(|trial| trial.failure().is_none()));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    // More workers than threads, and more workers than trials.
    let study = Study::minimize("few").open().unwrap();
    Caviar::new(2).threads(1).workers(4).progress(false).run(&study, parabola).unwrap();
    assert_eq!(study.trials().unwrap().len(), 2);
}

#[test]
fn a12_the_number_of_trials_is_that_of_the_study() {
    let study = Study::minimize("budget").open().unwrap();
    run(&study, 5, 2, parabola);
    run(&study, 5, 2, parabola);
    assert_eq!(study.trials().unwrap().len(), 5);
    run(&study, 9, 2, parabola);
    let numbers: Vec<u64> = essence(&study).iter().map(|trial| trial.0).collect();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
}

#[test]
fn a12_a_trial_that_nobody_ends_is_not_waited_for() {
    let study = Study::minimize("forgotten").open().unwrap();
    let forgotten = study.ask().unwrap();
    run(&study, 4, 2, parabola);
    let trials = study.trials().unwrap();
    assert_eq!((trials.len(), trials[0].state), (4, State::Running));
    study.tell(&forgotten, Ok(0.0)).unwrap();
    assert_eq!(study.best().unwrap().unwrap().number, 0);
}

#[test]
fn a1_values_can_be_asked_for() {
    let study = Study::minimize("wishes").open().unwrap();
    let text = Value::Choice(Choice::Text("b".into()));
    study.enqueue(&[("alpha", Value::Float(10f64.powf(-2.3))), ("kind", text)]).unwrap();
    study.enqueue(&[("alpha", Value::Float(7.0))]).unwrap();
    run(&study, 6, 1, |trial| {
        trial.choice("kind", &["a", "b"])?;
        parabola(trial)
    });
    let trials = study.trials().unwrap();
    assert_eq!(trials.len(), 6);
    assert_eq!(trials[0].value_of("kind"), Some(Value::Choice(Choice::Text("b".into()))));
    assert!(gap(&study) < 1e-9);
    assert!(trials[1].failure().unwrap().contains("`alpha`"), "{:?}", trials[1]);
}

#[test]
fn a10_a_study_says_when_it_is_stale() {
    let data: Dataset = digits().unwrap();
    let print = fingerprint(&data);
    let study = Study::minimize("stale").data(print).open().unwrap();
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(study.stale(Some(print), year).unwrap(), []);
    assert_eq!(study.stale(None, year).unwrap(), []);
    let fewer: Vec<usize> = (1..data.len()).collect();
    let other = fingerprint(&data.select(&fewer).unwrap());
    assert_eq!(study.stale(Some(other), year).unwrap(), [Stale::Data]);
    let origin = study.origin().unwrap().unwrap();
    assert_eq!((origin.data, origin.version.as_str()), (Some(print), env!("CARGO_PKG_VERSION")));
    let old = serde_json::json!({"date": 0, "version": "0.0.1", "cpu": "z80"});
    study.note_attr("tilewise:origin", old).unwrap();
    let reasons = study.stale(None, year).unwrap();
    assert!(matches!(reasons[..], [Stale::Old { .. }, Stale::Version { .. }, Stale::Cpu { .. }]));
    study.note_attr("tilewise:origin", serde_json::Value::Null).unwrap();
    assert_eq!(study.stale(None, year).unwrap(), [Stale::Unknown]);
}

#[test]
fn a10_the_best_are_run_again_exactly() {
    let study = Study::maximize("again").seed(3).open().unwrap();
    let objective = |trial: &mut tilewise_nn::search::Trial<'_>| {
        let alpha = trial.log("alpha", 1e-4, 1.0)?;
        trial.report(1, alpha)?;
        Ok(alpha.ln() + (trial.seed() % 97) as f64)
    };
    run(&study, 30, 2, objective);
    let before = study.trials().unwrap();
    let again = study.retest(3, objective).unwrap();
    assert_eq!(again.iter().map(|retest| retest.drift()).collect::<Vec<_>>(), [Some(0.0); 3]);
    assert_eq!(again[0].trial, study.best().unwrap().unwrap());
    let drifted = study.retest(1, |trial| Ok(objective(trial)? + 0.5)).unwrap();
    assert_eq!(drifted[0].drift(), Some(0.5));
    let broken = study.retest(1, |_| Err(Error::failed("gone"))).unwrap();
    assert_eq!((broken[0].drift(), broken[0].outcome.clone()), (None, Err("gone".into())));
    let error = study.retest(1, |trial| trial.uniform("new", 0.0, 1.0)).unwrap_err();
    assert!(error.to_string().contains("`new`"), "{error}");
    assert_eq!(study.trials().unwrap(), before, "a retest leaves no trace");
    assert_eq!(study.look(|history| history.direction()).unwrap(), Direction::Maximize);
}

#[test]
fn a12_a_trial_costs_little_besides_its_objective() {
    let study = Study::minimize("overhead").open().unwrap();
    run(&study, 4000, 1, parabola);
    let mut trials = 4000;
    let few = quickest(50, || {
        trials += 20;
        run(&study, trials, 1, parabola);
    });
    // The aim is 200 µs on an idle machine; ten times that tells a cost that grows from a busy one.
    assert!(few / 20 < Duration::from_millis(2), "{:?}", few / 20);
    assert_eq!(study.trials().unwrap().len(), 5000);
}
