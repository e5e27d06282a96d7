//! The parent's side: children that run in turns.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Reply, Request, THREADS_VARIABLE};

/// How long a worker may take to say who it is or to prepare: some compile for minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The environment variable that names the interpreter of Python workers.
const PYTHON_VARIABLE: &str = "TILEWISE_PYTHON";

/// How to start a worker.
#[derive(Debug, Clone)]
pub struct Order {
    /// What it is called until it says so itself.
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    threads: usize,
}

impl Order {
    /// A worker by its name on a command line: a program where that has a slash, a Python framework
    /// elsewhere.
    pub fn named(name: &str, threads: usize) -> Self {
        if name.contains('/') {
            return Self { name: name.into(), program: name.into(), arguments: vec![], threads };
        }
        let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = benches.join("peers/worker.py").to_string_lossy().into_owned();
        let own = benches.join("../target/peers/bin/python");
        let python = match std::env::var_os(PYTHON_VARIABLE) {
            Some(python) => python.into(),
            None if own.exists() => own,
            None => "python3".into(),
        };
        Self { name: name.into(), program: python, arguments: vec![script, name.into()], threads }
    }

    /// This program again, with a native library as `worker <name>`.
    ///
    /// # Errors
    /// If the system does not tell where this program is.
    pub fn native(name: &str, threads: usize) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(Self {
            name: name.into(),
            program,
            arguments: vec!["worker".into(), name.into()],
            threads,
        })
    }
}

/// One way of one library to do things, in a process of its own, which starts when it is first needed and
/// again after it has died.
#[derive(Debug)]
pub struct Worker {
    order: Order,
    variant: String,
    process: Option<Process>,
}

impl Worker {
    /// Starts a worker and asks who it is: its name and version, and one worker for each of its variants.
    ///
    /// # Errors
    /// If it cannot be started or gives no sensible answer.
    pub fn recruit(order: &Order) -> Result<([String; 2], Vec<Self>), String> {
        let mut process = Process::start(order)?;
        let (name, version, variants) = match process.ask(&Request::Hello)? {
            Reply::Hello { name, version, variants } if !variants.is_empty() => {
                (name, version, variants)
            }
            Reply::Error { error } => return Err(error),
            other => return Err(format!("expected its name and variants, got {other:?}")),
        };
        process.stop();
        let mut process = Some(process);
        // The first variant takes the process that runs already.
        let worker = |variant| Self { order: order.clone(), variant, process: process.take() };
        Ok(([name, version], variants.into_iter().map(worker).collect()))
    }

    /// As in benchmark ids.
    pub fn name(&self) -> String {
        match self.order.threads {
            1 => self.variant.clone(),
            threads => format!("{}-{threads}threads", self.variant),
        }
    }

    /// How many threads it may use.
    pub fn threads(&self) -> usize {
        self.order.threads
    }

    /// Has it build a case and check its result; false where it does not do such cases.
    ///
    /// # Errors
    /// If its result is wrong or it fails.
    pub fn prepare(&mut self, case: &str) -> Result<bool, String> {
        let (case, variant) = (case.to_owned(), self.variant.clone());
        match self.ask(&Request::Prepare { case, variant })? {
            Reply::Done { ok: true } => Ok(true),
            Reply::Absent { .. } => Ok(false),
            Reply::Error { error } => Err(error),
            other => Err(format!("expected that it is ready, got {other:?}")),
        }
    }

    /// The seconds that so many calls take.
    ///
    /// # Errors
    /// If it fails.
    pub fn time(&mut self, calls: usize) -> Result<f64, String> {
        match self.ask(&Request::Time { calls })? {
            Reply::Time { seconds } if seconds > 0.0 && seconds.is_finite() => Ok(seconds),
            Reply::Error { error } => Err(error),
            other => Err(format!("expected a time, got {other:?}")),
        }
    }

    /// Has it free the case's memory.
    pub fn drop_case(&mut self) {
        if self.process.is_some() {
            // One that fails here has been ended, and starts again when it is needed.
            let _ = self.ask(&Request::Drop);
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.order)?,
        };
        let reply = process.ask(request)?;
        process.stop();
        self.process = Some(process);
        Ok(reply)
    }
}

/// A running child. Dropping it ends it and what it has started.
#[derive(Debug)]
struct Process {
    child: Child,
    group: Pid,
    requests: ChildStdin,
    replies: Receiver<String>,
}

impl Process {
    fn start(order: &Order) -> Result<Self, String> {
        let mut command = Command::new(&order.program);
        command.args(&order.arguments).env(THREADS_VARIABLE, order.threads.to_string());
        // A group of its own, so that helpers that it starts stop with it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let could_not = |error| format!("{} could not be started: {error}", order.name);
        let mut child = command.spawn().map_err(could_not)?;
        let requests = child.stdin.take().expect("asked for a pipe");
        let replies = BufReader::new(child.stdout.take().expect("asked for a pipe"));
        let group = Pid::from_child(&child);
        let (sender, receiver) = channel();
        // Reading has no time limit; waiting for another thread has.
        std::thread::spawn(move || {
            for line in replies.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, group, requests, replies: receiver })
    }

    /// Wakes it, asks, and waits for the answer.
    fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        self.signal(Signal::CONT);
        let text = serde_json::to_string(request).map_err(|error| error.to_string())?;
        let sent = writeln!(self.requests, "{text}").and_then(|()| self.requests.flush());
        sent.map_err(|error| self.epitaph(&error.to_string()))?;
        let line = self.replies.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer within {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => self.epitaph("it said nothing more"),
        })?;
        serde_json::from_str(&line).map_err(|_| format!("not an answer: {line:?}"))
    }

    /// Nothing of it runs until it is asked again.
    fn stop(&self) {
        self.signal(Signal::STOP);
    }

    fn signal(&self, signal: Signal) {
        // Fails only where the child has ended, which the next question tells.
        let _ = kill_process_group(self.group, signal);
    }

    /// Adds how it ended, if it has.
    fn epitaph(&mut self, why: &str) -> String {
        for _ in 0..10 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return format!("{why} ({status})");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        why.into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // Leaves no zombie; a child that has been waited for already is no error.
        let _ = self.child.wait();
    }
}
