//! The tree-structured Parzen estimator.

use crate::error::{Error, Result};
use crate::portable::{exp, ln};
use crate::random::Random;
use crate::search::distribution::Distribution;
use crate::search::history::History;
use crate::search::record::State;
use crate::search::sampler::{Ask, Sampler};

/// Trials drawn at random before there is anything to learn from.
const STARTUP: usize = 10;
/// Draws among which the most promising is taken.
const CANDIDATES: u64 = 24;
/// The good ones are a tenth of all, and at most this many.
const MAX_GOOD: usize = 25;
/// As many of the others as are looked at: a regular sample of them, so that a draw costs the same in
/// the ten-thousandth trial as in the five-hundredth.
const MAX_OTHERS: usize = 256;
/// The scale of a logistic distribution with standard deviation 1: √3/π.
const LOGISTIC: f64 = 0.551_328_895_421_792_1;

/// The tree-structured Parzen estimator: values are drawn near those of the best tenth of all trials
/// and away from the others, for every parameter by itself.
///
/// Bergstra, Bardenet, Bengio and Kégl, "Algorithms for hyper-parameter optimization", NIPS 2011,
/// section 4; kernel widths are the distances of neighbours, as there. The kernels are logistic rather
/// than normal: nearly the same shape, with an elementary distribution function. Trials that run count
/// among the others, so that workers keep apart; so do those that failed.
#[derive(Debug, Clone, Copy)]
pub struct Tpe {
    startup: usize,
    batch: u64,
}

impl Default for Tpe {
    fn default() -> Self {
        Self { startup: STARTUP, batch: 0 }
    }
}

impl Tpe {
    /// Sets how many trials are random before it begins (10).
    #[must_use]
    pub fn startup(self, startup: usize) -> Self {
        Self { startup, ..self }
    }

    /// Draws `batch` trials at a time, each batch after the one before has ended. That makes results
    /// the same for any number of workers, which otherwise only one worker gives.
    ///
    /// # Errors
    /// If `batch` is 0.
    pub fn batch(self, batch: u64) -> Result<Self> {
        if batch == 0 {
            return Err(Error::argument("batch of trials", "at least 1", batch));
        }
        Ok(Self { batch, ..self })
    }
}

impl Sampler for Tpe {
    fn position(&self, ask: &Ask<'_>, history: &History<'_>) -> Result<f64> {
        let known = match self.batch {
            0 => history.trials().len(),
            _ => history.trials().len().min(self.waits_for(ask.trial) as usize),
        };
        let before = &history.trials()[..known];
        let mut random = ask.random();
        let rankable = history.finished().min(known);
        if rankable < self.startup.max(2) {
            return Ok(random.uniform());
        }
        let wanted = rankable.div_ceil(10).min(MAX_GOOD);
        let ranked = history.ranked().filter(|trial| (trial.number as usize) < known);
        let ends = ask.distribution.ends();
        let asked = |kept: f64| ask.distribution.position_between(kept, ends);
        let (mut numbers, mut good) = (Vec::new(), Vec::new());
        for trial in ranked {
            if let Some(param) = trial.param(ask.name) {
                numbers.push(trial.number);
                good.push(asked(param.kept));
                if good.len() == wanted {
                    break;
                }
            }
        }
        if good.is_empty() {
            return Ok(random.uniform());
        }
        let others: Vec<f64> = before
            .iter()
            .step_by(known.div_ceil(MAX_OTHERS))
            .filter(|trial| trial.state != State::Waiting && trial.number != ask.trial)
            .filter(|trial| !numbers.contains(&trial.number))
            .filter_map(|trial| Some(asked(trial.param(ask.name)?.kept)))
            .collect();
        if let Distribution::Choice(choices) = ask.distribution {
            return Ok(choose(choices.len(), &good, &others, &mut random));
        }
        let (good, others) = (Parzen::new(good), Parzen::new(others));
        let promise = |position: f64| good.density(position) / others.density(position);
        Ok(best_of((0..CANDIDATES).map(|_| good.draw(&mut random)), promise))
    }

