//! The data of a training, and the rows of a step in memory that serves all of them.

use tilewise_kernels::Float;

use crate::data::Supervised;
use crate::error::Result;
use crate::loss::Targets;
use crate::matrix::Matrix;

/// Features and targets, whatever holds them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a, T> {
    pub(super) features: &'a Matrix<T>,
    pub(super) targets: Targets<'a, T>,
}

impl<'a, T: Float> Data<'a, T> {
    pub(super) fn of(data: &'a (impl Supervised<T> + ?Sized)) -> Self {
        Self { features: data.features(), targets: data.targets() }
    }
}

/// Some rows of them.
#[derive(Debug, Default)]
pub(super) struct Minibatch<T> {
    pub(super) x: Matrix<T>,
    labels: Vec<usize>,
    /// Where targets are values.
    values: Option<Matrix<T>>,
}

impl<T: Float> Minibatch<T> {
    /// Brings rows in.
    pub(super) fn load(&mut self, data: Data<'_, T>, picked: &[usize]) -> Result<()> {
        self.x.gather(data.features, picked)?;
        match data.targets {
            Targets::Classes(labels) => {
                self.labels.clear();
                self.labels.extend(picked.iter().map(|&row| labels[row]));
            }
            Targets::Values(values) => {
                self.values.get_or_insert_default().gather(values, picked)?;
            }
        }
        Ok(())
    }

    pub(super) fn targets(&self) -> Targets<'_, T> {
        self.values.as_ref().map_or(Targets::Classes(&self.labels), Targets::Values)
    }
}
