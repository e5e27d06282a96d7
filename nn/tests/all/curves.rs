//! Histories in files: lines of JSON, a page, TensorBoard's events.

use std::path::{Path, PathBuf};

use crate::common::blobs;
use tilewise_nn::prelude::*;
use tilewise_nn::{EventFile, TensorBoard, sparkline};

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn d15_histories_are_lines_of_json_and_pages() {
    let data = blobs(100, 8, 4, 2.0);
    let mut model = Sequential::new().linear(8, 4).build(1).unwrap();
    let trainer = Trainer::new(Adam::default()).epochs(3);
    let history = trainer.fit(&mut model, &data, &data).unwrap();
    let directory = scratch("curves");
    history.save_jsonl(directory.join("h.jsonl")).unwrap();
    let text = std::fs::read_to_string(directory.join("h.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (index, (line, epoch)) in lines.iter().zip(&history.epochs).enumerate() {
        assert_eq!(line["epoch"], index + 1);
        assert_eq!(line["train_loss"].as_f64().unwrap().to_bits(), epoch.train_loss.to_bits());
        assert_eq!(line["learning_rate"], 0.001);
    }
    history.save_html(directory.join("h.html")).unwrap();
    let page = std::fs::read_to_string(directory.join("h.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("<polyline") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<tr><td>").count(), 3);
    assert!(
        !page.contains("http://")
            || page.matches("http").count() == page.matches("www.w3.org").count()
    );
}

#[test]
fn a_sparkline_shows_the_course() {
    assert_eq!(sparkline(&[8.0, 4.0, 2.0, 1.0, f64::NAN, 1.0]), "█▄▂▁ ▁");
    assert_eq!((sparkline(&[]), sparkline(&[3.0, 3.0])), (String::new(), "▁▁".to_owned()));
}

/// The events of a file: records whose lengths fit, without the first one.
fn events(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while let Some((len, tail)) = rest.split_first_chunk::<8>() {
        let len = u64::from_le_bytes(*len) as usize;
        events.push(tail[4..][..len].to_vec());
        rest = &tail[4 + len + 4..];
    }
    assert!(events[0].ends_with(b"brain.Event:2"));
    events.split_off(1)
}

#[test]
fn d17_events_have_the_bytes_of_the_format() {
    let directory = scratch("events");
    let mut file = EventFile::create(&directory).unwrap();
    file.scalar("loss", 300, 0.5).unwrap();
    file.flush().unwrap();
    let path = file.path().to_owned();
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    let events = events(&path);
    assert_eq!(events.len(), 1);
    // wall_time is field 1, of eight bytes; then step = 300 and a summary of one tag and a float.
    assert_eq!(events[0][0], 0x09);
    let expected = b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f";
    assert_eq!(events[0][9..], *expected);
}

#[test]
fn d17_a_training_is_written_as_events() {
    let data = blobs(128, 8, 4, 2.0);
    let mut model = Sequential::new().linear(8, 4).build(1).unwrap();
    let directory = scratch("board");
    let mut board = TensorBoard::new(&directory).loss_every(2).histograms();
    let trainer = Trainer::new(Sgd::new(0.1)).epochs(3).batch_size(32);
    trainer.fit_with(&mut model, &data, &data, &mut [&mut board]).unwrap();
    let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let events = events(&file);
    let with = |tag: &str| {
        let tagged = |event: &&Vec<u8>| event.windows(tag.len()).any(|w| w == tag.as_bytes());
        events.iter().filter(tagged).count()
    };
    // Twelve steps, of which every second is written; two tensors.
    assert_eq!(with("loss/minibatch"), 6);
    assert_eq!((with("loss/validation"), with("accuracy/validation")), (3, 3));
    assert_eq!((with("learning rate"), with("layer 0 linear/weight")), (3, 3));
    // And the graph.
    assert_eq!((with("Placeholder"), events.len()), (1, 1 + 6 + 3 * 4 + 3 * 2));
}