    fn waits_for(&self, trial: u64) -> u64 {
        trial.checked_div(self.batch).map_or(0, |batches| batches * self.batch)
    }
}

fn best_of(candidates: impl Iterator<Item = f64>, promise: impl Fn(f64) -> f64) -> f64 {
    let mut best = (f64::NEG_INFINITY, 0.5);
    for candidate in candidates {
        let promise = promise(candidate);
        if promise > best.0 {
            best = (promise, candidate);
        }
    }
    best.1
}

/// The same for things without order: how often each was chosen, one more than counted.
fn choose(choices: usize, good: &[f64], others: &[f64], random: &mut Random) -> f64 {
    let cell = |position: f64| ((position * choices as f64) as usize).min(choices - 1);
    let weights = |positions: &[f64]| {
        let mut counts = vec![1.0; choices];
        positions.iter().for_each(|&position| counts[cell(position)] += 1.0);
        counts.iter().map(|count| count / (positions.len() + choices) as f64).collect::<Vec<_>>()
    };
    let (good, others) = (weights(good), weights(others));
    let mut draw = || {
        let mut left = random.uniform();
        let drawn = good.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        (drawn.unwrap_or(choices - 1) as f64 + 0.5) / choices as f64
    };
    let drawn: Vec<f64> = (0..CANDIDATES).map(|_| draw()).collect();
    best_of(drawn.into_iter(), |position| good[cell(position)] / others[cell(position)])
}

/// As many cells of the table below lie between 0 and 1; their squared width over 8 bounds its relative
/// error: 1.3e-4, far below what few trials tell of a density.
const CELLS_PER_SCALE: usize = 32;
/// So many scales from its middle a kernel ends, where it has fallen to 2e-9.
const REACH: usize = 20;
/// The density of the logistic distribution, by the distance from its middle in scales, and 0 at the end.
///
/// Most of the time goes into densities, for every parameter: of 24 candidates under some 280 kernels.
const LOGISTIC_DENSITY: [f64; CELLS_PER_SCALE * REACH + 2] = {
    // e^(-1/32) by the exponential series; the first term left out is below 1e-20.
    let (mut ratio, mut term, mut n) = (1.0, 1.0, 1);
    while n < 10 {
        term *= -1.0 / (CELLS_PER_SCALE * n) as f64;
        ratio += term;
        n += 1;
    }
    let mut table = [0.0; CELLS_PER_SCALE * REACH + 2];
    let (mut e, mut cell) = (1.0, 0);
    while cell < CELLS_PER_SCALE * REACH {
        table[cell] = e / ((1.0 + e) * (1.0 + e));
        e *= ratio;
        cell += 1;
    }
    table
};

/// A logistic distribution cut off at 0 and 1.
struct Kernel {
    place: f64,
    scale: f64,
    /// Cells of the table per unit.
    cells: f64,
    /// The distribution function at 0 and its rise to 1.
    start: f64,
    rise: f64,
    weight: f64,
}

impl Kernel {
    fn new(place: f64, scale: f64) -> Self {
        let start = cumulative((0.0 - place) / scale);
        let rise = cumulative((1.0 - place) / scale) - start;
        let cells = CELLS_PER_SCALE as f64 / scale;
        Self { place, scale, cells, start, rise, weight: 1.0 / (scale * rise) }
    }

    fn density(&self, position: f64) -> f64 {
        let cell = (position - self.place).abs() * self.cells;
        let cell = cell.min((CELLS_PER_SCALE * REACH) as f64);
        let index = cell as usize;
        let (here, next) = (LOGISTIC_DENSITY[index], LOGISTIC_DENSITY[index + 1]);
        (here + (cell - index as f64) * (next - here)) * self.weight
    }
}

