//! Softmax cross-entropy of logits: loss and gradient in one visit of each row, one exponential per
//! element.
//!
//! With p = softmax(z) and target weights a, the loss of a row is Σ a (ln Σ exp(z - max) - (z - max))
//! and its gradient p Σ a - a. For a label y without smoothing or class weights, a is 1 at y and 0
//! elsewhere, and these are -ln p[y] and p - onehot(y). The row losses are summed in `f64` over fixed
//! blocks of rows, merged pairwise: the same bits for any number of threads.

mod blocks;
mod linear;
mod rows;
mod soft;
mod tiles;

pub(crate) use self::linear::Wanted;
pub use self::linear::{LinearCrossEntropy, LinearCrossEntropyGrads};
pub(crate) use self::rows::Matrices;
use self::rows::{BLOCK, Block, Rows, Rules};
use super::range::first_outside;
use super::rows::{check_rows, check_shape, row_grain};
use crate::buffer::with_zeros;
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// What the rows of a matrix of logits are compared with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Targets<'a, T> {
    /// One class index per row.
    Classes(&'a [usize]),
    /// One row of class probabilities per row of logits; finite and not negative. They need not sum
    /// to 1.
    Probabilities(MatRef<'a, T>),
}

/// How the losses of all rows (or elements) become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean over what counts.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// A reduced loss and how much entered it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss<T> {
    /// The loss; 0 where nothing counted.
    pub value: T,
    /// Rows that were not ignored (elements, for sigmoid cross-entropy).
    pub counted: usize,
}

impl<T: Float> Loss<T> {
    /// `total` under a reduction in which all that counted weighs `weight`.
    pub(crate) fn reduced(reduction: Reduction, total: f64, weight: f64, counted: usize) -> Self {
        let value = match reduction {
            Reduction::Mean if weight == 0.0 => 0.0,
            Reduction::Mean => total / weight,
            Reduction::Sum => total,
        };
        Self { value: T::from_f64(value), counted }
    }
}

impl Reduction {
    /// The factor of every gradient where all that counts weighs `weight`.
    pub(crate) fn scale<T: Float>(self, weight: f64) -> T {
        match self {
            Self::Mean if weight == 0.0 => T::ZERO,
            Self::Mean => T::from_f64(1.0 / weight),
            Self::Sum => T::ONE,
        }
    }
}

/// Mean softmax cross-entropy of `logits` with one class index per row, and its gradient.
///
/// # Errors
/// If a label is not below the number of classes, shapes differ or rows are not contiguous.
pub fn softmax_cross_entropy<T: Float>(
    logits: MatRef<'_, T>,
    targets: &[usize],
    dlogits: MatMut<'_, T>,
) -> Result<Loss<T>> {
    SoftmaxCrossEntropy::new(logits, Targets::Classes(targets))?
        .loss_and_gradient(dlogits, Exec::default())
}

/// Softmax cross-entropy of logits, rows x classes.
///
/// Reduced by the mean unless told otherwise. The mean divides by the sum of the class weights of
/// the labels that count (by their number without class weights), and by the number of rows for
/// probability targets, as PyTorch does; where that is 0, the mean and its gradient are 0. A logit
/// of -∞ has probability 0; a row of only -∞ is uniform; +∞ or NaN in a row make its loss and
/// gradient NaN.
///
/// [`new`](Self::new) borrows the logits; [`in_place`](SoftmaxCrossEntropy::in_place) takes them as
/// `Z`, to write the gradient over them, with the same bits.
///
/// # Work
/// Elements are exponentiated once. A row that fits the cache is read, and its gradient written, once
/// from memory: two accesses per element, 8 bytes in `f32`, which is the minimum; where the gradient
/// goes to another matrix, the processor reads that one's lines before they are written, 12 bytes. The
/// loss alone takes one read.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxCrossEntropy<'a, T, Z = MatRef<'a, T>> {
    logits: Z,
    targets: Targets<'a, T>,
    reduction: Reduction,
    ignore_index: Option<usize>,
    label_smoothing: T,
    class_weights: Option<&'a [T]>,
}

impl<'a, T: Float> SoftmaxCrossEntropy<'a, T> {
    /// Checks shapes; labels and probabilities are checked when the loss is taken, because an option
    /// may still excuse them.
    ///
    /// # Errors
    /// If there is not one target per row, there are rows but no classes, or rows are not contiguous.
    pub fn new(logits: MatRef<'a, T>, targets: Targets<'a, T>) -> Result<Self> {
        check_targets(&logits, &targets).map_err(named)?;
        Ok(Self::with_defaults(logits, targets))
    }

