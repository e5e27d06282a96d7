//! What a hyperparameter can be, and the scale on which it is looked for.

use std::fmt;

use crate::error::{Error, Result};
use crate::portable::{exp, ln};
pub use crate::search::value::{Choice, Value};

/// Integers beyond this have no `f64` of their own, and journals keep parameters as `f64`.
const MAX_INT: i64 = 1 << 53;
/// Parameters of the scale `1 - x` are kept under this prefix, so that other readers of a journal see
/// an ordinary logarithmic parameter.
pub(crate) const ONE_MINUS: &str = "one_minus_";

/// A hyperparameter's range and scale. Positions in `[0, 1]` along the scale are what samplers draw;
/// equal lengths are equally likely, whatever the scale.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Distribution {
    /// `low..=high`, on a logarithmic scale where `log`, in whole steps from `low` where there are any.
    Float {
        /// The smallest value.
        low: f64,
        /// The largest value.
        high: f64,
        /// Whether equal factors are equally likely.
        log: bool,
        /// The distance of neighbours, on a linear scale only.
        step: Option<f64>,
    },
    /// A weight near 1, such as momentum: `1 - x` is logarithmic, so that equal factors of the window
    /// `1/(1-x)` are equally likely.
    OneMinus {
        /// The smallest value, at least 0.
        low: f64,
        /// The largest value, below 1.
        high: f64,
    },
    /// `low..=high`, all equally likely, or on a logarithmic scale.
    Int {
        /// The smallest value.
        low: i64,
        /// The largest value.
        high: i64,
        /// Whether equal factors are equally likely.
        log: bool,
        /// The distance of neighbours, 1 on a logarithmic scale.
        step: i64,
    },
    /// One of these, all equally likely.
    Choice(Vec<Choice>),
}

impl Distribution {
    /// Every number of the range is equally likely.
    pub fn uniform(low: f64, high: f64) -> Self {
        Self::Float { low, high, log: false, step: None }
    }

    /// Every factor is equally likely: learning rates.
    pub fn log(low: f64, high: f64) -> Self {
        Self::Float { low, high, log: true, step: None }
    }

    /// `low`, `low + step`, … up to `high`.
    pub fn step(low: f64, high: f64, step: f64) -> Self {
        Self::Float { low, high, log: false, step: Some(step) }
    }

    /// `1 - x` is logarithmic: momentum and the decay rates of Adam.
    pub fn one_minus_log(low: f64, high: f64) -> Self {
        Self::OneMinus { low, high }
    }

    /// Every integer is equally likely, both ends included.
    pub fn int(low: i64, high: i64) -> Self {
        Self::Int { low, high, log: false, step: 1 }
    }

    /// Integers of which every factor is equally likely.
    pub fn log_int(low: i64, high: i64) -> Self {
        Self::Int { low, high, log: true, step: 1 }
    }

    /// One of these.
    pub fn choice<C: Into<Choice>>(choices: impl IntoIterator<Item = C>) -> Self {
        Self::Choice(choices.into_iter().map(Into::into).collect())
    }

    /// Checks the range of the parameter called `name`.
    ///
    /// # Errors
    /// Names the parameter and says what would do: finite bounds in order, positive ones for
    /// logarithms, a positive step, at least one choice.
    pub fn check(&self, name: &str) -> Result<()> {
        let wrong = |what: &str, expected: &str, got: &dyn fmt::Display| {
            Err(Error::argument(format!("parameter `{name}`: {what}"), expected, got))
        };
        let reserved = name.starts_with(ONE_MINUS);
        if name.is_empty() || reserved {
            return wrong("name", "not empty and without the prefix `one_minus_`", &name);
        }
        match *self {
            Self::Float { low, high, log, step } => {
                if !(low.is_finite() && high.is_finite() && (high - low).is_finite()) {
                    return wrong("range", "finite bounds", &format_args!("{low}..={high}"));
                }
                if low > high {
                    return wrong("range", "low <= high", &format_args!("{low}..={high}"));
                }
                if log && low < f64::MIN_POSITIVE {
                    return wrong("low", "a positive number on a logarithmic scale", &low);
                }
                match step {
                    Some(step) if log || !(step > 0.0 && step.is_finite()) => {
                        wrong("step", "positive and finite, on a linear scale", &step)
                    }
                    Some(step) if (high - low) / step > MAX_INT as f64 => {
                        wrong("step", "at most 2^53 of them within the range", &step)
                    }
                    _ => Ok(()),
                }
            }
            Self::OneMinus { low, high } => {
                if low >= 0.0 && low <= high && high < 1.0 {
                    return Ok(());
                }
                wrong("range", "0 <= low <= high < 1", &format_args!("{low}..={high}"))
            }
            Self::Int { low, high, log, step } => {
                if low > high || low < -MAX_INT || high > MAX_INT {
                    let expected = "low <= high within 2^53";
                    return wrong("range", expected, &format_args!("{low}..={high}"));
                }
                if log && low < 1 {
                    return wrong("low", "at least 1 on a logarithmic scale", &low);
                }
                if step < 1 || (log && step != 1) {
                    return wrong("step", "at least 1, and 1 on a logarithmic scale", &step);
                }
                Ok(())
            }
            Self::Choice(ref choices) if choices.is_empty() => {
                wrong("choices", "at least one", &"none")
            }
            Self::Choice(_) => Ok(()),
        }
    }

