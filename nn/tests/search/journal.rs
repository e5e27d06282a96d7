//! Journal files: what is written, what is read, what goes wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Scratch, Together, essence, parabola, run};
use tilewise_nn::Error;
use tilewise_nn::search::{
    Asha, Caviar, Choice, Distribution, Sobol, Space, State, Study, Trial, Value,
};

fn study(path: &Path) -> Study {
    Study::minimize("test").seed(3).journal(path).open().unwrap()
}

fn everything(trial: &mut Trial<'_>) -> tilewise_nn::Result<f64> {
    let alpha = trial.log("alpha", 1e-4, 1.0)?;
    let beta = trial.one_minus_log("beta", 0.9, 0.999)?;
    let units = trial.log_int("units", 1, 64)?;
    trial.int("layers", -2, 4)?;
    trial.step("dropout", 0.0, 0.5, 0.1)?;
    trial.choice("kind", &["relu", "a \"quoted\" \u{1F980} <b>"])?;
    trial
        .choice("clip", &[Choice::Null, Choice::Bool(true), Choice::Int(3), Choice::Float(0.5)])?;
    trial.report(1, f64::NAN)?;
    trial.report(2, f64::INFINITY)?;
    trial.note("note", "NaN \\ \"Infinity\"")?;
    Ok((alpha.log10() + 2.3).powi(2) + beta + units as f64)
}

#[test]
fn a17_a_study_is_read_back_as_it_was() {
    let scratch = Scratch::new("back");
    let path = scratch.file("dir/study.journal");
    let first = study(&path);
    run(&first, 12, 2, |trial| match trial.number() {
        5 => Ok(f64::NAN),
        6 => Ok(f64::NEG_INFINITY),
        _ => everything(trial),
    });
    let again = study(&path);
    // NaN differs from itself, so reports are compared by what they print.
    let print = |study: &Study| format!("{:?}", study.trials().unwrap());
    assert_eq!(print(&first), print(&again));
    assert_eq!(again.trials().unwrap()[0].reports.get(&2), Some(&f64::INFINITY));
    assert_eq!(again.best().unwrap().unwrap().value, Some(f64::NEG_INFINITY));
    assert_eq!(again.seed(), 3);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"intermediate_value\":NaN") && text.contains("\"values\":[-Infinity]"));
    assert!(text.contains("one_minus_beta"), "1-β stands there under a name that says so");
    let beta = again.trials().unwrap()[0].number_of("beta").unwrap();
    assert!((0.9..=0.999).contains(&beta));
}

#[test]
fn a17_a_continued_study_is_that_of_one_run() {
    let scratch = Scratch::new("continue");
    let space = || Space::new().log("alpha", 1e-4, 1.0).unwrap();
    let open = |name: &str| {
        let sampler = Sobol::new(space()).unwrap();
        let pruner = Asha::new(1, 2).unwrap();
        let study = Study::minimize("test").seed(8).sampler(sampler).pruner(pruner);
        study.journal(scratch.file(name)).open().unwrap()
    };
    let objective = |trial: &mut Trial<'_>| {
        let loss = parabola(trial)?;
        for step in 1..=8 {
            trial.report(step, loss + 1.0 / step as f64)?;
        }
        Ok(loss)
    };
    let whole = open("whole");
    run(&whole, 30, 1, objective);
    for trials in [7, 8, 21, 30] {
        run(&open("parts"), trials, 1, objective);
    }
    // The pruner, too, goes on where it was.
    assert_eq!(essence(&whole), essence(&open("parts")));
    assert!(whole.trials().unwrap().iter().any(|trial| trial.state == State::Pruned));
}