    /// The loss alone: one read of the logits.
    ///
    /// # Errors
    /// If a label is neither a class nor ignored, a probability or class weight is negative or not
    /// finite, the smoothing is outside [0, 1], or there is not one class weight per class.
    pub fn loss(self, exec: Exec) -> Result<Loss<T>> {
        (T::compiled().cross_entropy)(self.map(Matrices::Logits), None, exec)
    }

    /// The loss, and in `dlogits` its derivative by the logits, under the reduction.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), and if `dlogits` has another shape than the logits or rows that are
    /// not contiguous. Nothing is written then.
    pub fn loss_and_gradient(self, dlogits: MatMut<'_, T>, exec: Exec) -> Result<Loss<T>> {
        check_shape("dlogits", &self.logits, [dlogits.rows(), dlogits.cols()]).map_err(named)?;
        check_rows("dlogits", dlogits.has_contiguous_rows(), dlogits.col_stride())
            .map_err(named)?;
        let whole = self.map(|logits| Matrices::Apart(logits, dlogits));
        (T::compiled().cross_entropy)(whole, None, exec)
    }

    /// The loss of each row, weighted but not reduced; 0 for ignored rows.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), and if `out` has not one place per row. Nothing is written then.
    pub fn losses(self, out: &mut [T], exec: Exec) -> Result<()> {
        check_len("losses", self.logits.rows(), out.len()).map_err(named)?;
        (T::compiled().cross_entropy)(self.map(Matrices::Logits), Some(out), exec).map(drop)
    }
}

impl<'a, T: Float> SoftmaxCrossEntropy<'a, T, MatMut<'a, T>> {
    /// Checks shapes, as [`new`](SoftmaxCrossEntropy::new) does, of logits that the gradient is to
    /// replace.
    ///
    /// # Errors
    /// As [`new`](SoftmaxCrossEntropy::new).
    pub fn in_place(logits: MatMut<'a, T>, targets: Targets<'a, T>) -> Result<Self> {
        check_targets(&logits.as_ref(), &targets).map_err(named)?;
        Ok(Self::with_defaults(logits, targets))
    }

    /// The loss; the logits become its derivative by them, under the reduction.
    ///
    /// # Errors
    /// As [`loss`](SoftmaxCrossEntropy::loss). The logits are left as they are then.
    pub fn replace_by_gradient(self, exec: Exec) -> Result<Loss<T>> {
        (T::compiled().cross_entropy)(self.map(Matrices::InPlace), None, exec)
    }
}

/// What [`SoftmaxCrossEntropy::new`] checks.
fn check_targets<T>(logits: &MatRef<'_, T>, targets: &Targets<'_, T>) -> Result<()> {
    check_rows("logits", logits.has_contiguous_rows(), logits.col_stride())?;
    if logits.rows() > 0 && logits.cols() == 0 {
        return Err(Error::shape("logits", "at least one class", "none"));
    }
    match targets {
        Targets::Classes(labels) => check_len("labels", logits.rows(), labels.len()),
        Targets::Probabilities(t) => {
            check_shape("target probabilities", logits, [t.rows(), t.cols()])?;
            check_rows("target probabilities", t.has_contiguous_rows(), t.col_stride())
        }
    }
}

impl<'a, T: Float, Z> SoftmaxCrossEntropy<'a, T, Z> {
    fn with_defaults(logits: Z, targets: Targets<'a, T>) -> Self {
        Self {
            logits,
            targets,
            reduction: Reduction::Mean,
            ignore_index: None,
            label_smoothing: T::ZERO,
            class_weights: None,
        }
    }

    /// How row losses become one.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// Rows with this label count for nothing: loss 0, gradient 0. Class targets only.
    #[must_use]
    pub fn ignore_index(self, label: usize) -> Self {
        Self { ignore_index: Some(label), ..self }
    }

    /// Mixes the target with the uniform distribution: (1 - smoothing) target + smoothing / classes.
    #[must_use]
    pub fn label_smoothing(self, smoothing: T) -> Self {
        Self { label_smoothing: smoothing, ..self }
    }

    /// One factor per class, applied to that class's share of the target.
    #[must_use]
    pub fn class_weights(self, weights: &'a [T]) -> Self {
        Self { class_weights: Some(weights), ..self }
    }

