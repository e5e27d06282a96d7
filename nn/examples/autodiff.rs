//! Trains a network with a residual branch on the embedded handwritten digits, once by tapes and once by a
//! plan of the same code, compares the two bit for bit, and prints what the plan consists of.
//!
//! ```text
//! cargo run --release --example autodiff
//! ```

use std::time::{Duration, Instant};

use tilewise_nn::autodiff::{Feed, Plan, Tape, Tensor, Var, Variable, Variables};
use tilewise_nn::optim::Adam;
use tilewise_nn::prelude::{Dataset, Error, Result, digits};
use tilewise_nn::random::Random;

const BATCH: usize = 64;
const EPOCHS: u64 = 20;
const HIDDEN: usize = 128;

/// A network is variables and a function of them.
struct Network {
    variables: Variables,
    /// Weights and biases of three linear layers.
    layers: [[Variable; 2]; 3],
}

impl Network {
    fn new(seed: u64) -> Result<Self> {
        let mut variables = Variables::new();
        let mut random = Random::new(seed);
        let mut layer = |inputs: usize, outputs: usize| -> Result<[Variable; 2]> {
            let deviation = (2.0 / inputs as f64).sqrt();
            let weights = (0..inputs * outputs).map(|_| (deviation * random.normal()) as f32);
            let weights = Tensor::new(weights.collect(), &[outputs, inputs])?;
            Ok([variables.add(weights), variables.add(Tensor::zeros(&[outputs])?)])
        };
        let layers = [layer(64, HIDDEN)?, layer(HIDDEN, HIDDEN)?, layer(HIDDEN, 10)?];
        Ok(Self { variables, layers })
    }

    fn logits<'t>(&self, tape: &'t Tape, x: Tensor) -> Var<'t> {
        let [first, branch, last] =
            self.layers.map(|layer| layer.map(|at| tape.watch(&self.variables, at)));
        let linear = |x: Var<'t>, [weights, bias]: [Var<'t>; 2]| x.matmul_t(weights) + bias;
        let hidden = linear(tape.input("x", x), first).relu();
        let hidden = hidden + linear(hidden, branch).tanh();
        linear(hidden, last)
    }

    fn loss<'t>(&self, tape: &'t Tape, batch: &Dataset) -> Var<'t> {
        let logits = self.logits(tape, batch.features().into());
        logits.softmax_cross_entropy(tape.labels("y", batch.labels()))
    }

    fn accuracy(&self, test: &Dataset) -> Result<f64> {
        let tape = Tape::new();
        let logits = self.logits(&tape, test.features().into()).value()?;
        let best =
            |row: &[f32]| (0..10).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        let rows = logits.data().chunks_exact(10).zip(test.labels());
        let hits = rows.filter(|(row, label)| best(row) == **label).count();
        Ok(hits as f64 / test.len() as f64)
    }
}

/// The batches of all epochs, as many rows in each.
fn batches(train: &Dataset) -> Result<Vec<Dataset>> {
    let mut all = Vec::new();
    for epoch in 0..EPOCHS {
        let mut order: Vec<usize> = (0..train.len()).collect();
        Random::new(7).stream(epoch).shuffle(&mut order);
        for rows in order.chunks_exact(BATCH) {
            let labels = rows.iter().map(|&row| train.labels()[row]).collect();
            all.push(Dataset::new(train.features().select_rows(rows)?, labels, 10)?);
        }
    }
    Ok(all)
}

fn by_tapes(network: &mut Network, batches: &[Dataset]) -> Result<Duration> {
    let start = Instant::now();
    for batch in batches {
        let tape = Tape::new();
        let gradients = network.loss(&tape, batch).gradients()?;
        network.variables.step(&Adam::default(), &gradients)?;
    }
    Ok(start.elapsed())
}

fn by_plan(network: &mut Network, batches: &[Dataset]) -> Result<Duration> {
    let start = Instant::now();
    let mut plan = Plan::training(Adam::default(), |tape| network.loss(tape, &batches[0]))?;
    for batch in batches {
        let x = Feed::values("x", batch.features().data());
        plan.run(&mut network.variables, &[x, Feed::labels("y", batch.labels())])?;
    }
    let time = start.elapsed();
    println!("{}\n", plan.explain());
    Ok(time)
}

fn main() -> Result<()> {
    let (train, test) = digits()?.stratified_split(360, 1)?;
    let batches = batches(&train)?;
    let [mut eager, mut planned] = [Network::new(1)?, Network::new(1)?];
    let times = [by_tapes(&mut eager, &batches)?, by_plan(&mut planned, &batches)?];
    let pairs = eager.layers.as_flattened().iter().zip(planned.layers.as_flattened());
    for (one, other) in pairs {
        if eager.variables.data(*one)? != planned.variables.data(*other)? {
            return Err(Error::failed("plan and tape trained different networks"));
        }
    }
    let [tape, plan] = times.map(|time| batches.len() as f64 / time.as_secs_f64());
    let accuracy = planned.accuracy(&test)?;
    println!("autodiff: accuracy={accuracy:.4} steps_per_s={plan:.0} by_tapes={tape:.0}");
    Ok(())
}
