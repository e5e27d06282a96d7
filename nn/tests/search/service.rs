//! Studies in Optuna's storage service: several processes, in Rust and in Python, some of them killed,
//! the service killed and started anew, hosts in network namespaces of their own.
//!
//! All need a Python with optuna, grpcio and protobuf, whose path is in `TILEWISE_OPTUNA_PYTHON`.
#![cfg(unix)]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Scratch, essence, run, wait_until};
use tilewise_nn::random::Random;
use tilewise_nn::search::{State, Study, Trial, TrialRecord, Value};

const SERVICE: &str = "TILEWISE_TEST_SERVICE";
const TRIALS: &str = "TILEWISE_TEST_TRIALS";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/search/with_service.py");

/// A program that is killed when it is no longer needed.
struct Program(Child);

impl Program {
    /// `STOP` or `CONT`.
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn succeeds(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host with the service on it, and others from which it can be reached.
struct Place {
    database: String,
    host: &'static str,
    port: u16,
    /// The network namespaces of the service and of the others, where they are not this one.
    spaces: Option<(&'static str, [&'static str; 3])>,
}

impl Place {
    /// Everything on this host.
    fn here(scratch: &Scratch) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let database = format!("sqlite:///{}", scratch.file("study.db").display());
        let database = std::env::var("TILEWISE_TEST_DATABASE").unwrap_or(database);
        Self { database, host: "127.0.0.1", port, spaces: None }
    }

    fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    fn command(&self, space: Option<&str>, program: &Path) -> Command {
        let Some(space) = space else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space]).arg(program);
        command
    }

    fn python(&self, space: Option<&str>, args: &[&str]) -> Command {
        let python =
            std::env::var("TILEWISE_OPTUNA_PYTHON").expect("TILEWISE_OPTUNA_PYTHON is set");
        let mut command = self.command(space, Path::new(&python));
        command.arg(SCRIPT).args(args);
        command
    }

    fn serve(&self) -> Program {
        self.serve_as("serve")
    }

    fn serve_as(&self, mode: &str) -> Program {
        let space = self.spaces.map(|(hub, _)| hub);
        let mut command =
            self.python(space, &[mode, &self.database, self.host, &self.port.to_string()]);
        let program = Program(command.stderr(Stdio::null()).spawn().unwrap());
        let reached = || TcpStream::connect((self.host, self.port)).is_ok();
        let moment = Duration::from_millis(50);
        wait_until("the service starts", moment, || self.spaces.is_some() || reached());
        program
    }

    /// A worker in Rust, on one of the hosts.
    fn worker(&self, host: usize, trials: u64) -> Program {
        let space = self.spaces.map(|(_, others)| others[host]);
        let mut command = self.command(space, &std::env::current_exe().unwrap());
        command.args(["--exact", "service::worker", "--ignored"]);
        command.env(SERVICE, self.url()).env(TRIALS, trials.to_string());
        Program(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// A worker in Python.
    fn optuna(&self, host: usize, trials: u64) -> Program {
        let space = self.spaces.map(|(_, others)| others[host]);
        let (port, trials) = (self.port.to_string(), trials.to_string());
        Program(self.python(space, &["work", self.host, &port, &trials]).spawn().unwrap())
    }

    /// All trials as Optuna sees them.
    fn dump(&self, host: usize) -> Vec<serde_json::Value> {
        let space = self.spaces.map(|(_, others)| others[host]);
        let port = self.port.to_string();
        let mut command = self.python(space, &["dump", self.host, &port]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn open(url: &str) -> Study {
    let grace = Duration::from_secs(2);
    Study::minimize("service").seed(11).service(url).grace(grace).open().unwrap()
}

fn objective(trial: &mut Trial<'_>) -> tilewise_nn::Result<f64> {
    let a = trial.uniform("a", 0.0, 1.0)?;
    for step in 1..=3 {
        std::thread::sleep(Duration::from_millis(1));
        trial.report(step, a / step as f64)?;
    }
    let b = trial.one_minus_log("b", 0.9, 0.99)?;
    Ok(a + b)
}

/// Not a test of its own: what the other tests start and kill.
#[test]
#[ignore = "started by the tests that kill it"]
fn worker() {
    let (Ok(url), Ok(trials)) = (std::env::var(SERVICE), std::env::var(TRIALS)) else { return };
    run(&open(&url), trials.parse().unwrap(), 2, objective);
}

/// What the same study gives in memory.
fn alone(trials: u64) -> Study {
    let alone = Study::minimize("alone").seed(11).open().unwrap();
    run(&alone, trials, 1, objective);
    alone
}

/// Until so many trials have ended.
fn wait_for(study: &Study, trials: usize) {
    wait_until("trials end", Duration::from_millis(20), || {
        study.look(|history| history.finished()).unwrap() >= trials
    });
}

#[test]
#[ignore = "needs a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_a_study_in_a_service_survives_kills_of_workers_and_of_the_service() {
    let scratch = Scratch::new("service-kills");
    let place = Place::here(&scratch);
    let mut service = place.serve();
    let (kills, trials) = (20, 400);
    let watch = open(&place.url());
    let mut random = Random::new(7);
    for kill in 0..kills {
        let target = trials * (kill + 1) / (kills + 1);
        let mut dies = place.worker(0, target);
        let survives = place.worker(1, target);
        wait_for(&watch, (target - 12) as usize);
        std::thread::sleep(Duration::from_micros(random.below(40_000) as u64));
        dies.kill();
        if kill % 5 == 2 {
            service.kill();
            std::thread::sleep(Duration::from_millis(300));
            service = place.serve();
        }
        assert!(survives.succeeds());
    }
    assert!([place.worker(0, trials), place.worker(1, trials)].map(Program::succeeds) == [true; 2]);
    let all = watch.trials().unwrap();
    assert_whole(&all);
    assert_eq!(essence(&watch), essence(&alone(trials)), "no trial lost, none counted twice");
    let theirs = place.dump(0);
    assert_eq!(theirs.len(), all.len());
    for (ours, theirs) in all.iter().zip(&theirs) {
        assert_eq!(theirs[2].as_f64(), ours.value, "{theirs}");
        assert_eq!(theirs[3]["one_minus_b"].as_f64(), ours.param("b").map(|b| b.kept));
    }
}

#[test]
#[ignore = "needs a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_a_service_that_was_started_anew_between_two_calls_loses_no_parameter() {
    let scratch = Scratch::new("service-forgets");
    let place = Place::here(&scratch);
    let service = place.serve_as("forget");
    let study = open(&place.url());
    run(&study, 12, 2, objective);
    assert_whole(&study.trials().unwrap());
    assert_eq!(essence(&study), essence(&alone(12)));
    drop(service);
}

#[test]
#[ignore = "needs a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_a_study_in_a_service_survives_that_workers_and_the_service_are_stopped_for_a_while() {
    let scratch = Scratch::new("service-pauses");
    let place = Place::here(&scratch);
    let (service, trials) = (place.serve(), 160);
    let watch = open(&place.url());
    let mut random = Random::new(3);
    let workers = [place.worker(0, trials), place.worker(1, trials)];
    // Each alone, any two, and all at once: longer than the grace period, as a suspended machine is.
    for which in 1..8 {
        wait_for(&watch, 20 * which);
        std::thread::sleep(Duration::from_micros(random.below(100_000) as u64));
        let stopped = [&workers[0], &workers[1], &service].into_iter().enumerate();
        let stopped: Vec<_> = stopped.filter(|(bit, _)| which >> bit & 1 == 1).collect();
        stopped.iter().for_each(|(_, program)| program.signal("STOP"));
        std::thread::sleep(Duration::from_secs(3));
        stopped.iter().for_each(|(_, program)| program.signal("CONT"));
    }
    assert!(workers.map(Program::succeeds) == [true; 2]);
    assert_whole(&watch.trials().unwrap());
    assert_eq!(essence(&watch), essence(&alone(trials)), "no trial lost, none counted twice");
    drop(service);
}

/// Every trial is complete, with its three reports; tells all that is known of those that are not.
fn assert_whole(all: &[TrialRecord]) {
    let whole = |trial: &&TrialRecord| trial.state == State::Complete && trial.reports.len() == 3;
    let broken: Vec<_> = all.iter().filter(|trial| !whole(trial)).collect();
    assert!(broken.is_empty(), "{} of {}: {broken:#?}", broken.len(), all.len());
}

/// Everything is complete, and ours have the draws of their numbers.
fn check_shared(study: &Study, by_python: usize) {
    let trials = study.trials().unwrap();
    let expected = alone(trials.len() as u64).trials().unwrap();
    let of_python = |trial: &TrialRecord| trial.user_attrs.contains_key("by");
    assert_eq!(trials.iter().filter(|trial| of_python(trial)).count(), by_python);
    for (trial, expected) in trials.iter().zip(&expected) {
        assert_eq!((trial.state, trial.reports.len()), (State::Complete, 3), "{trial:?}");
        if !of_python(trial) {
            assert_eq!(trial.value, expected.value);
        }
    }
}

#[test]
#[ignore = "needs a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_rust_and_python_share_a_study_in_a_service() {
    let scratch = Scratch::new("service-shared");
    let place = Place::here(&scratch);
    let service = place.serve();
    let study = open(&place.url());
    let optuna = place.optuna(0, 40);
    let workers = [place.worker(0, 300), place.worker(1, 300)];
    assert!(optuna.succeeds() && workers.map(Program::succeeds) == [true; 2]);
    // Python counts its own trials, so that there may be more than ours asked for.
    let count = study.trials().unwrap().len();
    assert!((300..=340).contains(&count), "{count}");
    check_shared(&study, 40);

    study.enqueue(&[("a", Value::Float(0.25))]).unwrap();
    assert!(place.optuna(0, 1).succeeds(), "takes the one that waits");
    let last = study.trials().unwrap().pop().unwrap();
    assert_eq!((last.number, last.number_of("a")), (count as u64, Some(0.25)));
    assert_eq!(last.user_attrs["by"], "python");
    drop(service);
}

