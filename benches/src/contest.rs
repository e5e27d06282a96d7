//! Interleaved timing: everybody who can run a case, in rotation, in this process and in others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::case::{Case, Implementation, Workload};
use crate::ceilings::Peak;
use crate::measure::{self, Clock, Effort};
use crate::worker::{WARM_UP, Worker};

/// Somebody's times.
#[derive(Debug, Clone)]
pub struct Timed {
    /// The implementation, as in ids.
    pub name: String,
    /// Whether this is ours.
    pub ours: bool,
    /// How many threads it was allowed.
    pub threads: usize,
    /// Seconds per call, one entry per round.
    pub samples: Vec<f64>,
    /// Operations per second of nothing but multiply-adds right after each sample; empty where they are not
    /// what bounds it.
    pub peaks: Vec<f64>,
}

/// Times `here`, and those workers that do such cases: every round times each of them once, so that all meet
/// the same clock and the same noise, in changing order. Whoever computes something wrong,
/// or fails, is left out with a message.
///
/// # Panics
/// If our own result is wrong.
pub fn hold(
    case: &Case,
    here: &[Implementation],
    workers: &mut [Worker],
    effort: Effort,
    clock: Clock,
) -> Vec<Timed> {
    let mut contest =
        Contest { case, work: case.prepare(), workers, clock, warm_up: Duration::ZERO };
    let mut all = contest.here(here);
    let away = contest.away();
    if !away.is_empty() {
        contest.warm_up = WARM_UP;
    }
    all.extend(away);
    let mut turn = 0.0;
    all.retain_mut(|one| {
        let found = contest.calls(one.seat, effort);
        if let Ok((calls, seconds)) = found {
            one.calls = calls;
            turn += seconds;
        }
        contest.passed(one, found.map(drop))
    });
    for round in 0..effort.rounds_of(turn) {
        for place in turns(round, all.len()) {
            let one = &mut all[place];
            if one.calls == 0 {
                continue;
            }
            let seconds = contest.time(one.seat, one.calls);
            one.timed.samples.extend(seconds.as_ref().map(|seconds| seconds / one.calls as f64));
            let peak = one.peak.as_mut().map(|peak| peak.rate(clock, effort.sample));
            one.timed.peaks.extend(peak);
            if !contest.passed(one, seconds.map(drop)) {
                one.calls = 0;
            }
        }
    }
    contest.workers.iter_mut().for_each(Worker::drop_case);
    all.into_iter().filter(|one| one.calls > 0).map(|one| one.timed).collect()
}

/// Whose turn it is in a round of `count`: each begins as often as the others, and every other round goes
/// backwards, so that nobody always runs after the same one.
fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    let backwards = !round.is_multiple_of(2);
    (0..count).map(move |turn| (round + if backwards { count - turn } else { turn }) % count)
}

struct Contest<'a> {
    case: &'a Case,
    /// The buffers of those who run here: the same for all.
    work: Box<dyn Workload>,
    workers: &'a mut [Worker],
    clock: Clock,
    /// How long calls are not timed, at least one.
    warm_up: Duration,
}

/// Where somebody runs.
#[derive(Clone, Copy)]
enum Seat {
    Here(Implementation),
    /// As the worker of that number.
    Away(usize),
}

struct Contestant {
    seat: Seat,
    timed: Timed,
    /// What is timed right after it.
    peak: Option<Peak>,
    /// Per sample; 0 for whoever is out.
    calls: usize,
}

impl Contestant {
    fn new(seat: Seat, name: String, ours: bool, threads: usize) -> Self {
        let (samples, peaks) = (Vec::new(), Vec::new());
        let timed = Timed { name, ours, threads, samples, peaks };
        Self { seat, timed, peak: None, calls: 0 }
    }
}

impl Contest<'_> {
    /// Those of this process whose results are right.
    fn here(&mut self, here: &[Implementation]) -> Vec<Contestant> {
        let mut right = Vec::new();
        for &by in here {
            if by.is_tilewise() {
                self.work.verify(by);
            } else if catch_unwind(AssertUnwindSafe(|| self.work.verify(by))).is_err() {
                eprintln!("{}/{by}: left out, for the reason above", self.case.id);
                // The buffers may hold anything now.
                self.work = self.case.prepare();
                continue;
            }
            let (name, ours) = (by.to_string(), by.is_tilewise());
            let one = Contestant::new(Seat::Here(by), name, ours, by.threads);
            right.push(Contestant { peak: Peak::of(self.case, by), ..one });
        }
        right
    }

    /// Those workers that do this case and whose results are right.
    fn away(&mut self) -> Vec<Contestant> {
        let mut ready = Vec::new();
        for (i, worker) in self.workers.iter_mut().enumerate() {
            match worker.prepare(&self.case.id) {
                Ok(true) => {
                    let (name, threads) = (worker.name(), worker.threads());
                    ready.push(Contestant::new(Seat::Away(i), name, false, threads));
                }
                Ok(false) => {}
                Err(why) => eprintln!("{}/{}: left out: {why}", self.case.id, worker.name()),
            }
        }
        ready
    }

    /// Whether something went well; says so if not.
    fn passed(&self, one: &Contestant, result: Result<(), String>) -> bool {
        if let Err(why) = &result {
            eprintln!("{}/{}: left out: {why}", self.case.id, one.timed.name);
        }
        result.is_ok()
    }

    /// The seconds of so many calls, after some that bring data and code back into the caches.
    fn time(&mut self, seat: Seat, calls: usize) -> Result<f64, String> {
        match seat {
            Seat::Here(by) => {
                measure::warm_up(self.warm_up, || self.work.run(by));
                Ok(self.clock.time(|| (0..calls).for_each(|_| self.work.run(by))))
            }
            Seat::Away(worker) => self.workers[worker].time(calls),
        }
    }

    /// How many calls make a sample long enough, and the seconds that such a sample takes.
    fn calls(&mut self, seat: Seat, effort: Effort) -> Result<(usize, f64), String> {
        let mut calls = 1;
        loop {
            let seconds = self.time(seat, calls)?;
            if seconds >= effort.sample.as_secs_f64() {
                return Ok((calls, seconds + seconds / calls as f64));
            }
            calls *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::turns;

    #[test]
    fn turns_are_fair() {
        for count in 1..8 {
            let rounds: Vec<Vec<_>> = (0..2 * count).map(|i| turns(i, count).collect()).collect();
            for place in 0..count {
                let begins = rounds.iter().filter(|round| round[0] == place).count();
                assert_eq!(begins, 2, "{place} of {count}");
                let before: BTreeSet<_> = (rounds.iter().flat_map(|round| round.windows(2)))
                    .filter(|pair| pair[1] == place)
                    .map(|pair| pair[0])
                    .collect();
                assert_eq!(before.len(), (count - 1).min(2), "{place} of {count}");
            }
            assert!(rounds.iter().all(|r| r.iter().collect::<BTreeSet<_>>().len() == count));
        }
    }
}
