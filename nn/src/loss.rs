//! Losses. They take logits and own the final softmax or sigmoid, so that a network ends in logits
//! and no layer offers a softmax of its own: a second one by accident cannot be written.

use tilewise_kernels::{self as kernels, Error, Exec, Float, Reduction, Result, Targets};

use crate::matrix::Matrix;

/// A scalar to be minimised, as the mean over a minibatch.
pub trait Loss<T: Float> {
    /// The loss of `logits` for the given classes, one per row; where `gradient` is given, it
    /// becomes the derivative of the loss by the logits and must have their shape.
    ///
    /// # Errors
    /// If the shapes do not fit or a label is out of range.
    fn evaluate(
        &self,
        logits: &Matrix<T>,
        labels: &[usize],
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64>;
}

/// Softmax cross-entropy: `-ln softmax(z)[label]`, for one class of several.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SoftmaxCrossEntropy {
    label_smoothing: f64,
    class_weights: Vec<f64>,
}

impl SoftmaxCrossEntropy {
    /// Spreads `share` of the target evenly over all classes.
    #[must_use]
    pub fn label_smoothing(self, share: f64) -> Self {
        Self { label_smoothing: share, ..self }
    }

    /// Weighs the examples of each class; the mean is the weighted one.
    #[must_use]
    pub fn class_weights(self, weights: Vec<f64>) -> Self {
        Self { class_weights: weights, ..self }
    }
}

impl<T: Float> Loss<T> for SoftmaxCrossEntropy {
    fn evaluate(
        &self,
        logits: &Matrix<T>,
        labels: &[usize],
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        let weights: Vec<T> = self.class_weights.iter().map(|&w| T::from_f64(w)).collect();
        let mut op = kernels::SoftmaxCrossEntropy::new(logits.view(), Targets::Classes(labels))?
            .reduction(Reduction::Mean);
        if self.label_smoothing != 0.0 {
            op = op.label_smoothing(T::from_f64(self.label_smoothing));
        }
        if !weights.is_empty() {
            op = op.class_weights(&weights);
        }
        let loss = match gradient {
            Some(gradient) => op.loss_and_gradient(gradient.view_mut(), exec)?,
            None => op.loss(exec)?,
        };
        Ok(loss.value.to_f64())
    }
}

/// Sigmoid cross-entropy. A single logit says how likely class 1 is against class 0; several are
/// one such question per class. The mean is over all logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SigmoidCrossEntropy;

impl<T: Float> Loss<T> for SigmoidCrossEntropy {
    fn evaluate(
        &self,
        logits: &Matrix<T>,
        labels: &[usize],
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        let targets = targets(logits, labels)?;
        let op = kernels::SigmoidCrossEntropy::new(logits.data(), targets.data())?
            .reduction(Reduction::Mean);
        let loss = match gradient {
            Some(gradient) => op.loss_and_gradient(gradient.data_mut(), exec)?,
            None => op.loss(exec)?,
        };
        Ok(loss.value.to_f64())
    }
}

/// 1 where the question is answered by yes, else 0.
fn targets<T: Float>(logits: &Matrix<T>, labels: &[usize]) -> Result<Matrix<T>> {
    let (rows, cols) = (logits.rows(), logits.cols());
    if labels.len() != rows {
        return Err(Error::shape(
            "labels",
            format!("{rows} for {rows} rows of logits"),
            labels.len(),
        ));
    }
    let classes = cols.max(2);
    let mut targets = logits.clone();
    targets.data_mut().fill(T::ZERO);
    for (row, &label) in labels.iter().enumerate() {
        match label {
            _ if label >= classes => {
                return Err(Error::value(
                    format!("label of row {row}"),
                    format!("a class below {classes}"),
                    label,
                ));
            }
            // One logit asks about class 1 only.
            _ if cols == 1 => targets.row_mut(row)[0] = T::from_usize(label),
            _ => targets.row_mut(row)[label] = T::ONE,
        }
    }
    Ok(targets)
}
