//! All combinations of a few values: for comparison, and for two or three choices.

use crate::error::{Error, Result};
use crate::search::history::History;
use crate::search::sampler::{Ask, Sampler};
use crate::search::space::Space;

/// All combinations of a few values of every dimension of a space; starts again when all were tried.
/// The last dimension varies fastest.
#[derive(Debug, Clone)]
pub struct Grid {
    space: Space,
    points: Vec<usize>,
}

impl Grid {
    /// `points` values along every dimension, both ends among them; where there are fewer values than
    /// that, all of them.
    ///
    /// # Errors
    /// If there are no points, or more combinations than a `usize` counts.
    pub fn new(space: Space, points: usize) -> Result<Self> {
        if points == 0 {
            return Err(Error::argument("grid points", "at least one", points));
        }
        let fitting = |cells: Option<usize>| cells.map_or(points, |cells| cells.min(points));
        let points: Vec<usize> =
            space.dimensions().iter().map(|d| fitting(d.distribution.cells())).collect();
        let all = points.iter().try_fold(1usize, |all, &points| all.checked_mul(points));
        match all {
            Some(_) => Ok(Self { space, points }),
            None => Err(Error::argument("grid combinations", "at most usize::MAX", "more")),
        }
    }

    /// The number of combinations.
    pub fn combinations(&self) -> usize {
        self.points.iter().product()
    }
}

impl Sampler for Grid {
    fn position(&self, ask: &Ask<'_>, _: &History<'_>) -> Result<f64> {
        let Some(dimension) = self.space.index(ask.name) else {
            let what = format!("parameter `{}`: name", ask.name);
            return Err(Error::argument(what, "one of the grid's space", ask.name));
        };
        let points = self.points[dimension];
        let faster: usize = self.points[dimension + 1..].iter().product();
        let index = (ask.trial as usize / faster) % points;
        // Values that are apart are met in the middles of their cells.
        let whole = ask.distribution.cells().filter(|&cells| cells <= points);
        Ok(match whole {
            Some(cells) => (index as f64 + 0.5) / cells as f64,
            None if points == 1 => 0.5,
            None => index as f64 / (points - 1) as f64,
        })
    }
}
