//! TensorBoard's own reader on what is written for it, asked as in `others`.

use serde_json::Value as Json;
use tilewise_nn::prelude::*;
use tilewise_nn::{Callback, EventFile, Session, TensorBoard};

use crate::others::{ask, flat, numbers, scratch};

/// Keeps the loss of every step.
struct Losses(Vec<f64>);

impl Callback for Losses {
    fn step(&mut self, session: &mut Session<'_>) -> Result<()> {
        self.0.push(session.loss());
        Ok(())
    }
}

#[test]
#[ignore = "needs a Python with tensorboard: its path in TILEWISE_PYTHON"]
fn d17_tensorboards_reader_gets_back_what_was_logged() {
    let directory = scratch("with_tensorboard");
    let data = crate::common::blobs(128, 8, 4, 2.0);
    let plan = Sequential::new().linear(8, 8).batch_norm().relu();
    let plan = plan.residual(|body| body.linear(8, 8).relu()).linear(8, 4);
    let mut model = plan.build(1).unwrap();
    let mut board = TensorBoard::new(directory.join("board")).loss_every(1).histograms();
    let mut losses = Losses(Vec::new());
    let trainer = Trainer::new(Sgd::new(0.1)).epochs(3).batch_size(32);
    let history =
        trainer.fit_with(&mut model, &data, &data, &mut [&mut board, &mut losses]).unwrap();
    drop(board);
    // A second file of the same run, with values at the edges.
    let mut file = EventFile::create(directory.join("board")).unwrap();
    let own = [0.0, -1.5, 1e-30, 3e38];
    for (step, value) in own.into_iter().enumerate() {
        file.scalar("own", step as u64 * (1 << 40), value).unwrap();
    }
    file.flush().unwrap();

    let found = ask("tensorboard", &directory);
    let scalars = |tag: &str| flat(&found["scalars"][tag]);
    let course = |values: &[f64], every: u64| -> Vec<f64> {
        let step = |index: usize| ((index as u64 + 1) * every) as f64;
        values.iter().enumerate().flat_map(|(i, &v)| [step(i), f64::from(v as f32)]).collect()
    };
    assert_eq!(scalars("loss/minibatch"), course(&losses.0, 1));
    let by_epoch = |pick: fn(&tilewise_nn::Epoch) -> f64| -> Vec<f64> {
        course(&history.epochs.iter().map(pick).collect::<Vec<f64>>(), 4)
    };
    assert_eq!(scalars("loss/training"), by_epoch(|epoch| epoch.train_loss));
    assert_eq!(scalars("loss/validation"), by_epoch(|epoch| epoch.valid_loss));
    assert_eq!(scalars("accuracy/validation"), by_epoch(|epoch| epoch.valid_accuracy));
    assert_eq!(scalars("learning rate"), by_epoch(|_| 0.1));
    let expected: Vec<f64> = own
        .iter()
        .enumerate()
        .flat_map(|(i, &v)| [(i as u64 * (1 << 40)) as f64, f64::from(v as f32)])
        .collect();
    assert_eq!(scalars("own"), expected);
    // The last of three histograms is that of the trained weights.
    let histograms = found["histograms"]["layer 0 linear/weight"].as_array().unwrap();
    let weights = model.layers().next().unwrap().parameters()[0].value.clone();
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    let fold = |pick: fn(f64, f64) -> f64| weights.iter().copied().fold(weights[0], pick);
    let squares: f64 = weights.iter().map(|w| w * w).sum();
    let expected =
        [12.0, fold(f64::min), fold(f64::max), 64.0, weights.iter().sum(), squares, 64.0];
    assert_eq!(histograms.len(), 3);
    assert_eq!(numbers(&histograms[2]), expected);
    check_graph(&found["graph"], &model);
}

/// Layers, connections, sizes and numbers of weights.
fn check_graph(graph: &Json, model: &Sequential) {
    let summary = model.summary();
    let nodes = graph.as_array().unwrap();
    assert_eq!(nodes[0], serde_json::json!(["input", "Placeholder", [], [-1, 8], 0]));
    assert_eq!(nodes.len(), 1 + summary.rows.len());
    let name = |value: usize| nodes[value][0].clone();
    for (node, row) in nodes[1..].iter().zip(&summary.rows) {
        assert_eq!(node[0], row.name.replace(' ', "_"));
        let reads: Vec<Json> = row.reads.iter().map(|&value| name(value)).collect();
        assert_eq!(node[2], Json::from(reads), "{node}");
        assert_eq!(node[3], serde_json::json!([-1, row.outputs]));
        assert_eq!(node[4], row.parameters);
    }
    let adds = nodes.iter().filter(|node| node[2].as_array().unwrap().len() == 2).count();
    assert_eq!((adds, &nodes[2][1]), (1, &Json::from("batch_norm")));
}