#[test]
fn a17_an_unfinished_last_line_is_left_out_and_cut_off() {
    let scratch = Scratch::new("partial");
    let path = scratch.file("study.journal");
    run(&study(&path), 3, 1, parabola);
    let whole = fs::read(&path).unwrap();
    for tail in ["{\"op_code\":4,\"work", "{\"op_code\":4,\"work\n", "\u{0}\u{0}\n"] {
        fs::write(&path, [&whole, tail.as_bytes()].concat()).unwrap();
        let torn = study(&path);
        assert_eq!(torn.trials().unwrap().len(), 3);
        run(&torn, 4, 1, parabola);
        assert_eq!(study(&path).trials().unwrap().len(), 4);
        assert!(fs::read_to_string(&path).unwrap().lines().all(|line| line.ends_with('}')));
    }
    // Behind a line that is broken, nothing can be trusted.
    let mut broken = b"{\"op_code\":4,\"work\n".to_vec();
    broken.extend(&whole);
    fs::write(&path, broken).unwrap();
    let error = Study::minimize("test").journal(&path).open().unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("study.journal"), "{error}");
}

#[test]
fn a17_records_that_lost_a_race_have_no_effect() {
    let scratch = Scratch::new("races");
    let path = scratch.file("study.journal");
    let first = study(&path);
    run(&first, 1, 1, parabola);
    let value = first.best().unwrap().unwrap().value;
    let line = |fields: &str| format!("{{\"worker_id\":\"w\",{fields}}}\n");
    let float = r#"{\"name\":\"FloatDistribution\",\"attributes\":{\"step\":null,\"low\":0.0,\"high\":1.0,\"log\":false}}"#;
    let lines = [
        // The same study a second time, an unknown study, an unknown trial, one that has ended.
        line(r#""op_code":0,"study_name":"test","directions":[2]"#),
        line(r#""op_code":4,"study_id":7,"datetime_start":"2026-01-01T00:00:00.000000+00:00""#),
        line(r#""op_code":7,"trial_id":9,"step":1,"intermediate_value":1.0"#),
        line(r#""op_code":6,"trial_id":0,"state":1,"values":[-5.0],"datetime_complete":"2026""#),
        line(r#""op_code":10,"trial_ids":[0]"#),
        // A trial whose parameter has another kind than in the first.
        line(r#""op_code":4,"study_id":0,"datetime_start":"2026-01-01T00:00:00.000000+00:00""#),
        line(&format!(
            r#""op_code":5,"trial_id":1,"param_name":"alpha","param_value_internal":0.5,"distribution":"{float}""#
        )),
        line(r#""op_code":6,"trial_id":1,"state":3,"values":null,"datetime_complete":"2026""#),
    ];
    let text = fs::read_to_string(&path).unwrap() + &lines.concat();
    fs::write(&path, text).unwrap();
    let trials = study(&path).trials().unwrap();
    assert_eq!((trials.len(), trials[0].value), (2, value));
    assert_eq!((trials[1].state, trials[1].params.len()), (State::Failed, 0));
    assert_eq!(first.trials().unwrap(), trials, "who had it open sees the same");
}

#[test]
fn a17_a_study_keeps_its_direction_and_seed() {
    let scratch = Scratch::new("keeps");
    let path = scratch.file("study.journal");
    drop(study(&path));
    let error = Study::maximize("test").journal(&path).open().unwrap_err().to_string();
    assert!(error.contains("direction") && error.contains("`test`"), "{error}");
    let error = Study::minimize("test").seed(4).journal(&path).open().unwrap_err().to_string();
    assert!(error.contains("seed") && error.contains('3'), "{error}");
    let other = Study::maximize("other").seed(4).journal(&path).open().unwrap();
    run(&other, 2, 1, parabola);
    let first = Study::minimize("test").journal(&path).open().unwrap();
    run(&first, 3, 1, parabola);
    assert_eq!((first.seed(), first.trials().unwrap().len()), (3, 3));
    assert_eq!(other.trials().unwrap().len(), 2);
}

#[test]
fn a17_a_trial_that_could_not_be_written_down_has_not_failed() {
    let scratch = Scratch::new("torn");
    let (path, away) = (scratch.file("study.journal"), scratch.file("away"));
    let torn = study(&path);
    let caviar = Caviar::new(3).workers(1).threads(1).progress(false);
    let outcome = caviar.run(&torn, |trial| {
        let value = parabola(trial)?;
        if trial.number() == 1 {
            fs::rename(&path, &away).unwrap();
            let reported = trial.report(1, value);
            fs::rename(&away, &path).unwrap();
            reported?;
        }
        Ok(value)
    });
    assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
    let states: Vec<State> = torn.trials().unwrap().iter().map(|trial| trial.state).collect();
    assert_eq!(states, [State::Complete, State::Running]);
    drop(torn);
    let (again, whole) = (study(&path), Study::minimize("whole").seed(3).open().unwrap());
    run(&again, 3, 1, parabola);
    run(&whole, 3, 1, parabola);
    assert_eq!(essence(&again), essence(&whole));
}

#[cfg(unix)]
#[test]
fn a17_a_lock_that_is_not_released_is_broken_after_the_grace_period() {
    let scratch = Scratch::new("stale");
    let path = scratch.file("study.journal");
    let lock = scratch.file("study.journal.lock");
    run(&study(&path), 1, 1, parabola);
    for target in ["study.journal", "nowhere"] {
        std::os::unix::fs::symlink(target, &lock).unwrap();
        let start = Instant::now();
        let grace = Duration::from_millis(300);
        let open = Study::minimize("test").journal(&path).grace(grace).open().unwrap();
        run(&open, 2, 1, parabola);
        assert!(start.elapsed() > grace, "{:?}", start.elapsed());
        assert!(!lock.is_symlink());
    }
    let left: Vec<_> = fs::read_dir(scratch.file("")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the journal is left: {left:?}");
}

#[test]
fn a12_processes_can_share_a_study() {
    let scratch = Scratch::new("shared");
    let path = scratch.file("study.journal");
    let (first, second) = (study(&path), study(&path));
    let all = Together::new(4);
    std::thread::scope(|scope| {
        for study in [&first, &second] {
            scope.spawn(|| {
                run(study, 40, 2, |trial| {
                    all.begin();
                    std::thread::sleep(Duration::from_millis(5));
                    parabola(trial)
                });
            });
        }
    });
    assert_eq!(essence(&first), essence(&second));
    let alone = Study::minimize("alone").seed(3).open().unwrap();
    run(&alone, 40, 1, parabola);
    assert_eq!(essence(&first), essence(&alone), "however many processes: the same trials");
    let text = fs::read_to_string(&path).unwrap();
    let workers = |text: &str| {
        let begun = text.lines().filter(|line| line.contains("\"op_code\":4"));
        let mut ids: Vec<String> =
            begun.map(|l| l.split("worker_id\":\"").nth(1).unwrap()[..32].to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    assert_eq!(workers(&text), 2, "both took part");
}

#[test]
fn a17_a_choice_is_kept_as_what_it_is() {
    let scratch = Scratch::new("choices");
    let path = scratch.file("study.journal");
    let all = [Choice::Null, Choice::Bool(false), Choice::Int(-3), Choice::Float(f64::INFINITY)];
    let first = study(&path);
    run(&first, 30, 1, |trial| trial.choice("c", &all).map(|_| 0.0));
    for trial in study(&path).trials().unwrap() {
        assert_eq!(trial.params[0].distribution, Distribution::Choice(all.to_vec()));
        assert!(
            matches!(trial.value_of("c"), Some(Value::Choice(choice)) if all.contains(&choice))
        );
    }
}

/// Written by Optuna 5.0.0 with `with_optuna.py JOURNAL 5`.
const OPTUNA: &str = include_str!("optuna.journal");

#[test]
fn a17_a_study_of_optuna_is_read_and_continued() {
    let scratch = Scratch::new("optuna");
    let path = scratch.file("study.journal");
    fs::write(&path, OPTUNA).unwrap();
    let study = study(&path);
    let trials = study.trials().unwrap();
    let states: Vec<State> = trials.iter().map(|trial| trial.state).collect();
    use State::{Complete, Failed, Waiting};
    assert_eq!(states, [Complete, Complete, Complete, Failed, Complete, Waiting]);
    assert_eq!(trials[0].number_of("alpha"), Some(0.005));
    for trial in &trials[..5] {
        assert_eq!(trial.params[0].distribution, Distribution::log(1e-4, 1.0));
        assert_eq!(trial.params[1].name, "beta");
        assert!((0.9..=0.999).contains(&trial.number_of("beta").unwrap()));
        assert_eq!(trial.params[2].distribution, Distribution::log_int(1, 64));
        assert_eq!(trial.params[3].distribution, Distribution::int(-2, 4));
        assert_eq!(trial.params[4].distribution, Distribution::step(0.0, 0.5, 0.1));
        assert!(trial.reports[&1].is_nan() && trial.reports[&2] == f64::INFINITY);
        assert_eq!(trial.user_attrs["nested"]["a"][1], "-Infinity");
    }
    run(&study, 9, 1, everything);
    let trials = study.trials().unwrap();
    assert!(trials[5..].iter().all(|trial| trial.state == Complete), "{trials:?}");
    // The one that was waiting comes first, with the values that it was to have.
    assert_eq!(trials[5].number_of("alpha"), Some(0.25));
    assert_eq!(trials[5].value_of("clip"), Some(Value::Choice(Choice::Null)));
}

#[test]
#[ignore = "needs a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_optuna_and_we_work_on_one_study() {
    let python = std::env::var("TILEWISE_OPTUNA_PYTHON").expect("TILEWISE_OPTUNA_PYTHON is set");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/search/with_optuna.py");
    let scratch = Scratch::new("optuna-beside");
    let path = scratch.file("study.journal");
    let study = study(&path);
    let command = |more: &[&str]| {
        let mut command = std::process::Command::new(&python);
        command.arg(script).arg(&path).args(more);
        command
    };
    let mut beside = command(&["30"]).spawn().unwrap();
    // Optuna needs a while to start; our trials go on past its last.
    run(&study, 400, 2, |trial| {
        std::thread::sleep(Duration::from_millis(20));
        everything(trial)
    });
    assert!(beside.wait().unwrap().success());
    run(&study, study.trials().unwrap().len() as u64, 1, everything);
    let output = command(&[]).output().unwrap();
    assert!(output.status.success());
    let theirs: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ours = study.trials().unwrap();
    assert_eq!(ours.len(), theirs.len());
    let by_optuna = ours.iter().filter(|trial| trial.user_attrs.contains_key("nested")).count();
    assert!(by_optuna >= 29, "{by_optuna}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(theirs[2].as_f64(), ours.value, "{theirs}");
        for param in ours.params.iter().filter(|p| p.distribution.cells().is_none()) {
            let prefix = if param.name == "beta" { "one_minus_" } else { "" };
            let value = &theirs[3][format!("{prefix}{}", param.name)];
            assert_eq!(value.as_f64(), Some(param.kept), "{theirs}");
        }
    }
}

#[test]
#[ignore = "needs a Python with optuna-dashboard: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_the_dashboard_shows_our_study() {
    let python = std::env::var("TILEWISE_OPTUNA_PYTHON").expect("TILEWISE_OPTUNA_PYTHON is set");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/search/with_dashboard.py");
    let scratch = Scratch::new("dashboard");
    let path = scratch.file("study.journal");
    let study = study(&path);
    run(&study, 30, 2, |trial| match trial.number() {
        7 => Ok(f64::NAN),
        8 => Err(tilewise_nn::Error::Pruned { step: 1 }),
        _ => everything(trial),
    });
    let output = std::process::Command::new(python).arg(script).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let studies: serde_json::Value = lines.next().unwrap();
    assert_eq!((&studies[0]["study_name"], studies.as_array().unwrap().len()), (&"test".into(), 1));
    let theirs: Vec<serde_json::Value> = lines.collect();
    let ours = study.trials().unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let state = match ours.state {
            State::Complete => "Complete",
            State::Pruned => "Pruned",
            _ => "Fail",
        };
        assert_eq!((&theirs["number"], &theirs["state"]), (&ours.number.into(), &state.into()));
        assert_eq!(theirs["values"][0].as_f64(), ours.value, "{theirs}");
        let reports = theirs["intermediate_values"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (reports, theirs["params"].as_array().unwrap().len()),
            (ours.reports.len(), ours.params.len())
        );
    }
}
