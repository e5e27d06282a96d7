//! Learning rates that change as training goes on.
//!
//! A [`Schedule`] is a factor on the optimiser's own learning rate, as a function of the time `t` since
//! training began. Time is counted in whole epochs, unless a schedule is told to move
//! [smoothly](Schedule::smoothly) or [by step](Schedule::by_step). The first epoch is at `t = 0` and
//! has the full rate, also where the literature counts epochs from 1.

use std::f64::consts::PI;

use crate::error::{Error, Result};

/// Where a training stands before one of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Epochs that are over.
    pub epoch: u64,
    /// Steps of this epoch that are over.
    pub step: u64,
    /// Steps of each epoch.
    pub steps_per_epoch: u64,
}

/// A learning rate over time, as a factor on the optimiser's.
///
/// ```
/// use tilewise_nn::optim::Schedule;
///
/// let schedule = Schedule::inverse_time(1.0);
/// let factors = [0.0, 1.0, 2.0, 3.0].map(|epoch| schedule.factor(epoch));
/// assert_eq!(factors, [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    curve: Curve,
    pace: Pace,
    /// Time that the linear rise to the curve's beginning takes.
    warm_up: f64,
    /// What the factor never falls below.
    floor: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Curve {
    Constant,
    InverseTime { decay: f64, power: f64 },
    Exponential { base: f64 },
    Step { every: u64, factor: f64 },
    MultiStep { milestones: Vec<u64>, factor: f64 },
    InverseSqrt,
    Cosine { length: f64 },
    Polynomial { length: f64, power: f64 },
    OneCycle { length: f64 },
    Sigmoid { middle: f64, gamma: f64 },
}

/// How time moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// From epoch to epoch.
    Epochs,
    /// By a fraction of an epoch with every step.
    Smooth,
    /// By 1 with every step.
    Steps,
}

/// The share of a cycle in which the rate rises, the factor it rises from, and that share of this
/// to which it falls: the customary values of Smith's policy.
const CYCLE_RISE: f64 = 0.3;
const CYCLE_START: f64 = 1.0 / 25.0;
const CYCLE_END: f64 = 1e-4;

impl Default for Schedule {
    fn default() -> Self {
        Self::constant()
    }
}

impl Schedule {
    /// Always 1.
    pub fn constant() -> Self {
        Self::of(Curve::Constant)
    }

    /// `1 / (1 + decay·t)`
    pub fn inverse_time(decay: f64) -> Self {
        Self::inverse_power(decay, 1.0)
    }

    /// `1 / (1 + decay·t)^power`
    pub fn inverse_power(decay: f64, power: f64) -> Self {
        Self::of(Curve::InverseTime { decay, power })
    }

    /// `base^t`
    pub fn exponential(base: f64) -> Self {
        Self::of(Curve::Exponential { base })
    }

    /// `factor^⌊t / every⌋`
    pub fn step(every: u64, factor: f64) -> Self {
        Self::of(Curve::Step { every, factor })
    }

    /// `factor` to the number of `milestones` reached, in any order.
    pub fn multi_step(milestones: &[u64], factor: f64) -> Self {
        Self::of(Curve::MultiStep { milestones: milestones.to_vec(), factor })
    }

    /// `1 / √(1 + t)`: where epochs are counted from 1, `1 / √epoch`.
    pub fn inverse_sqrt() -> Self {
        Self::of(Curve::InverseSqrt)
    }

    /// Half a cosine from 1 at `t = 0` to 0 at `length` and after it (Loshchilov and Hutter 2017).
    pub fn cosine(length: f64) -> Self {
        Self::of(Curve::Cosine { length })
    }

    /// `(1 - t / length)^power`, and 0 after `length`; power 1 is a straight line.
    pub fn polynomial(length: f64, power: f64) -> Self {
        Self::of(Curve::Polynomial { length, power })
    }

    /// `1 / (1 + exp(-gamma·(t - middle)))`: half the rate at `middle`, falling around it where `gamma` is
    /// below 0 and rising where it is above.
    pub fn sigmoid(middle: f64, gamma: f64) -> Self {
        Self::of(Curve::Sigmoid { middle, gamma })
    }

    /// Up and down again within `length` (Smith and Topin 2018): half a cosine from 1/25 to 1 in the
    /// first 30 %, then one down to 1/250000. Moves [smoothly](Self::smoothly).
    pub fn one_cycle(length: f64) -> Self {
        Self::of(Curve::OneCycle { length }).smoothly()
    }

    /// Begins with a straight rise over the time `length`; the curve starts when it is over. The first
    /// step is above 0 and the last one of the rise reaches the curve's beginning. Moves
    /// [smoothly](Self::smoothly) unless it moves [by step](Self::by_step).
    #[must_use]
    pub fn warm_up(self, length: f64) -> Self {
        let pace = if self.pace == Pace::Steps { Pace::Steps } else { Pace::Smooth };
        Self { warm_up: length, pace, ..self }
    }

