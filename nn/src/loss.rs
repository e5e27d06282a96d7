//! Losses. Those of classes take logits and own the final softmax or sigmoid, so that a network ends
//! in logits and no layer offers a softmax of its own: a second one by accident cannot be written.

use tilewise_kernels::{self as kernels, Distance, Error, Exec, Float, Reduction, Result};

use crate::matrix::Matrix;

/// What a model's outputs should have been, row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Targets<'a, T> {
    /// The number of a class for each row.
    Classes(&'a [usize]),
    /// A value for each output: what a regression should have given, or probabilities.
    Values(&'a Matrix<T>),
}

impl<'a, T> From<&'a [usize]> for Targets<'a, T> {
    fn from(classes: &'a [usize]) -> Self {
        Self::Classes(classes)
    }
}

impl<'a, T> From<&'a Vec<usize>> for Targets<'a, T> {
    fn from(classes: &'a Vec<usize>) -> Self {
        Self::Classes(classes)
    }
}

impl<'a, T, const N: usize> From<&'a [usize; N]> for Targets<'a, T> {
    fn from(classes: &'a [usize; N]) -> Self {
        Self::Classes(classes)
    }
}

impl<'a, T> From<&'a Matrix<T>> for Targets<'a, T> {
    fn from(values: &'a Matrix<T>) -> Self {
        Self::Values(values)
    }
}

/// A scalar to be minimised, as the mean over a minibatch.
pub trait Loss<T: Float> {
    /// The loss of `outputs` for the given targets; where `gradient` is given, it becomes the
    /// derivative of the loss by the outputs and must have their shape.
    ///
    /// # Errors
    /// If the shapes do not fit, a target is out of range or of a kind that the loss does not take.
    fn evaluate(
        &self,
        outputs: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64>;
}

/// Softmax cross-entropy: `-ln softmax(z)[label]`, for one class of several; or for a probability of
/// each class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SoftmaxCrossEntropy {
    label_smoothing: f64,
    class_weights: Vec<f64>,
    ignored: Option<usize>,
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

    /// Leaves rows with this label out of the loss and its mean; it need not be a class. Where all are
    /// left out, loss and gradient are 0.
    #[must_use]
    pub fn ignore(self, label: usize) -> Self {
        Self { ignored: Some(label), ..self }
    }
}

impl<T: Float> Loss<T> for SoftmaxCrossEntropy {
    fn evaluate(
        &self,
        logits: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        let weights: Vec<T> = self.class_weights.iter().map(|&w| T::from_f64(w)).collect();
        let targets = match targets {
            Targets::Classes(labels) => kernels::Targets::Classes(labels),
            Targets::Values(shares) => kernels::Targets::Probabilities(shares.view()),
        };
        let mut op =
            kernels::SoftmaxCrossEntropy::new(logits.view(), targets)?.reduction(Reduction::Mean);
        if self.label_smoothing != 0.0 {
            op = op.label_smoothing(T::from_f64(self.label_smoothing));
        }
        if !weights.is_empty() {
            op = op.class_weights(&weights);
        }
        if let Some(label) = self.ignored {
            op = op.ignore_index(label);
        }
        let loss = match gradient {
            Some(gradient) => op.loss_and_gradient(gradient.view_mut(), exec)?,
            None => op.loss(exec)?,
        };
        Ok(loss.value.to_f64())
    }
}

/// Sigmoid cross-entropy. A single logit says how likely class 1 is against class 0; several are
/// one such question per class, answered by a class or by a probability for each logit. The mean is
/// over all logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SigmoidCrossEntropy;

impl<T: Float> Loss<T> for SigmoidCrossEntropy {
    fn evaluate(
        &self,
        logits: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        let answers;
        let targets = match targets {
            Targets::Classes(labels) => {
                answers = self::answers(logits, labels)?;
                &answers
            }
            Targets::Values(values) => same_shape(logits, values)?,
        };
        let op = kernels::SigmoidCrossEntropy::new(logits.data(), targets.data())?
            .reduction(Reduction::Mean);
        let loss = match gradient {
            Some(gradient) => op.loss_and_gradient(gradient.data_mut(), exec)?,
            None => op.loss(exec)?,
        };
        Ok(loss.value.to_f64())
    }
}

/// The mean of the squares of all differences between outputs and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeanSquaredError;

/// The mean of the magnitudes of all differences between outputs and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeanAbsoluteError;

/// The mean of half the squares of small differences, and of the magnitudes of large ones times δ, less
/// δ²/2 (Huber 1964): outliers pull no harder than δ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Huber {
    delta: f64,
}

impl Huber {
    /// With squares up to `delta`, finite and above 0.
    pub fn new(delta: f64) -> Self {
        Self { delta }
    }
}

impl Default for Huber {
    /// With squares up to 1.
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl<T: Float> Loss<T> for MeanSquaredError {
    fn evaluate(
        &self,
        outputs: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        regression(Distance::Squared, [outputs, values(outputs, targets)?], gradient, exec)
    }
}

impl<T: Float> Loss<T> for MeanAbsoluteError {
    fn evaluate(
        &self,
        outputs: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        regression(Distance::Absolute, [outputs, values(outputs, targets)?], gradient, exec)
    }
}

impl<T: Float> Loss<T> for Huber {
    fn evaluate(
        &self,
        outputs: &Matrix<T>,
        targets: Targets<'_, T>,
        gradient: Option<&mut Matrix<T>>,
        exec: Exec,
    ) -> Result<f64> {
        let distance = Distance::Huber { delta: self.delta };
        regression(distance, [outputs, values(outputs, targets)?], gradient, exec)
    }
}

fn regression<T: Float>(
    distance: Distance,
    [outputs, values]: [&Matrix<T>; 2],
    gradient: Option<&mut Matrix<T>>,
    exec: Exec,
) -> Result<f64> {
    let op = kernels::RegressionLoss::new(outputs.data(), values.data(), distance)?;
    let loss = match gradient {
        Some(gradient) => op.loss_and_gradient(gradient.data_mut(), exec)?,
        None => op.loss(exec)?,
    };
    Ok(loss.value.to_f64())
}

/// The values of a regression.
fn values<'a, T: Float>(outputs: &Matrix<T>, targets: Targets<'a, T>) -> Result<&'a Matrix<T>> {
    match targets {
        Targets::Values(values) => same_shape(outputs, values),
        Targets::Classes(_) => {
            let expected = "values, one for each output";
            Err(Error::shape("targets", expected, "classes (for which there is cross-entropy)"))
        }
    }
}

/// 1 where the question is answered by yes, else 0.
fn answers<T: Float>(logits: &Matrix<T>, labels: &[usize]) -> Result<Matrix<T>> {
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

/// `values`, if it has a value for each of `outputs`.
fn same_shape<'a, T: Float>(outputs: &Matrix<T>, values: &'a Matrix<T>) -> Result<&'a Matrix<T>> {
    let shape = |m: &Matrix<T>| format!("{} x {}", m.rows(), m.cols());
    let fits = (outputs.rows(), outputs.cols()) == (values.rows(), values.cols());
    if fits { Ok(values) } else { Err(Error::shape("targets", shape(outputs), shape(values))) }
}
