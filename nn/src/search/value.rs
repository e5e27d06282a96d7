//! What hyperparameters are: numbers, or one of several things.

use std::fmt;

/// One of the things to choose from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Choice {
    /// Nothing: a switch that is off.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A name.
    Text(String),
}

macro_rules! choice_from {
    ($($kind:ty => $make:expr),*) => {
        $(impl From<$kind> for Choice {
            fn from(value: $kind) -> Self {
                $make(value)
            }
        })*
    };
}
choice_from!(bool => Choice::Bool, i64 => Choice::Int, i32 => |v| Choice::Int(i64::from(v)),
    u32 => |v| Choice::Int(i64::from(v)), f64 => Choice::Float, String => Choice::Text,
    &str => |v: &str| Choice::Text(v.to_owned()),
    usize => |v| i64::try_from(v).map_or(Choice::Float(v as f64), Choice::Int));

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("none"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// The value of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Of a uniform, logarithmic, 1-log or stepped parameter.
    Float(f64),
    /// Of an integer one.
    Int(i64),
    /// What was chosen.
    Choice(Choice),
}

impl Value {
    /// The number that this is; none for text and switches.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) | Self::Choice(Choice::Float(value)) => Some(*value),
            Self::Int(value) | Self::Choice(Choice::Int(value)) => Some(*value as f64),
            Self::Choice(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Choice(value) => value.fmt(f),
        }
    }
}
