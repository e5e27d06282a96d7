//! The burn framework as a worker of the benchmarks: training steps of networks of rows, `training_step`,
//! on its pure-Rust backend for CPUs. `benches/src/worker` describes the conversation.

mod network;
mod reference;
mod shape;

use std::error::Error;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use network::Step;
use serde_json::{Value, json};
use shape::Shape;

/// Calls for that long are not timed, as the protocol has it.
const WARM_UP: Duration = Duration::from_millis(10);

/// What tells a worker how many threads it may use.
const THREADS_VARIABLE: &str = "TILEWISE_WORKER_THREADS";

/// More threads than any machine pays for: so many cannot always be started.
const MOST_THREADS: usize = 1024;

/// The worker, and the only way in which it does things.
const NAME: &str = "burn";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let told = std::env::var(THREADS_VARIABLE).unwrap_or("1".into());
    let threads = told.parse().ok().filter(|threads| (1..=MOST_THREADS).contains(threads));
    let threads = threads.ok_or_else(|| {
        format!("{THREADS_VARIABLE}: expected a number from 1 to {MOST_THREADS}, got {told:?}")
    })?;
    // burn's loops and its products take the threads of this pool. This thread is one of them, so that one
    // thread hands nothing over.
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    let mut step = None;
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&line, threads, &mut step)));
        let reply = match answered {
            Ok(reply) => reply.unwrap_or_else(|error| json!({"error": error.to_string()})),
            Err(_) => {
                // It may be half done.
                step = None;
                json!({"error": "burn panicked; standard error has its message"})
            }
        };
        let mut replies = std::io::stdout().lock();
        writeln!(replies, "{reply}")?;
        replies.flush()?;
    }
    Ok(())
}

fn answer(line: &[u8], threads: usize, step: &mut Option<Step>) -> Result<Value> {
    let request: Value =
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))?;
    match request["ask"].as_str() {
        Some("hello") => Ok(json!({"name": NAME, "version": version(), "variants": [NAME]})),
        Some("prepare") => {
            *step = None;
            prepare(&request, step)
        }
        Some("time") => {
            let calls = request["calls"].as_u64().filter(|&calls| calls > 0);
            let calls = calls.ok_or_else(|| {
                format!("time: expected a number of calls above 0, got {}", request["calls"])
            })?;
            let step = step.as_mut().ok_or("time: expected a prepared case, got none")?;
            Ok(json!({"seconds": time(step, calls, threads).as_secs_f64()}))
        }
        Some("drop") => {
            *step = None;
            Ok(json!({"ok": true}))
        }
        _ => Err(format!("expected hello, prepare, time or drop, got {request}").into()),
    }
}

fn prepare(request: &Value, step: &mut Option<Step>) -> Result<Value> {
    let (case, variant) = (&request["case"], &request["variant"]);
    if variant != NAME {
        return Err(format!("variant: expected {NAME:?}, got {variant}").into());
    }
    let case = case.as_str().ok_or_else(|| format!("prepare: expected a case, got {case}"))?;
    let Some(Shape { rows, widths }) = Shape::of(case)? else {
        let does = "burn is here for training steps of networks of rows in f32 only";
        return Ok(json!({"absent": format!("{does}, not for {case}")}));
    };
    let mut ready = Step::new(rows, &widths);
    // With the optimiser, which must leave the weights as they are.
    ready.run();
    ready.check()?;
    *step = Some(ready);
    Ok(json!({"ok": true}))
}

/// What the lock file says: this is built with it.
fn version() -> &'static str {
    let rest = include_str!("../Cargo.lock").split_once("name = \"burn\"\nversion = \"");
    rest.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown version")
}

/// One thread is timed by the processor's time, which stands still while others have it.
fn time(step: &mut Step, calls: u64, threads: usize) -> Duration {
    let began = ProcessTime::now();
    step.run();
    while began.elapsed() < WARM_UP {
        step.run();
    }
    let (here, wall) = (ProcessTime::now(), Instant::now());
    for _ in 0..calls {
        step.run();
    }
    if threads == 1 { here.elapsed() } else { wall.elapsed() }
}
