//! Population-based training.

use crate::common::Scratch;
use tilewise_nn::Error;
use tilewise_nn::data::Minibatches;
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::*;
use tilewise_nn::search::{Lineage, Member, Param, Population, Space};

/// A network with batch normalisation on some of the digits, trained by momentum.
struct Network {
    model: Sequential,
    state: OptimizerState,
    train: Dataset,
    valid: Dataset,
}

impl Network {
    fn new(member: usize) -> Result<Self> {
        let (rest, valid) = digits()?.stratified_split(200, 1)?;
        let (_, train) = rest.stratified_split(300, 2)?;
        let layers = Sequential::new().linear(64, 16).batch_norm().relu().linear(16, 10);
        let model = layers.build(member as u64)?;
        Ok(Self { model, state: OptimizerState::new(), train, valid })
    }
}

impl Member for Network {
    /// Weights with the statistics of batch normalisation, and the optimiser's velocities.
    type State = (Vec<u8>, OptimizerState);

    fn train(&mut self, generation: usize, params: &[Param]) -> Result<f64> {
        let [alpha, beta] = [0, 1].map(|i| params[i].value().as_f64().unwrap());
        if alpha > 30.0 {
            return Err(Error::failed("that is too much"));
        }
        let optimizer = Sgd::momentum(beta).learning_rate(alpha);
        let mut batches = Minibatches::new(self.train.len(), 30, false)?;
        batches.shuffle(1, generation as u64);
        let loss = SoftmaxCrossEntropy::default();
        for rows in batches.iter() {
            let x = self.train.features().select_rows(rows)?;
            let labels: Vec<usize> = rows.iter().map(|&row| self.train.labels()[row]).collect();
            self.model.loss_and_gradients(&x, &labels, &loss)?;
            self.state.step(&optimizer, &mut self.model)?;
        }
        Ok(self.model.evaluate(&self.valid)?.loss)
    }

    fn save(&self) -> Result<Self::State> {
        Ok((self.model.to_safetensors()?, self.state.clone()))
    }

    fn load(&mut self, (weights, state): &Self::State) -> Result<()> {
        self.model.load_safetensors(weights, "a member")?;
        self.state = state.clone();
        Ok(())
    }
}

fn space() -> Space {
    let space = Space::new().log("alpha", 1e-5, 100.0).unwrap();
    space.one_minus_log("beta", 0.5, 0.99).unwrap()
}

fn population(workers: usize) -> (Vec<Network>, Lineage) {
    let population = Population::new(space(), 8, 8).seed(4).threads(workers).workers(workers);
    population.run(Network::new).unwrap()
}

#[test]
fn a13_a_population_copies_its_best_and_replays() {
    let (members, lineage) = population(1);
    let (again, same) = population(3);
    assert_eq!(lineage, same, "whatever the number of workers");
    for (a, b) in members.iter().zip(&again) {
        assert_eq!(a.save().unwrap().0, b.save().unwrap().0);
    }
    let best = lineage.best().unwrap();
    let cost = lineage.generations[7][best].cost;
    assert!(cost < 0.7, "{cost}");
    let worst = lineage.generations[0].iter().map(|turn| turn.cost).fold(0.0, f64::max);
    assert!(worst > 1.5, "some began badly: {worst}");
    let median = |generation: usize| {
        let mut costs: Vec<f64> = lineage.generations[generation].iter().map(|t| t.cost).collect();
        costs.sort_by(f64::total_cmp);
        costs[4]
    };
    assert!(median(7) < 0.6 * median(0), "{} {}", median(0), median(7));
    // What a copy trains with is that of its origin, times 0.8 or 1.2, or drawn anew.
    let mut copied = 0;
    for pair in lineage.generations.windows(2) {
        for (member, turn) in pair[1].iter().enumerate().filter(|(i, turn)| turn.from != *i) {
            copied += 1;
            assert!(pair[0][turn.from].cost < pair[0][member].cost);
        }
        for (member, turn) in pair[1].iter().enumerate().filter(|(i, turn)| turn.from == *i) {
            assert_eq!(turn.params, pair[0][member].params);
        }
    }
    assert!(copied >= 14, "a quarter in each of seven generations: {copied}");
    // Along its line of descent, one model becomes the best one, bit for bit.
    let (ancestor, turns) = lineage.ancestry(best);
    assert_eq!(turns.len(), 8);
    let mut single = Network::new(ancestor).unwrap();
    let replayed = lineage.replay(best, &mut single).unwrap();
    assert_eq!(replayed.to_bits(), cost.to_bits());
    assert_eq!(single.save().unwrap().0, members[best].save().unwrap().0);
}

#[test]
fn a13_a_lineage_is_read_back_as_it_was() {
    let scratch = Scratch::new("lineage");
    let path = scratch.file("dir/lineage.jsonl");
    let (_, lineage) = Population::new(space(), 3, 4).seed(1).run(|_| Ok(Parabola(1.0))).unwrap();
    lineage.save(&path).unwrap();
    assert_eq!(Lineage::load(&path).unwrap(), lineage);
    let text = std::fs::read_to_string(&path).unwrap();
    let second = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    std::fs::write(&path, second).unwrap();
    let error = Lineage::load(&path).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
    std::fs::write(&path, text.replacen("\"from\":2", "\"from\":9", 8)).unwrap();
    assert!(Lineage::load(&path).is_err());
}

/// Steps of a known size down a parabola; too large ones fail in several ways.
struct Parabola(f64);

impl Member for Parabola {
    type State = f64;

    fn train(&mut self, _: usize, params: &[Param]) -> Result<f64> {
        let alpha = params[0].value().as_f64().unwrap();
        if alpha > 10.0 {
            panic!("a step of {alpha}");
        }
        self.0 -= alpha * 2.0 * self.0;
        Ok(if alpha > 3.0 { f64::NAN } else { self.0 * self.0 })
    }

    fn save(&self) -> Result<f64> {
        Ok(self.0)
    }

    fn load(&mut self, state: &f64) -> Result<()> {
        self.0 = *state;
        Ok(())
    }
}

#[test]
fn a17_members_that_fail_are_replaced() {
    for seed in 0..20 {
        let population = Population::new(space(), 12, 6).seed(seed).workers(2);
        let (_, lineage) = population.run(|_| Ok(Parabola(1.0))).unwrap();
        for pair in lineage.generations.windows(2) {
            for (member, turn) in pair[0].iter().enumerate() {
                let replaced = pair[1][member].from != member;
                assert!(turn.cost.is_finite() || replaced);
                assert!(pair[0][pair[1][member].from].cost.is_finite());
            }
        }
    }
    let all_fail = Space::new().log("alpha", 20.0, 30.0).unwrap();
    let error = Population::new(all_fail, 3, 2).run(|_| Ok(Parabola(1.0))).map(drop).unwrap_err();
    assert!(error.to_string().contains("generation 0"), "{error}");
    assert!(Population::new(space(), 0, 1).run(|_| Ok(Parabola(1.0))).is_err());
}
