//! Data sets: features with labels, splits, minibatches, scaling, and files.

pub mod csv;
mod digits;
pub mod idx;
#[cfg(feature = "images")]
pub mod images;
pub mod npy;
pub(crate) mod npy_header;
mod pipeline;
mod standardizer;
mod supervised;

use tilewise_kernels::Float;

pub use digits::digits;
pub use pipeline::{Examples, Pipeline};
pub use standardizer::Standardizer;
pub(crate) use standardizer::check_finite;
pub use supervised::{Regression, Supervised};

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::random::Random;

/// Features, one row per example, each with the number of its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset<T = f32> {
    features: Matrix<T>,
    labels: Vec<usize>,
    classes: usize,
}

impl<T: Float> Dataset<T> {
    /// A data set of `classes` classes, numbered from 0.
    ///
    /// # Errors
    /// If the numbers of rows and labels differ or a label is not below `classes`; the error names
    /// the row.
    pub fn new(features: Matrix<T>, labels: Vec<usize>, classes: usize) -> Result<Self> {
        if labels.len() != features.rows() {
            let rows = features.rows();
            return Err(Error::shape("labels", format!("{rows} for {rows} rows"), labels.len()));
        }
        if let Some(row) = labels.iter().position(|&label| label >= classes) {
            return Err(Error::argument(
                format!("label of row {row}"),
                format!("a class below {classes}"),
                labels[row],
            ));
        }
        Ok(Self { features, labels, classes })
    }

    /// The features.
    pub fn features(&self) -> &Matrix<T> {
        &self.features
    }

    /// The class of each row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The same labels with other features.
    ///
    /// # Errors
    /// If the number of rows differs.
    pub fn with_features(&self, features: Matrix<T>) -> Result<Self> {
        Self::new(features, self.labels.clone(), self.classes)
    }

    /// The rows `picked`, in that order.
    ///
    /// # Errors
    /// If a row does not exist.
    pub fn select(&self, picked: &[usize]) -> Result<Self> {
        let features = self.features.select_rows(picked)?;
        let labels = picked.iter().map(|&row| self.labels[row]).collect();
        Ok(Self { features, labels, classes: self.classes })
    }

    /// The first rows and the last `held_out` ones.
    ///
    /// # Errors
    /// If there are fewer rows.
    pub fn sequential_split(&self, held_out: usize) -> Result<(Self, Self)> {
        let kept = self.check_split(held_out)?;
        let order: Vec<usize> = (0..self.len()).collect();
        Ok((self.select(&order[..kept])?, self.select(&order[kept..])?))
    }

    /// Two parts at random, the second with `held_out` rows and, to one row, the share of each
    /// class that the whole has. The same seed gives the same split on every CPU.
    ///
    /// # Errors
    /// If there are fewer rows.
    pub fn stratified_split(&self, held_out: usize, seed: u64) -> Result<(Self, Self)> {
        self.check_split(held_out)?;
        let mut random = Random::new(seed);
        let mut members = vec![Vec::new(); self.classes];
        for (row, &label) in self.labels.iter().enumerate() {
            members[label].push(row);
        }
        let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        for (members, quota) in members.iter_mut().zip(quotas(&sizes, held_out)) {
            random.shuffle(members);
            held.extend_from_slice(&members[..quota]);
            kept.extend_from_slice(&members[quota..]);
        }
        random.shuffle(&mut kept);
        random.shuffle(&mut held);
        Ok((self.select(&kept)?, self.select(&held)?))
    }

    fn check_split(&self, held_out: usize) -> Result<usize> {
        self.len().checked_sub(held_out).ok_or_else(|| {
            Error::argument("held out rows", format!("at most {}", self.len()), held_out)
        })
    }
}

/// How many of each class to take for `total` in all: proportional, largest remainders first.
fn quotas(sizes: &[usize], total: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    let share = |size: usize| {
        let product = size as u128 * total as u128;
        let all = all.max(1) as u128;
        (product / all, product % all)
    };
    let mut quotas: Vec<usize> = sizes.iter().map(|&size| share(size).0 as usize).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(share(sizes[class]).1));
    let missing = total - quotas.iter().sum::<usize>();
    for &class in by_remainder.iter().take(missing) {
        quotas[class] += 1;
    }
    quotas
}

/// The order of one epoch, cut into minibatches: every row once.
#[derive(Debug, Clone)]
pub struct Minibatches {
    order: Vec<usize>,
    size: usize,
    drop_last: bool,
}

impl Minibatches {
    /// Minibatches of `size` over `rows` rows, shuffled by `seed` and `epoch`. The last one is
    /// smaller where `size` does not divide `rows`, or left out with `drop_last`.
    ///
    /// # Errors
    /// If `size` is 0.
    pub fn new(rows: usize, size: usize, drop_last: bool) -> Result<Self> {
        if size == 0 {
            return Err(Error::argument("batch size", "at least 1", size));
        }
        Ok(Self { order: (0..rows).collect(), size, drop_last })
    }

    /// Shuffles for an epoch; the order depends on `seed` and `epoch` alone.
    pub fn shuffle(&mut self, seed: u64, epoch: u64) {
        self.order.sort_unstable();
        Random::new(seed).stream(epoch).shuffle(&mut self.order);
    }

    /// Number of minibatches.
    pub fn len(&self) -> usize {
        if self.drop_last {
            self.order.len() / self.size
        } else {
            self.order.len().div_ceil(self.size)
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of minibatch `index`; none where there is no such minibatch.
    pub fn get(&self, index: usize) -> &[usize] {
        self.iter().nth(index).unwrap_or_default()
    }

    /// The rows of each minibatch.
    pub fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.order.chunks(self.size).take(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::quotas;

    #[test]
    fn quotas_add_up_and_fit() {
        assert_eq!(quotas(&[5, 3, 2], 5), [3, 1, 1]);
        assert_eq!(quotas(&[178, 182, 177], 537), [178, 182, 177]);
        assert_eq!(quotas(&[], 0), [0; 0]);
        assert_eq!(quotas(&[0, 4], 3), [0, 3]);
    }
}