    /// The same with the logits brought into another form.
    fn map<Y>(self, form: impl FnOnce(Z) -> Y) -> SoftmaxCrossEntropy<'a, T, Y> {
        let Self { logits, targets, reduction, ignore_index, label_smoothing, class_weights } =
            self;
        let logits = form(logits);
        SoftmaxCrossEntropy {
            logits,
            targets,
            reduction,
            ignore_index,
            label_smoothing,
            class_weights,
        }
    }

    /// Checks everything that `new` could not, and finds what the rows weigh together.
    fn plan(&self, classes: usize, exec: Exec) -> Result<Plan<'a, T>> {
        let smoothing = self.label_smoothing;
        if !(T::ZERO <= smoothing && smoothing <= T::ONE) {
            return Err(Error::value("label smoothing", "a value in [0, 1]", smoothing));
        }
        let mut total_weight = classes as f64;
        if let Some(weights) = self.class_weights {
            check_len("class weights", classes, weights.len())?;
            if let Some(i) = first_outside(weights, [T::ZERO, T::MAX], exec)? {
                let what = format!("weight of class {i}");
                return Err(Error::value(what, "a finite value of at least 0", weights[i]));
            }
            total_weight = weights.iter().map(|w| w.to_f64()).sum();
        }
        let floor = smoothing.to_f64() / classes.max(1) as f64;
        let rules = Rules {
            ignore_index: self.ignore_index,
            class_weights: self.class_weights,
            keep: T::ONE - smoothing,
            floor: T::from_f64(floor),
            floor_total: T::from_f64(floor * total_weight),
        };
        let (counted, weight) = match self.targets {
            Targets::Classes(labels) => self.checked_labels(labels, classes)?,
            Targets::Probabilities(t) => {
                self.check_probabilities(t, exec)?;
                (t.rows(), t.rows() as f64)
            }
        };
        Ok(Plan { rules, targets: self.targets, reduction: self.reduction, counted, weight })
    }

    /// The number of rows that count and the sum of their class weights.
    fn checked_labels(&self, labels: &[usize], classes: usize) -> Result<(usize, f64)> {
        let (mut counted, mut weight) = (0, 0.0);
        for (row, &label) in labels.iter().enumerate() {
            if self.ignore_index == Some(label) {
                continue;
            }
            if label >= classes {
                let what = format!("label of row {row}");
                return Err(Error::value(what, format!("a class below {classes}"), label));
            }
            counted += 1;
            weight += self.class_weights.map_or(1.0, |weights| weights[label].to_f64());
        }
        Ok((counted, weight))
    }

    fn check_probabilities(&self, t: MatRef<'_, T>, exec: Exec) -> Result<()> {
        if let Some(label) = self.ignore_index {
            let what = "ignore_index";
            return Err(Error::value(what, "none with probability targets", label));
        }
        let range = [T::ZERO, T::MAX];
        let bad = if t.row_stride() == t.cols() {
            first_outside(&t.data()[..t.rows() * t.cols()], range, exec)?
        } else {
            let mut bad = None;
            for row in 0..t.rows() {
                bad = first_outside(t.row(row), range, exec)?.map(|col| row * t.cols() + col);
                if bad.is_some() {
                    break;
                }
            }
            bad
        };
        let Some(at) = bad else { return Ok(()) };
        let (row, class) = (at / t.cols(), at % t.cols());
        let what = format!("target probability of row {row}, class {class}");
        Err(Error::value(what, "a finite value of at least 0", t.at(row, class)))
    }
}

impl<T: Float> SoftmaxCrossEntropy<'_, T, Matrices<'_, T>> {
    /// The loss; the row losses and gradients are written where wanted.
    pub(crate) fn execute(self, losses: Option<&mut [T]>, exec: Exec) -> Result<Loss<T>> {
        let plan = self.plan(self.logits.cols(), exec).map_err(named)?;
        plan.loss(self.logits, losses, exec)
    }
}

/// What is to be done and what the checks found out.
struct Plan<'a, T> {
    rules: Rules<'a, T>,
    targets: Targets<'a, T>,
    reduction: Reduction,
    counted: usize,
    weight: f64,
}

impl<T: Float> Plan<'_, T> {
    /// The loss; the row losses and gradients are written where wanted.
    fn loss(
        &self,
        matrices: Matrices<'_, T>,
        losses: Option<&mut [T]>,
        exec: Exec,
    ) -> Result<Loss<T>> {
        let isa = exec.path()?;
        let scale = self.reduction.scale(self.weight);
        let grain = row_grain(matrices.cols());
        let work = Rows { rules: &self.rules, matrices, targets: self.targets, scale, losses };
        let copies = work.copies();
        let leaf = |rows: Rows<'_, T>| with_zeros(copies, |copy| isa.run(Block { rows, copy }));
        let total = exec.threads().fold_blocks(work, [BLOCK, grain], &leaf, &|a, b| a + b);
        Ok(Loss::reduced(self.reduction, total, self.weight, self.counted))
    }
}

fn named(error: Error) -> Error {
    error.within("softmax cross-entropy")
}
