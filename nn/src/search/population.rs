//! Population-based training: models that train side by side, of which the worst go on as copies of
//! the best with slightly other hyperparameters.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::search::caviar::{guarded, pool, workers};
use crate::search::distribution::{Distribution, Param};
use crate::search::sampler::{Ask, keyed};
use crate::search::space::Space;
use crate::search::storage::op::{read_params, write_params};

/// A model in training whose whole state can be copied.
pub trait Member: Send {
    /// All that training depends on: weights, state of the optimiser, running statistics of batch
    /// normalisation, position in the data.
    type State: Clone + Send;

    /// Trains on for one generation with these hyperparameters; gives a cost to be small.
    ///
    /// # Errors
    /// If training fails. The member is then replaced by a copy of a better one.
    fn train(&mut self, generation: usize, params: &[Param]) -> Result<f64>;

    /// Its state.
    ///
    /// # Errors
    /// If it cannot be copied.
    fn save(&self) -> Result<Self::State>;

    /// Goes on from that state.
    ///
    /// # Errors
    /// If the state does not fit.
    fn load(&mut self, state: &Self::State) -> Result<()>;
}

/// What one member did in one generation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// The member whose state it began with: its own number, or that of the one it was copied from.
    pub from: usize,
    /// The hyperparameters it trained with.
    pub params: Vec<Param>,
    /// The cost afterwards; infinite where training failed.
    pub cost: f64,
}

/// Who trained with what, and who was copied from whom: generations of turns, by member.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lineage {
    /// First to last.
    pub generations: Vec<Vec<Turn>>,
}

impl Lineage {
    /// The member with the smallest cost in the end.
    pub fn best(&self) -> Option<usize> {
        let last = self.generations.last()?;
        (0..last.len()).min_by(|&a, &b| last[a].cost.total_cmp(&last[b].cost))
    }

    /// The member from which `member`'s state descends, and the turns that led to it.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn ancestry(&self, member: usize) -> (usize, Vec<&Turn>) {
        let mut turns = Vec::new();
        let mut member = member;
        for generation in self.generations.iter().rev() {
            let turn = &generation[member];
            turns.push(turn);
            member = turn.from;
        }
        turns.reverse();
        (member, turns)
    }

    /// Trains `ancestor`, a new member made as that of [`ancestry`](Self::ancestry) was, the way that
    /// led to `member`; gives the last cost. Where members are reproducible, that is the member's own,
    /// bit for bit.
    ///
    /// # Errors
    /// If training fails.
    pub fn replay<M: Member>(&self, member: usize, ancestor: &mut M) -> Result<f64> {
        let mut cost = f64::INFINITY;
        for (generation, turn) in self.ancestry(member).1.into_iter().enumerate() {
            cost = ancestor.train(generation, &turn.params)?;
        }
        Ok(cost)
    }

    /// Writes it as lines of JSON, one per turn.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        use crate::search::storage::json;
        let mut text = String::new();
        for (generation, turns) in self.generations.iter().enumerate() {
            for (member, turn) in turns.iter().enumerate() {
                let mut record = serde_json::json!({
                    "generation": generation, "member": member, "from": turn.from,
                });
                record["cost"] = json::number(turn.cost);
                record["params"] = write_params(&turn.params);
                text += &(json::write(&record) + "\n");
            }
        }
        write_atomically(path.as_ref(), text.as_bytes())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no lineage; the error names the line.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let mut lineage = Self::default();
        for (line, text) in text.lines().enumerate() {
            let wrong = |what: String| {
                let (file, line) = (path.display().to_string(), format!("line {}", line + 1));
                Error::format(&file, line, "a turn of a lineage, in order", what)
            };
            let (generation, member, turn) = read_turn(text).map_err(wrong)?;
            if generation == lineage.generations.len() {
                lineage.generations.push(Vec::new());
            }
            let members = lineage.generations.first().map_or(0, Vec::len);
            let turns = lineage.generations.last_mut();
            let turns = turns.filter(|turns| turns.len() == member);
            match turns {
                Some(turns) if generation == 0 || turn.from < members => turns.push(turn),
                _ => return Err(wrong(format!("member {member} of generation {generation}"))),
            }
        }
        Ok(lineage)
    }
}

fn read_turn(text: &str) -> Result<(usize, usize, Turn), String> {
    use crate::search::storage::json;
    let record = json::read(text).map_err(|error| error.to_string())?;
    let whole = |field: &str| {
        let value = record.get(field).and_then(Json::as_u64);
        value.map(|value| value as usize).ok_or_else(|| format!("no number `{field}`"))
    };
    let cost = record.get("cost").and_then(json::as_number).ok_or("no cost")?;
    let params = read_params(record.get("params").ok_or("no params")?)?;
    Ok((whole("generation")?, whole("member")?, Turn { from: whole("from")?, params, cost }))
}

/// Population-based training.
///
/// Jaderberg et al., "Population based training of neural networks", 2017: after every generation, each
/// member of the worst quarter takes over the state of one of the best quarter (exploit) and goes on
/// with that one's hyperparameters, each multiplied by 0.8 or 1.2, or drawn anew with probability ¼
/// (explore). 1 − x is what is multiplied on a 1-log scale; choices stay or are drawn anew. Results do
/// not depend on the number of workers.
#[derive(Debug, Clone)]
#[must_use]
pub struct Population {
    space: Space,
    members: usize,
    generations: usize,
    seed: u64,
    threads: usize,
    workers: usize,
}