    /// How many values there are: none where they are a continuum or lie on a logarithmic scale. One for
    /// ranges that [`check`](Self::check) refuses.
    pub fn cells(&self) -> Option<usize> {
        match self {
            Self::Float { low, high, step: Some(step), .. } => {
                // Half a millionth of a step, so that 0..=1 in steps of 0.1 has eleven values.
                Some((((high - low) / step + 5e-7).floor() as usize).saturating_add(1))
            }
            Self::Int { low, high, log: false, step } => {
                let steps = high.checked_sub(*low).and_then(|range| range.checked_div(*step));
                let steps = steps.and_then(|steps| usize::try_from(steps).ok());
                Some(steps.unwrap_or(0).saturating_add(1))
            }
            Self::Choice(choices) => Some(choices.len()),
            _ => None,
        }
    }

    /// The ends of the continuous scale: values, logarithms, or logarithms of `1 - x`.
    pub(crate) fn ends(&self) -> (f64, f64) {
        match *self {
            Self::Float { low, high, log: true, .. } => (ln(low), ln(high)),
            Self::Float { low, high, .. } => (low, high),
            Self::OneMinus { low, high } => (ln(1.0 - low), ln(1.0 - high)),
            // Half a unit more on both sides gives the first and last as much room as their neighbours.
            Self::Int { low, high, .. } => (ln(low as f64 - 0.5), ln(high as f64 + 0.5)),
            Self::Choice(ref choices) => (0.0, choices.len() as f64),
        }
    }

    /// The value at a position of the scale, in the form that journals keep: the number itself,
    /// `1 - x`, or the index of a choice. Positions outside `[0, 1]` are moved to its ends.
    pub fn at(&self, position: f64) -> f64 {
        let position = if position > 0.0 { position.min(1.0) } else { 0.0 };
        if let Some(cells) = self.cells() {
            let last = cells.saturating_sub(1);
            let cell = ((position * cells as f64) as usize).min(last) as f64;
            return match *self {
                Self::Float { low, high, step: Some(step), .. } => (low + cell * step).min(high),
                Self::Int { low, step, .. } => low as f64 + cell * step as f64,
                _ => cell,
            };
        }
        let (start, end) = self.ends();
        let at = start + position * (end - start);
        // Logarithms there and back would miss the ends by a rounding.
        let exact = |first, last, between| match position {
            0.0 => first,
            1.0 => last,
            _ => between,
        };
        match *self {
            Self::Float { low, high, log: true, .. } => {
                exact(low, high, within(exp(at), low, high))
            }
            Self::Float { low, high, .. } => within(at, low, high),
            Self::OneMinus { low, high } => {
                let (first, last) = (1.0 - low, 1.0 - high);
                exact(first, last, within(exp(at), last, first))
            }
            Self::Int { low, high, .. } => within(exp(at).round(), low as f64, high as f64),
            Self::Choice(_) => at,
        }
    }

    /// Where a kept value lies on the scale, in `[0, 1]`; the middle of its cell where values are
    /// apart, and one half where there is only one.
    pub fn position(&self, kept: f64) -> f64 {
        self.position_between(kept, self.ends())
    }