/// Hosts on a bridge, each in a network namespace; they go when this is dropped.
struct Network;

const HUB: &str = "tilewise-hub";
const HOSTS: [&str; 3] = ["tilewise-1", "tilewise-2", "tilewise-3"];

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(status.success(), "ip {args}");
}

impl Network {
    fn new() -> Self {
        let network = Self;
        ip(&format!("netns add {HUB}"));
        ip(&format!("-n {HUB} link add bridge type bridge"));
        ip(&format!("-n {HUB} address add 10.77.0.1/24 dev bridge"));
        ip(&format!("-n {HUB} link set bridge up"));
        ip(&format!("-n {HUB} link set lo up"));
        for (number, host) in HOSTS.iter().enumerate() {
            ip(&format!("netns add {host}"));
            ip(&format!("link add port{number} netns {HUB} type veth peer name eth netns {host}"));
            ip(&format!("-n {HUB} link set port{number} master bridge up"));
            ip(&format!("-n {host} address add 10.77.0.{}/24 dev eth", number + 2));
            ip(&format!("-n {host} link set eth up"));
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in HOSTS.iter().chain([&HUB]) {
            let _ = Command::new("ip").args(["netns", "delete", space]).status();
        }
    }
}

#[test]
#[ignore = "needs root, `ip` and a Python with optuna: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_hosts_share_a_study_though_a_cable_is_pulled() {
    let scratch = Scratch::new("service-hosts");
    let here = Place::here(&scratch);
    let _network = Network::new();
    let spaces = Some((HUB, HOSTS));
    let place = Place { host: "10.77.0.1", port: 13000, spaces, ..here };
    let mut service = place.serve();
    // It waits until the service is there; so do all workers.
    let optuna = place.optuna(2, 20);
    let trials = 200;
    let mut workers = [0, 1].map(|host| place.worker(host, trials));
    assert!(optuna.succeeds());
    // One host is cut off for longer than the grace period, and what it was running is taken over.
    ip(&format!("-n {HUB} link set port0 down"));
    std::thread::sleep(Duration::from_secs(6));
    ip(&format!("-n {HUB} link set port0 up"));
    std::thread::sleep(Duration::from_secs(1));
    workers[1].kill();
    service.kill();
    service = place.serve();
    workers[1] = place.worker(1, trials);
    assert!(workers.map(Program::succeeds) == [true; 2]);
    let theirs = place.dump(2);
    assert!((200..220).contains(&theirs.len()), "{}", theirs.len());
    let expected = alone(theirs.len() as u64).trials().unwrap();
    let mut ours = 0;
    for (number, (theirs, expected)) in theirs.iter().zip(&expected).enumerate() {
        assert_eq!((&theirs[0], &theirs[1]), (&number.into(), &"COMPLETE".into()));
        ours += usize::from(theirs[2].as_f64() == expected.value);
    }
    assert_eq!(ours, theirs.len() - 20, "all but those of Optuna have the draws of their numbers");
    drop(service);
}
