//! Clocks, and the statistics that survive a noisy machine.

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

/// What time is taken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The thread's own processor time: what other processes take away does not count.
    Thread,
    /// The wall clock, the only one that several threads share.
    Wall,
}

impl Clock {
    /// The right one for so many threads.
    pub fn of(threads: usize) -> Self {
        if threads == 1 { Self::Thread } else { Self::Wall }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thread => "processor time",
            Self::Wall => "wall clock",
        }
    }

    /// The seconds that `body` takes.
    pub fn time(self, body: impl FnOnce()) -> f64 {
        let elapsed = match self {
            Self::Thread => {
                let start = ThreadTime::now();
                body();
                start.elapsed()
            }
            Self::Wall => {
                let start = Instant::now();
                body();
                start.elapsed()
            }
        };
        elapsed.as_secs_f64()
    }
}

/// Makes untimed calls that take at least so long, but one in any case.
pub fn warm_up(time: Duration, mut call: impl FnMut()) {
    let start = Instant::now();
    call();
    while start.elapsed() < time {
        call();
    }
}

/// How long and how often to time.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Samples per candidate, where they are short.
    pub rounds: usize,
    /// A sample makes calls for at least that long: the clock's resolution and the loop around the
    /// calls must not show.
    pub sample: Duration,
}

impl Effort {
    /// Samples per candidate where one of each takes that many seconds together: fewer of long ones, so
    /// that a case takes about half a minute at most, but never less than there are quartiles of.
    pub fn rounds_of(self, seconds: f64) -> usize {
        const CASE: f64 = 30.0;
        const LEAST: usize = 5;
        let affordable = (CASE / seconds) as usize;
        self.rounds.min(affordable.max(LEAST))
    }
}

/// Median and quartiles of a candidate's samples.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Half of the samples lie below.
    pub median: f64,
    /// A quarter of the samples lies below.
    pub lower: f64,
    /// Three quarters of the samples lie below.
    pub upper: f64,
}

impl Summary {
    /// Of at least one sample.
    pub fn new(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile =
            |fraction: f64| sorted[((sorted.len() - 1) as f64 * fraction).round() as usize];
        Self { median: quantile(0.5), lower: quantile(0.25), upper: quantile(0.75) }
    }

    /// The distance of the quartiles, relative to the median.
    pub fn spread(self) -> f64 {
        (self.upper - self.lower) / self.median
    }
}

/// The median over the rounds of `theirs / ours`: both of a round met the same neighbours and clock.
pub fn speedup(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = theirs.iter().zip(ours).map(|(peer, own)| peer / own).collect();
    Summary::new(&ratios).median
}

/// The median over the rounds of the rate at which `amount` of work was done, as a share of the rate that was
/// measured right beside it. `None` where none was.
pub fn share(amount: f64, seconds: &[f64], beside: &[f64]) -> Option<f64> {
    let shares = seconds.iter().zip(beside).map(|(seconds, rate)| amount / seconds / rate);
    let shares: Vec<f64> = shares.collect();
    (!shares.is_empty()).then(|| Summary::new(&shares).median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_round_by_round() {
        // Shares 0.5, 1.0 and 0.4; the medians of rates and peaks alone would give 1.0.
        assert_eq!(share(4.0, &[1.0, 2.0, 10.0], &[8.0, 2.0, 1.0]), Some(0.5));
        assert_eq!(share(4.0, &[1.0, 2.0, 10.0], &[]), None);
    }

    #[test]
    fn long_cases_get_fewer_rounds_but_never_less_than_five() {
        let effort = Effort { rounds: 21, sample: Duration::from_millis(2) };
        let rounds = [0.0, 0.1, 2.0, 3.0, 60.0].map(|seconds| effort.rounds_of(seconds));
        assert_eq!(rounds, [21, 21, 15, 10, 5]);
        assert_eq!(Effort { rounds: 3, ..effort }.rounds_of(60.0), 3);
    }
}