    /// Keeps the factor at `floor` or above, but for the warm-up.
    #[must_use]
    pub fn floor(self, floor: f64) -> Self {
        Self { floor, ..self }
    }

    /// Moves time by a fraction of an epoch with every step.
    #[must_use]
    pub fn smoothly(self) -> Self {
        Self { pace: Pace::Smooth, ..self }
    }

    /// Counts time in steps instead of epochs.
    #[must_use]
    pub fn by_step(self) -> Self {
        Self { pace: Pace::Steps, ..self }
    }

    /// The factor at time `t`.
    pub fn factor(&self, t: f64) -> f64 {
        self.after_rise(t, t)
    }

    /// The factor for the step that comes next.
    pub fn factor_at(&self, clock: Clock) -> f64 {
        let per_epoch = clock.steps_per_epoch.max(1) as f64;
        let steps = clock.epoch as f64 * per_epoch + clock.step as f64;
        match self.pace {
            Pace::Epochs => self.factor(clock.epoch as f64),
            Pace::Smooth => self.after_rise(steps / per_epoch, (steps + 1.0) / per_epoch),
            Pace::Steps => self.after_rise(steps, steps + 1.0),
        }
    }

    /// Whether all numbers are in their domains.
    ///
    /// # Errors
    /// If not; the error names the number.
    pub fn check(&self) -> Result<()> {
        let at_least_0 = |what, value| check(what, value, value >= 0.0, "of 0 or more");
        let above_0 = |what, value| check(what, value, value > 0.0, "above 0");
        at_least_0("length of the warm-up", self.warm_up)?;
        at_least_0("floor of the schedule", self.floor)?;
        match self.curve {
            Curve::Constant | Curve::InverseSqrt => Ok(()),
            Curve::InverseTime { decay, power } => {
                at_least_0("decay of the schedule", decay)?;
                above_0("power of the schedule", power)
            }
            Curve::Sigmoid { middle, gamma } => {
                at_least_0("middle of the schedule", middle)?;
                check("gamma of the schedule", gamma, gamma != 0.0, "other than 0")
            }
            Curve::Exponential { base } => above_0("base of the schedule", base),
            Curve::Step { every, factor } => {
                above_0("steps of the schedule", every as f64)?;
                above_0("factor of the schedule", factor)
            }
            Curve::MultiStep { factor, .. } => above_0("factor of the schedule", factor),
            Curve::Cosine { length } | Curve::OneCycle { length } => {
                above_0("length of the schedule", length)
            }
            Curve::Polynomial { length, power } => {
                above_0("length of the schedule", length)?;
                above_0("power of the schedule", power)
            }
        }
    }

    fn of(curve: Curve) -> Self {
        Self { curve, pace: Pace::Epochs, warm_up: 0.0, floor: 0.0 }
    }

    /// At time `t`, by the end of the step `after`.
    fn after_rise(&self, t: f64, after: f64) -> f64 {
        let start = self.curve.at(0.0).max(self.floor);
        if t < self.warm_up {
            return start * (after / self.warm_up).min(1.0);
        }
        self.curve.at(t - self.warm_up).max(self.floor)
    }
}

impl Curve {
    fn at(&self, t: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::InverseTime { decay, power } => 1.0 / (1.0 + decay * t).powf(*power),
            Self::Sigmoid { middle, gamma } => 1.0 / (1.0 + (-gamma * (t - middle)).exp()),
            Self::Exponential { base } => base.powf(t),
            Self::Step { every, factor } => factor.powf((t / *every as f64).floor()),
            Self::MultiStep { milestones, factor } => {
                let reached = milestones.iter().filter(|&&milestone| t >= milestone as f64);
                factor.powf(reached.count() as f64)
            }
            Self::InverseSqrt => 1.0 / (1.0 + t).sqrt(),
            Self::Cosine { length } => between(1.0, 0.0, t / length),
            Self::Polynomial { length, power } => (1.0 - (t / length).min(1.0)).powf(*power),
            Self::OneCycle { length } => {
                let share = t / length;
                if share < CYCLE_RISE {
                    between(CYCLE_START, 1.0, share / CYCLE_RISE)
                } else {
                    let share = (share - CYCLE_RISE) / (1.0 - CYCLE_RISE);
                    between(1.0, CYCLE_START * CYCLE_END, share)
                }
            }
        }
    }
}

/// From `a` to `b` along half a cosine, and `b` after it.
fn between(a: f64, b: f64, share: f64) -> f64 {
    b + (a - b) * 0.5 * (1.0 + (PI * share.min(1.0)).cos())
}

fn check(what: &str, value: f64, fits: bool, domain: &str) -> Result<()> {
    if fits && value.is_finite() {
        return Ok(());
    }
    Err(Error::argument(what, format!("a finite value {domain}"), value))
}
