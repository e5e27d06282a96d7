//! What can be asked of a training while it runs, and the journal of it.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use crate::error::Error;

/// How a setting changes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// To this value.
    To(f64),
    /// By this factor.
    Times(f64),
}

impl Change {
    /// The new value.
    pub fn of(self, value: f64) -> f64 {
        match self {
            Self::To(value) => value,
            Self::Times(factor) => value * factor,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(value) => value.fmt(f),
            Self::Times(factor) => write!(f, "*{factor}"),
        }
    }
}

/// One thing that is asked of a training. As text, it is a line of a control file:
///
/// | line | what it does |
/// |---|---|
/// | `learning_rate 0.01`, `learning_rate *0.5` | sets or scales the learning rate; so do `momentum` and `weight_decay` |
/// | `keep NAME` | keeps the whole state under that name |
/// | `back NAME`, `back` | goes back to that state, or to the newest |
/// | `stop` | ends the training |
/// | `+`, `-`, `k`, `b`, `q` | keys for `learning_rate *1.25`, `learning_rate *0.8`, `keep key`, `back`, `stop` |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Nudge {
    /// Changes the learning rate.
    LearningRate(Change),
    /// Changes momentum: β of momentum, β₁ of Adam.
    Momentum(Change),
    /// Changes the rate of weight decay.
    WeightDecay(Change),
    /// Keeps the whole state under a name.
    Keep(String),
    /// Goes back to the state of that name, or to the newest.
    Back(Option<String>),
    /// Ends the training.
    Stop,
}

impl fmt::Display for Nudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LearningRate(change) => write!(f, "learning_rate {change}"),
            Self::Momentum(change) => write!(f, "momentum {change}"),
            Self::WeightDecay(change) => write!(f, "weight_decay {change}"),
            Self::Keep(name) => write!(f, "keep {name}"),
            Self::Back(Some(name)) => write!(f, "back {name}"),
            Self::Back(None) => f.write_str("back"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

impl FromStr for Nudge {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let wrong = || {
            let expected = "learning_rate, momentum or weight_decay with a number or *factor; keep \
                            NAME; back; back NAME; stop; or a key of + - k b q";
            Error::argument("nudge", expected, format!("`{line}`"))
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let change = |text: &str| {
            let number = |text: &str| text.parse().ok().filter(|value: &f64| value.is_finite());
            let change = match text.strip_prefix('*') {
                Some(factor) => number(factor).map(Change::Times),
                None => number(text).map(Change::To),
            };
            change.ok_or_else(wrong)
        };
        Ok(match words[..] {
            ["learning_rate", by] => Self::LearningRate(change(by)?),
            ["momentum", by] => Self::Momentum(change(by)?),
            ["weight_decay", by] => Self::WeightDecay(change(by)?),
            ["keep", name] => Self::Keep(name.to_owned()),
            ["back", name] => Self::Back(Some(name.to_owned())),
            ["back" | "b"] => Self::Back(None),
            ["stop" | "q"] => Self::Stop,
            ["+"] => Self::LearningRate(Change::Times(1.25)),
            ["-"] => Self::LearningRate(Change::Times(0.8)),
            ["k"] => Self::Keep("key".to_owned()),
            _ => return Err(wrong()),
        })
    }
}

/// A nudge, and when it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Nudged {
    /// After how many steps, those that were undone by going back included: it only ever grows, so
    /// that a replay finds the same moment.
    pub moment: u64,
    /// Whether the step after that had just diverged.
    pub diverged: bool,
    /// Number of steps that the state had behind it.
    pub steps: u64,
    /// What was asked for.
    pub nudge: Nudge,
    /// Why it was not done, where it was not.
    pub refused: Option<String>,
}

impl Nudged {
    /// A line of the journal, without its end.
    pub(super) fn write(&self) -> String {
        let nudge = self.nudge.to_string();
        let mut line = json!({"moment": self.moment, "steps": self.steps, "nudge": nudge});
        if self.diverged {
            line["diverged"] = true.into();
        }
        if let Some(reason) = &self.refused {
            line["refused"] = reason.as_str().into();
        }
        line.to_string()
    }

    pub(super) fn read(line: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let whole = |field: &str| {
            json.get(field).and_then(Json::as_u64).ok_or_else(|| format!("no number `{field}`"))
        };
        let nudge = json.get("nudge").and_then(Json::as_str).ok_or("no nudge")?;
        Ok(Self {
            moment: whole("moment")?,
            diverged: json.get("diverged").and_then(Json::as_bool).unwrap_or(false),
            steps: whole("steps")?,
            nudge: nudge.parse().map_err(|error: Error| error.to_string())?,
            refused: json.get("refused").and_then(Json::as_str).map(str::to_owned),
        })
    }
}
