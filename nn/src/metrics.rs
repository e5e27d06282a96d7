//! Measures of a classification beside its loss and accuracy.

use std::fmt;

use tilewise_kernels::Float;

use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Share of the rows whose label is among the `k` largest logits. Of equal logits, those of lower
/// classes count as larger, as in [`predict`](crate::Sequential::predict).
///
/// # Errors
/// If there are no rows, not one label per row, a label that is no column, `k` is 0, or a logit is NaN.
///
/// ```
/// use tilewise_nn::Matrix;
/// use tilewise_nn::metrics::top_k_accuracy;
///
/// let logits = Matrix::from_rows(&[[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])?;
/// assert_eq!(top_k_accuracy(&logits, &[2, 2], 1)?, 0.0);
/// assert_eq!(top_k_accuracy(&logits, &[2, 2], 2)?, 0.5);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
pub fn top_k_accuracy<T: Float>(logits: &Matrix<T>, labels: &[usize], k: usize) -> Result<f64> {
    if k == 0 {
        return Err(Error::argument("k of the top-k accuracy", "at least 1", k));
    }
    let rows = logits.rows();
    if rows == 0 || labels.len() != rows {
        let expected = format!("{rows} for {rows} rows, and at least one");
        return Err(Error::shape("labels", expected, labels.len()));
    }
    let mut hits = 0usize;
    for (row, &label) in labels.iter().enumerate() {
        let logits = logits.row(row);
        let Some(&own) = logits.get(label) else {
            let expected = format!("a class below {}", logits.len());
            return Err(Error::argument(format!("label of row {row}"), expected, label));
        };
        if let Some(class) = logits.iter().position(|z| z.to_f64().is_nan()) {
            let what = format!("logit of row {row}, class {class}");
            return Err(Error::argument(what, "a number", "NaN"));
        }
        let before = |(class, &z): (usize, &T)| z > own || (z == own && class < label);
        hits += usize::from(logits.iter().enumerate().filter(|&at| before(at)).count() < k);
    }
    Ok(hits as f64 / rows as f64)
}

/// How often each class was taken for each: rows are the true classes, columns the predicted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// Counts pairs of a label and a prediction.
    ///
    /// # Errors
    /// If there are not as many of both, or one is not below `classes`.
    pub fn new(labels: &[usize], predicted: &[usize], classes: usize) -> Result<Self> {
        if labels.len() != predicted.len() {
            let expected = format!("{}, one for each label", labels.len());
            return Err(Error::shape("predictions", expected, predicted.len()));
        }
        let area = classes.checked_mul(classes);
        let area = area.ok_or_else(|| Error::argument("classes", "a matrix of them", classes))?;
        let mut counts = vec![0; area];
        for (row, (&label, &class)) in labels.iter().zip(predicted).enumerate() {
            let wrong = |what: &str, got: usize| {
                let what = format!("{what} of row {row}");
                Error::argument(what, format!("a class below {classes}"), got)
            };
            if label >= classes {
                return Err(wrong("label", label));
            }
            if class >= classes {
                return Err(wrong("prediction", class));
            }
            counts[label * classes + class] += 1;
        }
        Ok(Self { classes, counts })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `label` was taken for `predicted`; 0 for classes that there are not.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        let inside = label < self.classes && predicted < self.classes;
        if inside { self.counts[label * self.classes + predicted] } else { 0 }
    }

    /// Share of rows that were predicted right; NaN of none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        right as f64 / self.counts.iter().sum::<u64>() as f64
    }

    /// Of the rows that were predicted to be `class`, the share that is; NaN where none was.
    pub fn precision(&self, class: usize) -> f64 {
        let all: u64 = (0..self.classes).map(|label| self.count(label, class)).sum();
        self.count(class, class) as f64 / all as f64
    }

    /// Of the rows that are of `class`, the share that was predicted; NaN where there are none.
    pub fn recall(&self, class: usize) -> f64 {
        let all: u64 = (0..self.classes).map(|other| self.count(class, other)).sum();
        self.count(class, class) as f64 / all as f64
    }

    /// The harmonic mean of precision and recall; NaN where the class neither is nor was predicted.
    pub fn f1(&self, class: usize) -> f64 {
        let hits = self.count(class, class);
        let either = |other| self.count(class, other) + self.count(other, class);
        2.0 * hits as f64 / (0..self.classes).map(either).sum::<u64>() as f64
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = self.counts.iter().copied().max().unwrap_or(0).max(self.classes as u64);
        let width = largest.to_string().len();
        let corner = "label\\predicted";
        write!(f, "{corner}")?;
        (0..self.classes).try_for_each(|class| write!(f, " {class:>width$}"))?;
        for label in 0..self.classes {
            write!(f, "\n{label:>0$}", corner.len())?;
            (0..self.classes)
                .try_for_each(|class| write!(f, " {:>width$}", self.count(label, class)))?;
        }
        Ok(())
    }
}
