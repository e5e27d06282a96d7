//! Where a model left the finite numbers.

use tilewise_kernels::Float;

use super::Sequential;
use super::pass::Flow;
use crate::matrix::Matrix;

impl<T: Float> Sequential<T> {
    /// The name of the first layer whose output in the last training pass is not finite.
    pub(crate) fn first_not_finite(&self) -> Option<&str> {
        let index = self.values.iter().position(|y| y.first_not_finite().is_some())?;
        Some(&self.names[index])
    }

    /// The first layer with an output that is not finite, for inference on `x`.
    pub(crate) fn first_not_finite_on(&self, x: &Matrix<T>) -> Option<&str> {
        let mut flow = Flow::default();
        flow.begin(self, x, [0, x.rows()]).ok()?;
        for index in 0..self.layers.len() {
            flow.step(self, index).ok()?;
            if flow.output().first_not_finite().is_some() {
                return Some(&self.names[index]);
            }
        }
        None
    }
}