/// The distribution function; 0 and 1 where it differs from them by less than a rounding of 1, which is
/// so for most kernels at the ends of the scale.
fn cumulative(x: f64) -> f64 {
    if x.abs() > 37.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    1.0 / (1.0 + exp(-x))
}

/// A mixture of logistic kernels on `[0, 1]` and one uniform component.
struct Parzen {
    /// The kernels as narrow as kernels get, by place: a position is within the reach of few of them.
    narrow: Vec<Kernel>,
    reach: f64,
    wide: Vec<Kernel>,
}

impl Parzen {
    fn new(mut places: Vec<f64>) -> Self {
        places.sort_unstable_by(f64::total_cmp);
        let n = places.len();
        let narrowest = 1.0 / (n as f64 + 1.0).min(100.0);
        let reach = LOGISTIC * narrowest * REACH as f64;
        let (mut narrow, mut wide) = (Vec::with_capacity(n), Vec::new());
        for (i, &place) in places.iter().enumerate() {
            let left = place - if i == 0 { 0.0 } else { places[i - 1] };
            let right = if i + 1 == n { 1.0 } else { places[i + 1] } - place;
            let width = left.max(right);
            let kernels = if width > narrowest { &mut wide } else { &mut narrow };
            kernels.push(Kernel::new(place, LOGISTIC * width.clamp(narrowest, 1.0)));
        }
        Self { narrow, reach, wide }
    }

    fn kernels(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    fn draw(&self, random: &mut Random) -> f64 {
        let index = random.below(self.kernels() + 1);
        let uniform = random.uniform();
        let kernel = self.narrow.get(index).or_else(|| self.wide.get(index - self.narrow.len()));
        let Some(kernel) = kernel else { return uniform };
        let at = kernel.start + uniform * kernel.rise;
        (kernel.place + kernel.scale * ln(at / (1.0 - at))).clamp(0.0, 1.0)
    }

    fn density(&self, position: f64) -> f64 {
        let first = self.narrow.partition_point(|kernel| kernel.place < position - self.reach);
        let near = &self.narrow[first..];
        let last = near.partition_point(|kernel| kernel.place <= position + self.reach);
        let kernels = near[..last].iter().chain(&self.wide);
        let sum: f64 = kernels.map(|kernel| kernel.density(position)).sum();
        (1.0 + sum) / (self.kernels() + 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_densities_are_those_of_the_formula_and_sum_to_one() {
        let kernel = Kernel::new(0.3, 0.01);
        for i in 0..1000 {
            let position = f64::from(i) * 1e-3;
            let e = exp(-((position - 0.3) / 0.01).abs());
            let exact = e / ((1.0 + e) * (1.0 + e) * 0.01 * kernel.rise);
            let error = (kernel.density(position) - exact).abs();
            assert!(error <= 1.4e-4 * exact + 1e-6, "{position}: {error} of {exact}");
        }
        let points = 20_000;
        let middle = |i: i32| (f64::from(i) + 0.5) / f64::from(points);
        let mut random = Random::new(1);
        let many = (0..256).map(|i| random.uniform().powi(1 + i % 3)).collect();
        for places in [vec![0.0, 0.1, 0.1, 0.7, 1.0], many] {
            let parzen = Parzen::new(places);
            let mass: f64 = (0..points).map(|i| parzen.density(middle(i))).sum();
            assert!((mass / f64::from(points) - 1.0).abs() < 1e-3, "{mass}");
            // Kernels out of reach add nothing.
            for position in (0..=1000).map(|i| f64::from(i) * 1e-3) {
                let all = parzen.narrow.iter().chain(&parzen.wide);
                let all: f64 = 1.0 + all.map(|kernel| kernel.density(position)).sum::<f64>();
                let exact = all / (parzen.kernels() + 1) as f64;
                assert!((parzen.density(position) - exact).abs() < 1e-13 * exact, "{position}");
            }
        }
    }
}
