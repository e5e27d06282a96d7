//! Peers in processes of their own: good ones are timed, bad ones are left out, the rest goes on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tilewise_benches::cases::{Dtype, Family};
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
    let (told, mut variants) = Worker::recruit(&order).expect("a worker that answers");
    assert_eq!((told, variants.len()), ([name.into(), "1.2".into()], 1));
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
    // Beside each of our samples, and of nobody else's.
    assert_eq!(timed[0].peaks.iter().filter(|rate| **rate > 0.0).count(), 3);
    assert_eq!(timed[1].peaks, [0.0; 0]);
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

/// Whom to test that is not built here.
const PROGRAM_VARIABLE: &str = "TILEWISE_TEST_WORKER";

/// The program's answers to all these lines, until it ends by itself.
fn talk(program: &str, lines: &[&[u8]]) -> Vec<Value> {
    let mut command = Command::new(program);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut asked = child.stdin.take().expect("asked for a pipe");
    asked.write_all(&[&lines.join(&b'\n')[..], b"\n"].concat()).expect("somebody who listens");
    drop(asked);
    let done = child.wait_with_output().expect("an own child");
    assert!(done.status.success(), "{program}: {}", done.status);
    let text = String::from_utf8(done.stdout).expect("text");
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no answer: {line:?}"));
    text.lines().map(read).collect()
}

/// The smallest case of the suite that a worker does.
fn smallest(worker: &mut Worker) -> Case {
    let all = Family::ALL.into_iter().flat_map(|family| family.cases(Dtype::F32));
    let mut all: Vec<Case> = all.collect();
    all.sort_by_key(|case| case.flops + case.bytes);
    let does = |case: &Case| {
        let ready = worker.prepare(&case.id);
        ready.unwrap_or_else(|why| panic!("{}: {why}", case.id))
    };
    all.into_iter().find(does).expect("a case of f32 that it does")
}

#[test]
#[ignore = "needs a worker's program, whose path TILEWISE_TEST_WORKER holds"]
fn a_program_does_a_case_and_outlives_nonsense() {
    let _alone = alone();
    let program = std::env::var(PROGRAM_VARIABLE);
    let program = program.unwrap_or_else(|error| panic!("{PROGRAM_VARIABLE}: {error}"));
    let mut last = None;
    for threads in 1..=2 {
        let recruited = Worker::recruit(&Order::named(&program, threads));
        let ([name, version], mut workers) = recruited.expect("a worker that answers");
        assert!(!name.is_empty() && !name.contains('/') && !version.is_empty());
        let case = smallest(&mut workers[0]);
        let effort = Effort { rounds: 3, sample: Duration::from_micros(50) };
        let timed = contest::hold(&case, &[], &mut workers[..1], effort, Clock::of(threads));
        assert_eq!(timed.len(), 1, "{} was left out", case.id);
        assert_eq!((timed[0].name.clone(), timed[0].samples.len()), (workers[0].name(), 3));
        last = Some((case.id, name));
    }
    let (id, variant) = last.expect("two rounds");
    let (op, shape) = id.rsplit_once('/').expect("an id");
    let prepare = |case: &str, variant: &str| {
        json!({"ask": "prepare", "case": case, "variant": variant}).to_string()
    };
    let huge = prepare(&format!("{op}/99999999999x99999999999-99999999999"), &variant);
    let longer = prepare(&format!("{id}/more"), &variant);
    let (nobody, unknown) =
        (prepare(&id, "nobody"), prepare(&format!("sing/f32/{shape}"), &variant));
    let nonsense: [&[u8]; 12] = [
        b"what?",
        b"[1]",
        b"\xff\xfe",
        br#"{"ask":"sing"}"#,
        br#"{"ask":"prepare"}"#,
        br#"{"ask":"time","calls":1}"#,
        br#"{"ask":"time","calls":0}"#,
        br#"{"ask":"time","calls":-1}"#,
        nobody.as_bytes(),
        unknown.as_bytes(),
        huge.as_bytes(),
        longer.as_bytes(),
    ];
    let hello: &[u8] = br#"{"ask":"hello"}"#;
    let answers = talk(&program, &[&nonsense[..], &[hello]].concat());
    assert_eq!(answers.len(), nonsense.len() + 1, "{answers:?}");
    for (asked, answer) in nonsense.iter().zip(&answers) {
        let said = answer["error"].as_str().or(answer["absent"].as_str()).unwrap_or_default();
        let asked = String::from_utf8_lossy(asked);
        assert!(!said.is_empty(), "{asked}: expected an error or that it is absent, got {answer}");
    }
    assert!(answers[nonsense.len()]["version"].is_string(), "{answers:?}");
}
