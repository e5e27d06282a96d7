//! Trainings that are killed, and files of their state. The test program starts itself as a worker.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::blobs;
use tilewise_nn::optim::Dials;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;
use tilewise_nn::{Callback, Epoch, Session, Snapshot};

const DIRECTORY: &str = "TILEWISE_TEST_CHECKPOINTS";
const INTERVAL: u64 = 7;
/// How often a training is killed, and after how many steps it stays where it is until that is done: a
/// worker never comes to the end before its last start, however late it is killed.
const KILLS: u64 = 15;
const STEPS: usize = 10;
const LIMIT: &str = "TILEWISE_TEST_STEPS";

fn network(seed: u64) -> Sequential {
    let plan = Sequential::new().linear(8, 16).batch_norm().relu().dropout(0.2).linear(16, 4);
    plan.build(seed).unwrap()
}

fn trainer() -> Trainer<Adam> {
    Trainer::new(Adam::adamw(0.01))
        .schedule(Schedule::cosine(40.0).smoothly())
        .epochs(40)
        .batch_size(25)
        .accumulate(2)
        .seed(5)
}

/// Takes a moment for every step, writes it down, and turns the dials as a function of the step. Waits to
/// be killed when there are no steps left.
struct Slow {
    path: Option<PathBuf>,
    left: usize,
}

impl Callback for Slow {
    fn step(&mut self, session: &mut Session<'_>) -> Result<()> {
        let step = session.steps();
        if step.is_multiple_of(11) {
            let (learning_rate, momentum) = (Some(1e-3 / (step as f64).sqrt()), Some(0.85));
            session.turn(Dials { learning_rate, momentum, weight_decay: Some(0.02) })?;
        }
        let Some(path) = &self.path else { return Ok(()) };
        std::thread::sleep(Duration::from_millis(1));
        // At the end and in one go: a file that is written anew is empty for a moment.
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(format!("{step}\n").as_bytes()))
            .map_err(|error| Error::io(path, error))?;
        self.left -= 1;
        if self.left == 0 {
            std::thread::sleep(Duration::from_secs(3600));
        }
        Ok(())
    }
}

/// Trains to the end; gives the weights and the history's bits as text.
fn train(directory: &Path, checkpoints: bool) -> String {
    let data = blobs(200, 8, 4, 1.0);
    let (train, valid) = data.stratified_split(40, 1).unwrap();
    let mut model = network(1);
    let mut trainer = trainer();
    if checkpoints {
        trainer = trainer.checkpoints(directory.join("state"), INTERVAL);
    }
    let left = std::env::var(LIMIT).map_or(usize::MAX, |steps| steps.parse().unwrap());
    let mut slow = Slow { path: checkpoints.then(|| directory.join("steps")), left };
    let mut early = EarlyStopping::new(30);
    let mut best = KeepBest::new().file(directory.join("best"));
    let callbacks: &mut [&mut dyn Callback] = &mut [&mut slow, &mut early, &mut best];
    let history = trainer.fit_with(&mut model, &train, &valid, callbacks).unwrap();
    let bits = history.epochs.iter().map(|epoch| {
        let Epoch { train_loss, valid_loss, learning_rate, .. } = epoch;
        [*train_loss, *valid_loss, learning_rate.unwrap()].map(f64::to_bits)
    });
    let bits: Vec<_> = bits.collect();
    format!("{:?}\n{bits:?}\n{:?}", model.to_safetensors().unwrap(), history.stopped)
}

fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Not a test of its own: what the next one starts and kills.
#[test]
#[ignore = "started by the test that kills it"]
fn worker() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let result = train(directory, true);
    fs::write(directory.join("result"), result).unwrap();
}

