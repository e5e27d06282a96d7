//! Peers in processes of their own: good ones are timed, bad ones are left out, the rest goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tilewise_benches::contest::{self, Timed};
use tilewise_benches::measure::{Clock, Effort};
use tilewise_benches::worker::{Order, Worker};
use tilewise_benches::{Case, Implementation, Who, cases};
use tilewise_kernels::Isa;

/// A process started by one test while another one writes a script would keep that open, and a script that
/// is open cannot be started.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program for the shell that answers each line that it reads.
fn script(name: &str, answers: &str) -> String {
    let path = format!("{}/{name}.sh", env!("CARGO_TARGET_TMPDIR"));
    let text = format!(
        "#!/bin/sh\nwhile read -r line; do\ncase \"$line\" in\n*hello*) echo \
         '{{\"name\":\"{name}\",\"version\":\"1.2\",\"variants\":[\"{name}\"]}}';;\n{answers}\n\
         *) echo '{{\"ok\":true}}';;\nesac\ndone\n"
    );
    fs::write(&path, text).expect("a file in the target directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an own file");
    path
}

fn recruit(name: &str, answers: &str) -> Worker {
    let order = Order::named(&script(name, answers), 1);
    let (version, mut variants) = Worker::recruit(&order).expect("a worker that answers");
    assert_eq!((version.as_str(), variants.len()), ("1.2", 1));
    variants.remove(0)
}

const SOME_TIME: &str = "*time*) echo '{\"seconds\":0.25}';;";

fn small() -> Case {
    cases::find("gemm/f32/8x8x8").expect("any shape")
}

/// Ours beside workers.
fn hold(workers: &mut [Worker]) -> Vec<Timed> {
    let ours = Implementation::serial(Who::Tilewise(Isa::best().expect("a path")));
    let effort = Effort { rounds: 3, sample: Duration::from_micros(50) };
    contest::hold(&small(), &[ours], workers, effort, Clock::Thread)
}

fn names(timed: &[Timed]) -> Vec<&str> {
    timed.iter().skip(1).map(|one| one.name.as_str()).collect()
}

#[test]
fn a_good_worker_is_timed_in_every_round() {
    let _alone = alone();
    let timed = hold(&mut [recruit("good", SOME_TIME)]);
    assert_eq!(names(&timed), ["good"]);
    assert_eq!(timed[1].samples, [0.25; 3]);
    assert!(timed[0].ours && !timed[1].ours && timed[0].samples.len() == 3);
}

#[test]
fn bad_workers_are_left_out_and_the_rest_goes_on() {
    let _alone = alone();
    let wrong = "*prepare*) echo '{\"error\":\"its result is wrong\"}';;";
    let other = "*prepare*) echo '{\"absent\":\"no such op\"}';;";
    let garbled = "*time*) echo 'ready when you are';;";
    let backwards = "*time*) echo '{\"seconds\":-1.0}';;";
    let dying = "*time*) exit 3;;";
    let mut workers = [
        recruit("wrong", wrong),
        recruit("other", other),
        recruit("garbled", garbled),
        recruit("backwards", backwards),
        recruit("dying", dying),
        recruit("last", SOME_TIME),
    ];
    assert_eq!(names(&hold(&mut workers)), ["last"]);
    // Those that died have a new process by now, and those that were wrong are asked again.
    assert_eq!(names(&hold(&mut workers)), ["last"]);
}

#[test]
fn a_worker_that_fails_later_loses_its_place() {
    let _alone = alone();
    // A file counts the calls: the fourth fails, after one to choose their number and some rounds.
    let count = format!("{}/calls", env!("CARGO_TARGET_TMPDIR"));
    let _ = fs::remove_file(&count);
    let answers = format!(
        "*time*) echo x >> {count}; if [ $(wc -l < {count}) -gt 2 ]; then exit 1; fi; echo \
         '{{\"seconds\":0.25}}';;"
    );
    let timed = hold(&mut [recruit("later", &answers), recruit("steady", SOME_TIME)]);
    assert_eq!(names(&timed), ["steady"]);
}

#[test]
fn what_cannot_be_recruited_says_why() {
    let _alone = alone();
    let missing = Worker::recruit(&Order::named("./no/such/program", 1)).expect_err("no program");
    assert!(missing.contains("./no/such/program could not be started"), "{missing}");
    let silent = Worker::recruit(&Order::named("/bin/true", 1)).expect_err("no answer");
    assert!(!silent.is_empty(), "{silent}");
    let unable = script("unable", "").replace(".sh", "-2.sh");
    let said = "#!/bin/sh\nread -r line; echo '{\"error\":\"not installed\"}'\n";
    fs::write(&unable, said).expect("a file in the target directory");
    fs::set_permissions(&unable, fs::Permissions::from_mode(0o755)).expect("an own file");
    assert_eq!(Worker::recruit(&Order::named(&unable, 1)).expect_err("an error"), "not installed");
}
