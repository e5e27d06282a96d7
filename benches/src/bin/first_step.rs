//! How long a program takes from its start to its first finished training step, and the most memory it
//! has had by then.
//!
//! Without arguments it measures itself on 128 rows of 784-512-256-10 with batch norm and Adam, in
//! processes of their own, and prints the medians. With a command as arguments it measures that
//! instead: any program that prints a line behind its first step and then waits for its standard input.

use std::io::{BufRead, BufReader, Read, stdin};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use tilewise_nn::StepRule;
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::{Adam, Matrix, Sequential, SoftmaxCrossEntropy};

/// Processes that are measured.
const RUNS: usize = 9;
/// What this program is called with by itself.
const CHILD: &str = "--one-step";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [only] if only == CHILD => step(),
        [] => std::env::current_exe()
            .map_err(|error| error.to_string())
            .and_then(|own| report(&own.display().to_string(), &[CHILD.into()])),
        [program, rest @ ..] => report(program, rest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("first_step: {why}");
            ExitCode::FAILURE
        }
    }
}

/// One training step, a line, and then nothing until the input ends.
fn step() -> Result<(), String> {
    let run = || -> tilewise_nn::Result<f64> {
        let builder = Sequential::new().linear(784, 512).batch_norm().relu();
        let builder = builder.linear(512, 256).batch_norm().relu().linear(256, 10);
        let mut model = builder.build(1)?;
        let x = (0..128 * 784_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 65536.0);
        let x = Matrix::new(x.collect(), 128, 784)?;
        let labels: Vec<usize> = (0..128).map(|row| row % 10).collect();
        let (loss, adam) = (SoftmaxCrossEntropy::default(), Adam::default());
        let rule = StepRule { loss: &loss, optimizer: &adam, rate: 1.0 };
        model.train_step(&x, &labels, &rule, &mut OptimizerState::new())
    };
    println!("loss {:.4}", run().map_err(|error| error.to_string())?);
    stdin().read_to_end(&mut Vec::new()).map(drop).map_err(|error| error.to_string())
}

/// Milliseconds to the first line of a program, and its peak of memory by then in MiB.
fn measure(program: &str, arguments: &[String]) -> Result<[f64; 2], String> {
    let failed = |why: std::io::Error| format!("{program}: {why}");
    let start = Instant::now();
    let mut child = Command::new(program);
    let child = child.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    let mut line = String::new();
    let output = child.stdout.take().ok_or_else(|| format!("{program}: no output"))?;
    BufReader::new(output).read_line(&mut line).map_err(failed)?;
    let time = start.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).map_err(failed)?;
    drop(child.stdin.take());
    child.wait().map_err(failed)?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    match peak.filter(|_| !line.is_empty()) {
        Some(peak) => Ok([time.as_secs_f64() * 1e3, peak / 1024.0]),
        None => Err(format!("{program}: ended without a line, or its memory is not told")),
    }
}

fn report(program: &str, arguments: &[String]) -> Result<(), String> {
    let runs: Result<Vec<_>, _> = (0..RUNS).map(|_| measure(program, arguments)).collect();
    let runs = runs?;
    let median = |which: usize| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[which]).collect();
        values.sort_by(f64::total_cmp);
        values[RUNS / 2]
    };
    println!("first step after {:.1} ms, peak memory {:.1} MiB", median(0), median(1));
    Ok(())
}