fn start(directory: &Path, steps: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "checkpoints::worker", "--ignored"]).env(DIRECTORY, directory);
    command.env(LIMIT, steps.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn d18_a_killed_training_goes_on_to_the_same_bits() {
    let expected = train(&scratch("uninterrupted"), false);
    let directory = scratch("killed");
    let steps = || -> Vec<u64> {
        let text = fs::read_to_string(directory.join("steps")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut random = Random::new(3);
    for _ in 0..KILLS {
        let before = steps().len();
        let mut worker = start(&directory, STEPS);
        // Kill it at a random moment of its work.
        while steps().len() <= before && worker.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random.below(15_000) as u64));
        assert!(worker.try_wait().unwrap().is_none(), "it ended by itself");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    assert!(start(&directory, usize::MAX).wait().unwrap().success());
    let result = fs::read_to_string(directory.join("result")).unwrap();
    assert!(result == expected, "the interrupted training came to something else");
    // A step that was lost was taken anew at most an interval later. The last line may be half.
    let all = steps();
    let back: Vec<u64> = all.windows(2).filter(|w| w[1] <= w[0]).map(|w| w[0] - w[1]).collect();
    assert!(!back.is_empty() && back.iter().all(|&lost| lost < INTERVAL), "{back:?}");
    let mut left: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|f| f.unwrap().file_name()).collect();
    left.retain(|name| name.to_string_lossy().starts_with("state"));
    assert_eq!(left, ["state"], "halves were left");
}

#[test]
fn d18_a_finished_training_is_not_repeated_and_a_longer_one_goes_on() {
    let data = blobs(100, 8, 4, 2.0);
    let file = scratch("longer").join("state");
    let run = |epochs, broken| {
        let mut model = network(1);
        if broken {
            model.layer_parameters_mut(0)[0].value.fill(f32::NAN);
        }
        let trainer = Trainer::new(Adam::default()).epochs(epochs).batch_size(25);
        let history = trainer.checkpoints(&file, 100).fit(&mut model, &data, &data).unwrap();
        (model.to_safetensors().unwrap(), history.epochs.len())
    };
    let (two, _) = run(2, false);
    // Whatever the weights are: they come from the file.
    assert!(run(2, true) == (two, 2), "trained again");
    let (four, epochs) = run(4, true);
    assert_eq!(epochs, 4);
    fs::remove_file(&file).unwrap();
    assert!(run(4, false).0 == four, "another model");
}

#[test]
fn d18_a_checkpoint_of_another_training_is_refused_by_name() {
    let data = blobs(100, 8, 4, 2.0);
    let file = scratch("other").join("state");
    let trainer = Trainer::new(Adam::default()).epochs(1).batch_size(25).checkpoints(&file, 1);
    trainer.fit(&mut network(1), &data, &data).unwrap();
    let state = fs::read(&file).unwrap();
    let error = |trainer: &Trainer<Adam>, model: &mut Sequential, data: &Dataset| {
        let before = model.to_safetensors().unwrap();
        let error = trainer.fit(model, data, data).unwrap_err().to_string();
        assert_eq!(model.to_safetensors().unwrap(), before);
        assert_eq!(fs::read(&file).unwrap(), state, "{error}");
        error
    };
    let message = error(&trainer.clone().batch_size(20), &mut network(1), &data);
    assert!(message.contains("batch size of the training: expected 20") && message.ends_with("25"));
    assert!(message.contains("remove the file to start anew"), "{message}");
    let message = error(&trainer, &mut network(1), &blobs(96, 8, 4, 2.0));
    assert!(message.contains("training data of the training"), "{message}");
    let mut other = Sequential::new().linear(8, 4).build(1).unwrap();
    let message = error(&trainer, &mut other, &data);
    assert!(message.contains("state of the optimizer"), "{message}");
    let sgd = Trainer::new(Sgd::new(0.1)).epochs(1).batch_size(25).checkpoints(&file, 1);
    let message = sgd.fit(&mut network(1), &data, &data).unwrap_err().to_string();
    assert!(message.contains("state of the optimizer"), "{message}");
    let message = error(&trainer.checkpoints(&file, 0), &mut network(1), &data);
    assert_eq!(message, "steps between checkpoints: expected at least 1, got 0");
}

#[test]
fn d18_a_snapshot_survives_its_file_and_no_damage_panics() {
    let data = blobs(50, 8, 4, 2.0);
    let file = scratch("bytes").join("state");
    let trainer = Trainer::new(Adam::default()).epochs(1).checkpoints(&file, 1);
    trainer.fit(&mut network(1), &data, &data).unwrap();
    let bytes = fs::read(&file).unwrap();
    let snapshot = Snapshot::<f32>::from_bytes(&bytes, "state").unwrap();
    assert_eq!(snapshot.to_bytes().unwrap(), bytes);
    assert_eq!(snapshot.steps(), 1);
    let error = Snapshot::<f64>::from_bytes(&bytes, "state").unwrap_err().to_string();
    assert!(
        error.starts_with("state: contents: expected the state of a training in F64"),
        "{error}"
    );
    let weights = network(1).to_safetensors().unwrap();
    let error = Snapshot::<f32>::from_bytes(&weights, "weights").unwrap_err().to_string();
    assert!(error.contains("as a file of weights"), "{error}");
    for cut in 0..bytes.len() {
        assert!(Snapshot::<f32>::from_bytes(&bytes[..cut], "cut").is_err());
    }
    for at in 0..bytes.len().min(3000) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        // It may still be a state; it must not panic.
        let _ = Snapshot::<f32>::from_bytes(&flipped, "flipped");
    }
}
