//! Workers that are killed: the test program starts itself as a worker and kills it.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Scratch, essence, run, wait_until};
use tilewise_nn::random::Random;
use tilewise_nn::search::{State, Study, Trial};

pub(crate) const JOURNAL: &str = "TILEWISE_TEST_JOURNAL";
pub(crate) const TRIALS: &str = "TILEWISE_TEST_TRIALS";
/// A worker that is to be killed stays until that is done, however long it takes.
const STAYS: &str = "TILEWISE_TEST_STAYS";

pub(crate) fn open(path: &Path) -> Study {
    let grace = Duration::from_millis(100);
    Study::minimize("crash").seed(11).journal(path).grace(grace).open().unwrap()
}

/// About five milliseconds, with something to write at every point.
pub(crate) fn objective(trial: &mut Trial<'_>) -> tilewise_nn::Result<f64> {
    let a = trial.uniform("a", 0.0, 1.0)?;
    for step in 1..=3 {
        std::thread::sleep(Duration::from_millis(1));
        trial.report(step, a / step as f64)?;
    }
    let b = trial.one_minus_log("b", 0.9, 0.99)?;
    trial.note("who", std::process::id())?;
    Ok(a + b)
}

/// Not a test of its own: what the other tests start and kill.
#[test]
#[ignore = "started by the tests that kill it"]
fn worker() {
    let (Ok(path), Ok(trials)) = (std::env::var(JOURNAL), std::env::var(TRIALS)) else { return };
    let study = open(Path::new(&path));
    run(&study, trials.parse().unwrap(), 2, objective);
    if std::env::var(STAYS).is_ok() {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn start(path: &Path, trials: u64) -> Child {
    command(path, trials).spawn().unwrap()
}

fn command(path: &Path, trials: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::worker", "--ignored"]);
    command.env(JOURNAL, path).env(TRIALS, trials.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Kills workers at random moments, `kills` times; then lets the last ones finish.
fn survive(name: &str, kills: u64, trials: u64) {
    let scratch = Scratch::new(name);
    let path = scratch.file("study.journal");
    let mut random = Random::new(kills);
    // One at least is begun by a worker that dies and finished by another, whenever the others are killed.
    drop(open(&path).ask().unwrap());
    for kill in 0..kills {
        // The target grows with the kills, so that there is always something to do.
        let before = length(&path);
        let target = trials * (kill + 1) / kills;
        let mut worker = command(&path, target).env(STAYS, "").spawn().unwrap();
        // At a random moment of its work: the lock that the last one held must first be broken.
        let moment = Duration::from_millis(1);
        wait_until("a trial begins", moment, || length(&path) != before);
        std::thread::sleep(Duration::from_micros(random.below(25_000) as u64));
        assert!(worker.try_wait().unwrap().is_none(), "it ended by itself");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let mut last = [start(&path, trials), start(&path, trials)];
    assert!(last.iter_mut().all(|worker| worker.wait().unwrap().success()));

    let alone = Study::minimize("alone").seed(11).open().unwrap();
    run(&alone, trials, 1, objective);
    let study = open(&path);
    assert_eq!(essence(&study), essence(&alone), "no trial is lost, none is counted twice");
    let all = study.trials().unwrap();
    assert!(all.iter().all(|trial| trial.state == State::Complete && trial.reports.len() == 3));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().any(|line| line.contains("\"op_code\":9")), "nobody took a trial over");
    drop(study);
    // Of each, its sign of life and a lock that it was about to remove.
    let left: Vec<_> = std::fs::read_dir(scratch.file("")).unwrap().collect();
    assert!(left.len() <= 1 + 2 * kills as usize, "{left:?}");
}

#[test]
fn a17_a_study_survives_forty_kills() {
    survive("kills", 40, 400);
}

#[test]
#[ignore = "takes minutes"]
fn a17_a_study_survives_two_hundred_kills() {
    survive("many-kills", 200, 2000);
}

/// Whoever is stopped while it holds the lock is taken for dead after the grace period, and then goes on.
#[test]
fn a17_a_study_survives_that_workers_are_stopped_for_a_while() {
    let scratch = Scratch::new("stops");
    let (path, trials) = (scratch.file("study.journal"), 1500);
    let mut workers = [start(&path, trials), start(&path, trials)];
    let signal = |worker: &Child, name: &str| {
        let id = worker.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    };
    let mut random = Random::new(5);
    for stop in 0..30 {
        let stopped = &workers[stop % 2];
        std::thread::sleep(Duration::from_micros(random.below(25_000) as u64));
        signal(stopped, "STOP");
        std::thread::sleep(Duration::from_millis(150));
        signal(stopped, "CONT");
    }
    assert!(workers.iter_mut().all(|worker| worker.wait().unwrap().success()));
    let alone = Study::minimize("alone").seed(11).open().unwrap();
    run(&alone, trials, 1, objective);
    assert_eq!(essence(&open(&path)), essence(&alone), "no trial is lost, none is counted twice");
}

#[test]
fn a17_a_trial_of_a_dead_worker_is_taken_over_and_that_of_a_live_one_is_not() {
    let scratch = Scratch::new("reclaim");
    let path = scratch.file("study.journal");
    let living = open(&path);
    let kept = living.ask().unwrap();
    let dying = open(&path);
    let lost = dying.ask().unwrap();
    assert_eq!((kept.number(), lost.number()), (0, 1));
    let heir = open(&path);
    assert_eq!(heir.ask().unwrap().number(), 2, "both live");
    drop(dying);
    let mut taken = heir.ask().unwrap();
    assert_eq!(taken.number(), 1);
    let value = objective(&mut taken);
    heir.tell(&taken, value).unwrap();
    living.tell(&kept, Ok(0.5)).unwrap();
    let states: Vec<State> = heir.trials().unwrap().iter().map(|trial| trial.state).collect();
    assert_eq!(states, [State::Complete, State::Complete, State::Running]);
}
