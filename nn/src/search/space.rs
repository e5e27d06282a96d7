//! A list of hyperparameters, for samplers that must know them beforehand and for one-call sampling.

use crate::error::{Error, Result};
use crate::search::distribution::{Choice, Distribution};

/// How much a hyperparameter usually matters, by the course's order of what to tune first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The learning rate.
    First,
    /// Momentum, hidden units, minibatch size.
    Second,
    /// Layers and the decay of the learning rate.
    Third,
    /// What hardly ever needs tuning: β₁, β₂ and ε of Adam.
    Rarely,
}

/// A named hyperparameter of a space.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Its range and scale.
    pub distribution: Distribution,
    /// How much it usually matters.
    pub tier: Tier,
}

/// A list of hyperparameters. Spaces with branches need none: a trial asks for what it needs as it runs
/// (see [`Trial`](crate::search::Trial)).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Space {
    dimensions: Vec<Dimension>,
}

impl Space {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the course tunes, under its names: `alpha` in 1e-4..=1 (log), momentum `beta` in
    /// .9..=.999 (1-log), `hidden_units` in 50..=100, `minibatch` of 32 to 512, `layers` in 2..=4 and
    /// `decay` of the learning rate in 0..=1; `beta1`, `beta2` and `epsilon` of Adam in the last tier,
    /// which [`up_to`](Self::up_to) leaves out.
    ///
    /// # Errors
    /// None; the type is that of the calls it makes.
    pub fn course() -> Result<Self> {
        Self::new()
            .with("alpha", Distribution::log(1e-4, 1.0), Tier::First)?
            .with("beta", Distribution::one_minus_log(0.9, 0.999), Tier::Second)?
            .with("hidden_units", Distribution::int(50, 100), Tier::Second)?
            .with("minibatch", Distribution::choice([32, 64, 128, 256, 512]), Tier::Second)?
            .with("layers", Distribution::int(2, 4), Tier::Third)?
            .with("decay", Distribution::uniform(0.0, 1.0), Tier::Third)?
            .with("beta1", Distribution::one_minus_log(0.8, 0.99), Tier::Rarely)?
            .with("beta2", Distribution::one_minus_log(0.99, 0.9999), Tier::Rarely)?
            .with("epsilon", Distribution::log(1e-10, 1e-4), Tier::Rarely)
    }

    /// Adds a hyperparameter.
    ///
    /// # Errors
    /// If its name is taken or its range is wrong; see [`Distribution::check`].
    pub fn with(mut self, name: &str, distribution: Distribution, tier: Tier) -> Result<Self> {
        distribution.check(name)?;
        if self.get(name).is_some() {
            let what = format!("parameter `{name}`: name");
            return Err(Error::argument(what, "one that is not taken", name));
        }
        self.dimensions.push(Dimension { name: name.to_owned(), distribution, tier });
        Ok(self)
    }

    /// Adds one on a linear scale, in the first tier like all those below.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn uniform(self, name: &str, low: f64, high: f64) -> Result<Self> {
        self.with(name, Distribution::uniform(low, high), Tier::First)
    }

    /// Adds one on a logarithmic scale.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn log(self, name: &str, low: f64, high: f64) -> Result<Self> {
        self.with(name, Distribution::log(low, high), Tier::First)
    }

    /// Adds one whose distance from 1 is on a logarithmic scale.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn one_minus_log(self, name: &str, low: f64, high: f64) -> Result<Self> {
        self.with(name, Distribution::one_minus_log(low, high), Tier::First)
    }

    /// Adds an integer.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn int(self, name: &str, low: i64, high: i64) -> Result<Self> {
        self.with(name, Distribution::int(low, high), Tier::First)
    }

    /// Adds a choice.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn choice<C: Into<Choice>>(
        self,
        name: &str,
        choices: impl IntoIterator<Item = C>,
    ) -> Result<Self> {
        self.with(name, Distribution::choice(choices), Tier::First)
    }

    /// Only those that matter as much as `tier` or more.
    #[must_use]
    pub fn up_to(mut self, tier: Tier) -> Self {
        self.dimensions.retain(|dimension| dimension.tier <= tier);
        self
    }

    /// All, in the order they were added.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Dimension> {
        self.dimensions.iter().find(|dimension| dimension.name == name)
    }

    /// The place of a name in the order.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|dimension| dimension.name == name)
    }
}

/// Over how many values an exponentially weighted average with weight `beta` looks: `1/(1-β)`.
pub fn ewa_window(beta: f64) -> f64 {
    1.0 / (1.0 - beta)
}