    /// The same with the [`ends`](Self::ends) of the scale, whose logarithms take as long as all else.
    pub(crate) fn position_between(&self, kept: f64, (start, end): (f64, f64)) -> f64 {
        match (self.cells(), self) {
            (Some(cells), Self::Float { low, step: Some(step), .. }) => {
                return (((kept - low) / step).round() + 0.5) / cells as f64;
            }
            (Some(cells), Self::Int { low, step, .. }) => {
                return ((kept - *low as f64) / *step as f64 + 0.5) / cells as f64;
            }
            (Some(cells), _) => return (kept + 0.5) / cells as f64,
            (None, _) => {}
        }
        let linear = matches!(self, Self::Float { log: false, .. });
        let at = if linear { kept } else { ln(kept) };
        if start == end { 0.5 } else { ((at - start) / (end - start)).clamp(0.0, 1.0) }
    }

    /// Whether a kept value belongs to this range.
    pub fn contains(&self, kept: f64) -> bool {
        let whole = kept.fract() == 0.0;
        match *self {
            Self::Float { low, high, .. } => low <= kept && kept <= high,
            Self::OneMinus { low, high } => 1.0 - high <= kept && kept <= 1.0 - low,
            Self::Int { low, high, step, .. } => {
                let inside = whole && low as f64 <= kept && kept <= high as f64;
                let from_low = (kept as i64).checked_sub(low);
                inside && from_low.and_then(|steps| steps.checked_rem(step)) == Some(0)
            }
            Self::Choice(ref choices) => whole && kept >= 0.0 && kept < choices.len() as f64,
        }
    }

    /// The value of the range that is nearest to a kept number.
    pub(crate) fn nearest(&self, kept: f64) -> f64 {
        match *self {
            Self::Float { low, high, step: None, .. } => within(kept, low, high),
            Self::OneMinus { low, high } => within(kept, 1.0 - high, 1.0 - low),
            Self::Int { low, high, step: 1, .. } => within(kept.round(), low as f64, high as f64),
            _ => self.at(self.position(kept)),
        }
    }

    /// The value that a kept number stands for.
    pub fn value(&self, kept: f64) -> Value {
        match self {
            Self::Float { .. } => Value::Float(kept),
            Self::OneMinus { .. } => Value::Float(1.0 - kept),
            Self::Int { .. } => Value::Int(kept as i64),
            Self::Choice(choices) => {
                Value::Choice(choices.get(kept as usize).cloned().unwrap_or(Choice::Null))
            }
        }
    }

    /// The number kept for a value; none where the value is not of this kind.
    pub fn keep(&self, value: &Value) -> Option<f64> {
        match (self, value) {
            (Self::Choice(choices), Value::Choice(value)) => {
                Some(choices.iter().position(|choice| choice == value)? as f64)
            }
            (Self::Choice(_), _) => None,
            (Self::OneMinus { .. }, value) => Some(1.0 - value.as_f64()?),
            (_, value) => value.as_f64(),
        }
    }

    /// The smallest range of this kind that holds both; this one where they are of different kinds.
    pub(crate) fn hull(self, other: Self) -> Self {
        match (self, other) {
            (Self::Float { low, high, log, step }, Self::Float { low: l, high: h, .. }) => {
                Self::Float { low: low.min(l), high: high.max(h), log, step }
            }
            (Self::OneMinus { low, high }, Self::OneMinus { low: l, high: h }) => {
                Self::OneMinus { low: low.min(l), high: high.max(h) }
            }
            (Self::Int { low, high, log, step }, Self::Int { low: l, high: h, .. }) => {
                Self::Int { low: low.min(l), high: high.max(h), log, step }
            }
            (this, _) => this,
        }
    }

    /// Whether one study may hold both for the same name: the kind and the scale agree, and the
    /// choices are the same. Bounds may move.
    pub(crate) fn compatible(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float { log: a, .. }, Self::Float { log: b, .. })
            | (Self::Int { log: a, .. }, Self::Int { log: b, .. }) => a == b,
            (Self::OneMinus { .. }, Self::OneMinus { .. }) => true,
            (Self::Choice(a), Self::Choice(b)) => a == b,
            _ => false,
        }
    }
}

/// `f64::clamp` without its panic: ranges can be asked for values before they are checked.
fn within(value: f64, low: f64, high: f64) -> f64 {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

/// A hyperparameter of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its range.
    pub distribution: Distribution,
    /// Its value as journals keep it; see [`Distribution::at`].
    pub kept: f64,
}

impl Param {
    /// Its value.
    pub fn value(&self) -> Value {
        self.distribution.value(self.kept)
    }

    /// Where it lies on its scale.
    pub fn position(&self) -> f64 {
        self.distribution.position(self.kept)
    }
}
