//! A loop of one's own over batches that a thread prepares, killed at any moment. The test program starts
//! itself as a worker.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::blobs;
use tilewise_nn::data::Pipeline;
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

const DIRECTORY: &str = "TILEWISE_TEST_STREAM";
const EPOCHS: u64 = 12;
/// Batches between two states.
const INTERVAL: usize = 4;
const ROWS: usize = 200;
/// After how many steps a worker stays where it is until it is killed: ten never come to the end, however
/// late that is.
const STEPS: usize = 14;
const LIMIT: &str = "TILEWISE_TEST_STREAM_STEPS";

/// Batches of examples, each with noise of its own that depends on its place in the epoch.
fn batches() -> Pipeline<(Matrix, Vec<usize>)> {
    let data = blobs(ROWS, 8, 4, 1.5);
    let examples = Pipeline::of((0..ROWS).collect()).shuffle(3).map(move |row: usize| {
        let mut random = Random::new(row as u64);
        let noisy = data.features().row(row).iter().map(|x| x + 0.1 * random.normal() as f32);
        Ok((noisy.collect::<Vec<f32>>(), data.labels()[row]))
    });
    let gathered = examples.batch(16, false).map(|batch| {
        let (rows, labels): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        Ok((Matrix::new(rows.concat(), labels.len(), 8)?, labels))
    });
    gathered.prefetch(3)
}

/// Epoch and batch of the last state in the directory, which the model becomes.
fn resume(directory: &Path, model: &mut Sequential) -> (u64, usize) {
    let names = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let Some(last) = names.filter(|name| name.ends_with(".weights")).max() else { return (0, 0) };
    model.load(directory.join(&last)).unwrap();
    let (epoch, batch) = last.trim_end_matches(".weights").split_once('-').unwrap();
    (epoch.parse().unwrap(), batch.parse().unwrap())
}

/// Trains to the end, from the last state where there is a directory; gives the weights.
fn train(directory: Option<&Path>) -> Vec<u8> {
    let plan = Sequential::new().linear(8, 16).batch_norm().relu().linear(16, 4);
    let mut model = plan.build(1).unwrap();
    let (first, mut skipped) = directory.map_or((0, 0), |path| resume(path, &mut model));
    let (pipeline, mut state) = (batches(), OptimizerState::new());
    let mut left = std::env::var(LIMIT).map_or(usize::MAX, |steps| steps.parse().unwrap());
    for epoch in first..EPOCHS {
        // The order of an epoch depends on its number alone: what was trained on is passed over.
        let skip = std::mem::take(&mut skipped);
        for (index, batch) in pipeline.epoch(epoch).enumerate().skip(skip) {
            let (x, labels) = batch.unwrap();
            model.loss_and_gradients(&x, &labels, &SoftmaxCrossEntropy::default()).unwrap();
            state.step(&Sgd::new(0.05), &mut model).unwrap();
            let Some(directory) = directory else { continue };
            std::thread::sleep(Duration::from_millis(1));
            // Noted before the state that passes it over: a kill between the two leaves no gap.
            let steps =
                fs::OpenOptions::new().create(true).append(true).open(directory.join("steps"));
            let place = epoch as usize * ROWS.div_ceil(16) + index;
            steps.and_then(|mut file| file.write_all(format!("{place}\n").as_bytes())).unwrap();
            if (index + 1).is_multiple_of(INTERVAL) {
                let name = format!("{epoch:03}-{:03}.weights", index + 1);
                model.save(directory.join(name)).unwrap();
            }
            left -= 1;
            if left == 0 {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    }
    model.to_safetensors().unwrap()
}

fn start(directory: &Path, steps: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "streams::worker", "--ignored"]).env(DIRECTORY, directory);
    command.env(LIMIT, steps.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Not a test of its own: what the next one starts and kills.
#[test]
#[ignore = "started by the test that kills it"]
fn worker() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    fs::write(directory.join("result"), train(Some(directory))).unwrap();
}

#[test]
fn d12_a_killed_stream_with_a_prefetching_thread_goes_on_to_the_same_bits() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stream");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let steps = || -> Vec<usize> {
        let text = fs::read_to_string(directory.join("steps")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut random = Random::new(5);
    for _ in 0..10 {
        let before = steps().len();
        let mut worker = start(&directory, STEPS);
        while steps().len() <= before && worker.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random.below(15_000) as u64));
        assert!(worker.try_wait().unwrap().is_none(), "it ended by itself");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    assert!(start(&directory, usize::MAX).wait().unwrap().success());
    let result = fs::read(directory.join("result")).unwrap();
    assert!(result == train(None), "the interrupted training came to something else");
    // Every batch was trained on, and none again that was an interval before the kill.
    let all = steps();
    let mut seen = all.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..EPOCHS as usize * 13).collect::<Vec<_>>());
    let back = all.windows(2).filter(|w| w[1] <= w[0]).map(|w| w[0] - w[1] + 1);
    assert!(back.max().unwrap() <= INTERVAL + 1);
}
