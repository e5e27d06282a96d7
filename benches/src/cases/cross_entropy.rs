//! Cross-entropy of logits: loss and gradient together.

use tilewise_kernels::{
    Exec, Float, MatMut, MatRef, Reduction, Result, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    Targets, naive,
};

use super::LOGITS;
use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// Softmax and sigmoid cross-entropy on every shape. Each reads the logits and writes their
/// gradient; the sigmoid form also reads as many targets.
pub fn cases<T: Float>() -> Vec<Case> {
    let on = |shape: [usize; 2]| {
        let [rows, cols] = shape;
        let id = |op| format!("{op}/{}/{rows}x{cols}", T::NAME);
        let work = |values| Work::values::<T>(values * rows * cols);
        [
            Case::new(id("cross_entropy"), work(2), move || Logits::<T>::new(shape, true)),
            Case::new(id("sigmoid_cross_entropy"), work(3), move || Logits::<T>::new(shape, false)),
        ]
    };
    LOGITS.into_iter().flat_map(on).collect()
}

struct Logits<T> {
    rows: usize,
    cols: usize,
    logits: Vec<T>,
    labels: Vec<usize>,
    /// For the sigmoid form; empty otherwise.
    targets: Vec<T>,
    dlogits: Vec<T>,
    loss: T,
}

impl<T: Float> Logits<T> {
    fn new([rows, cols]: [usize; 2], softmax: bool) -> Self {
        let mut random = Random::new(1);
        let len = rows * cols;
        Self {
            rows,
            cols,
            logits: random.uniform(len, -5.0, 5.0),
            labels: random.below(rows, cols),
            targets: random.uniform(if softmax { 0 } else { len }, 0.0, 1.0),
            dlogits: vec![T::ZERO; len],
            loss: T::ZERO,
        }
    }

    fn fast(&mut self, exec: Exec) -> Result<T> {
        let Self { rows, cols, logits, labels, targets, dlogits, .. } = self;
        let loss = if targets.is_empty() {
            let logits = MatRef::new(logits, *rows, *cols)?;
            SoftmaxCrossEntropy::new(logits, Targets::Classes(labels))?
                .loss_and_gradient(MatMut::new(dlogits, *rows, *cols)?, exec)?
        } else {
            SigmoidCrossEntropy::new(logits, targets)?.loss_and_gradient(dlogits, exec)?
        };
        Ok(loss.value)
    }

    fn naive(&mut self) -> Result<T> {
        let Self { rows, cols, logits, labels, targets, dlogits, .. } = self;
        let loss = if targets.is_empty() {
            naive::softmax_cross_entropy(
                MatRef::new(logits, *rows, *cols)?,
                Targets::Classes(labels),
                naive::CrossEntropyOptions::default(),
                MatMut::new(dlogits, *rows, *cols)?,
            )
        } else {
            naive::sigmoid_cross_entropy(logits, targets, Reduction::Mean, dlogits)
        };
        Ok(loss.value)
    }
}

impl<T: Float> Workload for Logits<T> {
    fn run(&mut self, by: Implementation) {
        let loss = match by.exec() {
            Some(exec) => self.fast(exec),
            None => self.naive(),
        };
        self.loss = loss.expect("valid arguments");
    }

    /// The gradients times the rows, since the mean makes them small.
    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        append(&self.dlogits, &mut all);
        all.iter_mut().for_each(|gradient| *gradient *= self.rows as f64);
        all.push(self.loss.to_f64());
        all
    }

    /// Sums of as many terms as a row has classes, each with a few roundings.
    fn tolerance(&self) -> f64 {
        (self.cols + 16) as f64 * T::EPSILON.to_f64()
    }
}
