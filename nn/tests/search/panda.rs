//! One training watched closely: nudges, states to go back to, and doing it all again.

use std::fs::{self, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::common::Scratch;
use tilewise_nn::prelude::*;
use tilewise_nn::search::{Change, Nudge, Panda};
use tilewise_nn::{Callback, Session};

fn data() -> Dataset {
    let (_, few) = digits().unwrap().stratified_split(200, 3).unwrap();
    few
}

/// Trains in the company of `callbacks`; gives the logits, which tell the bits of all weights and
/// statistics, with the losses of the epochs.
fn train(epochs: u64, callbacks: &mut [&mut dyn Callback]) -> Result<(Vec<u32>, Vec<f64>)> {
    let data = data();
    let layers = Sequential::new().linear(64, 8).batch_norm().relu().linear(8, 10);
    let mut model = layers.build(5)?;
    let trainer = Trainer::new(Sgd::momentum(0.9).learning_rate(0.05)).batch_size(20);
    let trainer = trainer.epochs(epochs).progress(false);
    let history = trainer.fit_with(&mut model, &data, &data, callbacks)?;
    let logits = model.logits(data.features())?;
    let losses = history.epochs.iter().map(|epoch| epoch.valid_loss).collect();
    Ok((logits.data().iter().map(|logit| logit.to_bits()).collect(), losses))
}

#[test]
fn a11_going_back_restores_every_bit() {
    let undisturbed = train(3, &mut []).unwrap();
    let mut panda = Panda::new()
        .at(13, "keep good")
        .and_then(|panda| panda.at(14, "learning_rate *100"))
        .and_then(|panda| panda.at(14, "momentum 0.5"))
        .and_then(|panda| panda.at(25, "back good"))
        .unwrap();
    assert_eq!(train(3, &mut [&mut panda]).unwrap(), undisturbed);
    let steps: Vec<u64> = panda.nudges().iter().map(|nudged| nudged.steps).collect();
    assert_eq!(steps, [13, 14, 14, 13]);
}

#[test]
fn a11_a_training_that_diverges_is_rescued_and_can_be_made_again() {
    let scratch = Scratch::new("panda-rescue");
    let journal = scratch.file("nudges.jsonl");
    let wild = || Panda::new().at(12, "keep good")?.at(13, "learning_rate 1e30");
    let error = train(3, &mut [&mut wild().unwrap()]).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");

    let mut panda = wild().and_then(|panda| panda.rescue(0.5, 2)).unwrap().journal(&journal);
    let rescued = train(3, &mut [&mut panda]).unwrap();
    assert_eq!(rescued.1.len(), 3);
    let text: Vec<String> = panda.nudges().iter().map(|nudged| nudged.nudge.to_string()).collect();
    let expected = ["keep good", "learning_rate 1000000000000000000000000000000", "back"];
    assert_eq!(text[..3], expected);
    assert_eq!(text[3..], ["learning_rate *0.5"]);
    assert!(panda.nudges()[2].diverged && panda.nudges()[2].steps == 12);

    let mut again = Panda::replay(&journal).unwrap();
    assert_eq!(train(3, &mut [&mut again]).unwrap(), rescued);
    assert_eq!(again.nudges(), panda.nudges());
    // Without the going back it fails as it did at first.
    fs::write(&journal, fs::read_to_string(&journal).unwrap().lines().next().unwrap()).unwrap();
    assert_ne!(train(3, &mut [&mut Panda::replay(&journal).unwrap()]).unwrap(), rescued);
}

/// Adds a line to a file after a step, as somebody would who watches.
struct Somebody {
    file: PathBuf,
    /// Steps seen, those included that were undone.
    moment: u64,
    lines: Vec<(u64, &'static str)>,
}

impl Callback for Somebody {
    fn step(&mut self, _: &mut Session<'_>) -> Result<()> {
        self.moment += 1;
        for (_, line) in self.lines.iter().filter(|(moment, _)| *moment == self.moment) {
            let mut file = OpenOptions::new().append(true).create(true).open(&self.file).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        Ok(())
    }
}

#[test]
fn a11_a_control_file_nudges_and_the_journal_replays() {
    let scratch = Scratch::new("panda-control");
    let [file, journal, page] = ["control", "nudges.jsonl", "page.html"].map(|n| scratch.file(n));
    fs::write(&file, "stop\n").unwrap();
    let lines = vec![
        (3, "learning_rate *0.5\nmomentum 0.95\n"),
        (5, "weight_decay 0.01"),
        (6, "\nlearning_rate much\n\n"),
        (9, "keep a\n"),
        (12, "back a\nback nowhere\nlearning_rate -1\n"),
        (15, "stop\n"),
    ];
    let mut somebody = Somebody { file: file.clone(), moment: 0, lines };
    let mut panda = Panda::new().control(&file).unwrap().journal(&journal).page(&page);
    let nudged = train(9, &mut [&mut somebody, &mut panda]).unwrap();
    let done = panda.nudges().iter().filter(|nudged| nudged.refused.is_none());
    let done: Vec<(u64, u64)> = done.map(|nudged| (nudged.moment, nudged.steps)).collect();
    assert_eq!(done, [(3, 3), (3, 3), (6, 6), (9, 9), (12, 9), (15, 12)]);
    let refused: Vec<&str> = panda.nudges().iter().filter_map(|n| n.refused.as_deref()).collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains("one of: start, a"), "{refused:?}");
    assert!(refused[1].contains("learning rate"), "{refused:?}");
    assert_eq!(panda.nudges()[0].nudge, Nudge::LearningRate(Change::Times(0.5)));

    let mut again = Panda::replay(&journal).unwrap();
    assert_eq!(train(9, &mut [&mut again]).unwrap(), nudged);
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("has ended") && !text.contains("http-equiv"), "{text}");
    assert!(text.contains("learning_rate *0.5") && text.contains("momentum 0.95"));
}

#[test]
fn a11_keys_nudge_and_wrong_lines_say_what_is_right() {
    for (key, nudge) in [
        ("+", Nudge::LearningRate(Change::Times(1.25))),
        (" - ", Nudge::LearningRate(Change::Times(0.8))),
        ("k", Nudge::Keep("key".into())),
        ("b", Nudge::Back(None)),
        ("q", Nudge::Stop),
        ("weight_decay 1e-4", Nudge::WeightDecay(Change::To(1e-4))),
    ] {
        let parsed: Nudge = key.parse().unwrap();
        assert_eq!(parsed, nudge);
        assert_eq!(parsed.to_string().parse::<Nudge>().unwrap(), nudge);
    }
    for wrong in ["", "learning_rate", "learning_rate NaN", "keep", "keep a b", "stop now"] {
        let error = wrong.parse::<Nudge>().unwrap_err().to_string();
        assert!(error.contains("learning_rate, momentum or weight_decay"), "{error}");
    }
    // What was typed before the first step is done after it.
    let (read, all) = channel();
    let mut panda = Panda::new().keys(BufReader::new(Typed { left: b"q\n", read }));
    let mut wait = Wait(all);
    let (_, losses) = train(3, &mut [&mut wait, &mut panda]).unwrap();
    assert!(losses.is_empty(), "stopped within the first epoch");
    assert!(Panda::<f32>::new().rescue(1.5, 1).is_err());
}

/// What was typed. Tells when somebody reads on behind it: then it was taken in.
struct Typed {
    left: &'static [u8],
    read: Sender<()>,
}

impl Read for Typed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left.is_empty() {
            let _ = self.read.send(());
        }
        self.left.read(buffer)
    }
}

/// Waits in the first step until everything was read.
struct Wait(Receiver<()>);

impl Callback for Wait {
    fn step(&mut self, session: &mut Session<'_>) -> Result<()> {
        if session.steps() == 1 {
            self.0.recv().unwrap();
        }
        Ok(())
    }
}
