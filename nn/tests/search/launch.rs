//! The templates that start workers on many machines.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Scratch, essence, run};
use crate::crash;

const SLURM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/launch/slurm.sbatch");

/// The script of a Slurm array as Slurm runs it on a node: with bash, and the task's number.
fn task(number: u32, path: &Path, trials: u64) -> Child {
    let mut command = Command::new("bash");
    command.arg(SLURM).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::worker", "--ignored"]);
    command.env("SLURM_ARRAY_TASK_ID", number.to_string()).env("SLURM_CPUS_PER_TASK", "1");
    command.env(crash::JOURNAL, path).env(crash::TRIALS, trials.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a17_tasks_of_a_slurm_array_share_a_study() {
    let scratch = Scratch::new("slurm");
    let path = scratch.file("study.journal");
    let tasks = [0, 1, 2].map(|number| task(number, &path, 60));
    assert!(tasks.map(|mut task| task.wait().unwrap().success()) == [true; 3]);
    let alone = tilewise_nn::search::Study::minimize("alone").seed(11).open().unwrap();
    run(&alone, 60, 1, crash::objective);
    assert_eq!(essence(&crash::open(&path)), essence(&alone));

    let refused = |command: &mut Command| !command.output().unwrap().status.success();
    let script = || {
        let mut command = Command::new("bash");
        command.arg(SLURM);
        command
    };
    assert!(refused(script().env("SLURM_ARRAY_TASK_ID", "0")), "there is no program");
    assert!(refused(script().arg("true")), "it is not within an array");
    assert!(!refused(script().arg("true").env("SLURM_ARRAY_TASK_ID", "0")));
}

#[test]
#[ignore = "needs a Slurm cluster that `sbatch` and `scancel` reach, and this directory on its nodes"]
fn a17_a_slurm_cluster_runs_the_array_though_a_task_is_killed() {
    let scratch = Scratch::new("cluster");
    let (path, trials) = (scratch.file("study.journal"), 1500);
    let mut command = Command::new("sbatch");
    command.args(["--wait", "--parsable", "--array=0-3", "--cpus-per-task=1", "--mem=200"]);
    command.arg("--output").arg(scratch.file("task-%a.log")).arg(SLURM);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "crash::worker", "--ignored"]);
    command.env(crash::JOURNAL, &path).env(crash::TRIALS, trials.to_string());
    let mut job = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut id = String::new();
    BufReader::new(job.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let study = crash::open(&path);
    while study.look(|history| history.finished()).unwrap() < 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let task = format!("{}_2", id.trim());
    let killed = Command::new("scancel").args(["--signal=KILL", "--full", &task]).status().unwrap();
    assert!(killed.success());
    job.wait().unwrap();
    let alone = tilewise_nn::search::Study::minimize("alone").seed(11).open().unwrap();
    run(&alone, trials, 1, crash::objective);
    assert_eq!(essence(&study), essence(&alone), "no trial is lost, none is counted twice");
    for task in 0..4 {
        let log = std::fs::read_to_string(scratch.file(&format!("task-{task}.log"))).unwrap();
        assert!(log.contains(&format!("task {task} on ")), "{log}");
        assert_eq!(log.contains("test result: ok"), task != 2, "{log}");
    }
}

const KUBERNETES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/launch/kubernetes.yaml");
/// Holds every part of a manifest against Kubernetes' own schema; one with a wrong field is refused.
const VALIDATE: &str = "
import sys, yaml, kubernetes_validate as check
parts = list(yaml.safe_load_all(open(sys.argv[1])))
assert [part['kind'] for part in parts] == ['Service', 'Deployment', 'Job'], parts
for part in parts:
    check.validate(part, '1.33', strict=True)
parts[2]['spec']['completionMod'] = 'Indexed'
try:
    check.validate(parts[2], '1.33', strict=True)
except check.ValidationError:
    sys.exit()
sys.exit('a wrong field is not noticed')
";

#[test]
#[ignore = "needs a Python with kubernetes-validate: its path in TILEWISE_OPTUNA_PYTHON"]
fn a17_the_manifest_for_kubernetes_is_one() {
    let python = std::env::var("TILEWISE_OPTUNA_PYTHON").expect("TILEWISE_OPTUNA_PYTHON is set");
    let output = Command::new(python).args(["-c", VALIDATE, KUBERNETES]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