impl Population {
    /// `members` with hyperparameters of `space`, for `generations`.
    pub fn new(space: Space, members: usize, generations: usize) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { space, members, generations, seed: 0, threads, workers: 0 }
    }

    /// Sets the seed of all draws.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets how many threads all members together use (as many as the machine has).
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets how many members train at once (as many as there are threads).
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Trains the population; gives its members and what happened.
    ///
    /// # Errors
    /// If there are no members, one cannot be made or copied, or all of them fail in one generation.
    pub fn run<M: Member>(&self, make: impl Fn(usize) -> Result<M>) -> Result<(Vec<M>, Lineage)> {
        if self.members == 0 {
            return Err(Error::argument("members of a population", "at least one", 0));
        }
        let mut members: Vec<M> = (0..self.members).map(make).collect::<Result<_>>()?;
        let mut plan: Vec<(usize, Vec<Param>)> =
            (0..self.members).map(|member| (member, self.first(member))).collect();
        let mut lineage = Lineage::default();
        for generation in 0..self.generations {
            let costs = self.train(&mut members, generation, &plan)?;
            let turns = plan.iter().zip(&costs).map(|((from, params), &cost)| Turn {
                from: *from,
                params: params.clone(),
                cost,
            });
            let turns: Vec<Turn> = turns.collect();
            if costs.iter().all(|cost| cost.is_infinite()) {
                let what = format!("generation {generation} of a population");
                return Err(Error::argument(what, "a member that can be trained", "none"));
            }
            plan = self.plan(generation, &turns);
            lineage.generations.push(turns);
            if generation + 1 < self.generations {
                copy(&mut members, &plan)?;
            }
        }
        Ok((members, lineage))
    }

    /// The hyperparameters that a member begins with. Each scale is cut into as many strata as there
    /// are members, of which everyone gets another one: few members would leave large gaps by chance.
    fn first(&self, member: usize) -> Vec<Param> {
        let draw = |name: &str, range: &Distribution| {
            let mut strata: Vec<usize> = (0..self.members).collect();
            keyed(self.seed, name).stream(u64::MAX).shuffle(&mut strata);
            let within = Ask::new(self.seed, member as u64, name, range).random().uniform();
            range.at((strata[member] as f64 + within) / self.members as f64)
        };
        let all = self.space.dimensions().iter();
        all.map(|d| Param {
            name: d.name.clone(),
            distribution: d.distribution.clone(),
            kept: draw(&d.name, &d.distribution),
        })
        .collect()
    }

    /// Trains all members for a generation; those that fail get an infinite cost.
    fn train<M: Member>(
        &self,
        members: &mut [M],
        generation: usize,
        plan: &[(usize, Vec<Param>)],
    ) -> Result<Vec<f64>> {
        let (workers, share) = workers(self.threads, self.workers, members.len());
        let pools = (0..workers).map(|_| pool(share)).collect::<Result<Vec<_>>>()?;
        let next = AtomicUsize::new(0);
        let jobs: Vec<Mutex<(&mut M, f64)>> =
            members.iter_mut().map(|member| Mutex::new((member, f64::INFINITY))).collect();
        std::thread::scope(|scope| {
            for pool in &pools {
                scope.spawn(|| {
                    while let Some((job, (_, params))) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        jobs.get(index).zip(plan.get(index))
                    } {
                        // Nobody else takes this job, and a panic is caught while it is held.
                        let Ok(mut job) = job.lock() else { continue };
                        let member = &mut *job.0;
                        let cost = guarded(pool, || member.train(generation, params));
                        job.1 = cost.ok().filter(|cost| !cost.is_nan()).unwrap_or(f64::INFINITY);
                    }
                });
            }
        });
        Ok(jobs.iter().map(|job| job.lock().map_or(f64::INFINITY, |job| job.1)).collect())
    }

    /// From whom each member goes on, and with what.
    fn plan(&self, generation: usize, turns: &[Turn]) -> Vec<(usize, Vec<Param>)> {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        order.sort_by(|&a, &b| turns[a].cost.total_cmp(&turns[b].cost).then(a.cmp(&b)));
        let quarter = turns.len().div_ceil(4).min(turns.len() / 2);
        let failed = order.iter().filter(|&&member| turns[member].cost.is_infinite()).count();
        let worst = &order[turns.len() - quarter.max(failed)..];
        let best = &order[..quarter.max(1)];
        let best: Vec<usize> =
            best.iter().copied().filter(|&member| turns[member].cost.is_finite()).collect();
        let go_on = |member: usize| {
            if !worst.contains(&member) {
                return (member, turns[member].params.clone());
            }
            // A stream of its own for every generation and member.
            let mut random = keyed(self.seed, "").stream(generation as u64).stream(member as u64);
            let from = best[random.below(best.len())];
            let params = turns[from].params.iter().map(|param| {
                let mut random = random.stream(keyed(self.seed, &param.name).bits_at(0));
                let range = &param.distribution;
                let (anew, up) = (random.uniform() < 0.25, random.uniform() < 0.5);
                let kept = match range {
                    _ if anew => range.at(random.uniform()),
                    Distribution::Choice(_) => param.kept,
                    _ => range.nearest(param.kept * if up { 1.2 } else { 0.8 }),
                };
                Param { kept, ..param.clone() }
            });
            (from, params.collect())
        };
        (0..turns.len()).map(go_on).collect()
    }
}

/// Gives every member the state it is to go on with.
fn copy<M: Member>(members: &mut [M], plan: &[(usize, Vec<Param>)]) -> Result<()> {
    for member in 0..members.len() {
        let from = plan[member].0;
        // Those that are copied from keep their own state, so the order does not matter.
        if from != member {
            let state = members[from].save()?;
            members[member].load(&state)?;
        }
    }
    Ok(())
}
