//! The templates that start workers on many machines.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

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
