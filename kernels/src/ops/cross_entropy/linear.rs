//! Cross-entropy behind a linear layer whose logits are never all there.
//!
//! ```text
//!  for each block of rows of the hidden matrix
//!    for each tile of classes, first to last:      logits = hidden · weights + bias, a tile
//!        fold them into maximum and sum of each row
//!    for each tile of classes, last to first:      the logits once more, but for the last tile
//!        turn them into their gradient             dlogits, in the same tile
//!        dhidden += dlogits · weightsᵀ             dweights += hiddenᵀ · dlogits
//! ```

use super::blocks::{Block, Tiles};
use super::tiles::States;
use super::{Loss, Reduction, SoftmaxCrossEntropy, Targets};
use crate::error::{Error, ErrorKind, Result, check_len};
use crate::exec::Exec;
use crate::ops::rows::check_shape;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// Rows and classes of a tile: 2 MiB in `f32`, and long enough for the products on each of its sides.
const TILE: [usize; 2] = [512, 1024];

/// Softmax cross-entropy of the logits `hidden · weights + bias`, without a matrix of all logits: they
/// are computed tile by tile, once for the loss and once more for the gradients.
///
/// `hidden` is rows x depth and `weights` depth x classes, of any strides (weights that lie as classes x
/// depth are given as their transpose); one label per row. Options, reductions and edges are those of
/// [`SoftmaxCrossEntropy`] with labels, so that a class can be masked by a bias of -∞. Products see
/// ignored rows too: what is not finite in their hidden values reaches `dweights` as NaN.
///
/// # Memory and work
/// The caller brings [`workspace`](Self::workspace) elements: a tile of at most 512 x 1024 logits and 4
/// numbers for each of its rows, 2.1 MB in `f32`, whatever the shape. (Rows of 50,000 classes take 820
/// MB as a matrix of 4096.) The products pack into blocks of their own, as [`Gemm`](crate::Gemm) does.
/// The loss takes one product, the loss with the gradients four: 2 rows depth classes operations each.
///
/// # Accuracy
/// Logits are rounded as those of [`Gemm`](crate::Gemm). The sum of a row is kept relative to the
/// largest logit so far and multiplied where a tile brings a larger one, which adds 6 roundings per
/// tile. Gradients are added tile by tile in a fixed order: for given tiles, the same bits for any
/// number of threads.
///
/// ```
/// use tilewise_kernels::{Exec, LinearCrossEntropy, LinearCrossEntropyGrads, MatMut, MatRef};
///
/// let (hidden, weights) = ([1.0_f32, 2.0], [0.5, 0.0, -0.5, 0.25, 0.5, 1.0]);
/// let (hidden, weights) = (MatRef::new(&hidden, 1, 2)?, MatRef::new(&weights, 2, 3)?);
/// let op = LinearCrossEntropy::new(hidden, weights, &[2])?;
/// let mut workspace = vec![0.0; op.workspace()?];
/// let (mut dhidden, mut dweights) = ([0.0; 2], [0.0; 6]);
/// let grads = LinearCrossEntropyGrads {
///     dhidden: MatMut::new(&mut dhidden, 1, 2)?,
///     dweights: MatMut::new(&mut dweights, 2, 3)?,
///     dbias: None,
/// };
/// let loss = op.loss_and_gradients(grads, &mut workspace, Exec::default())?;
/// // The logits are 1, 1 and 1.5.
/// assert!((loss.value - 0.7943767).abs() < 1e-6);
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LinearCrossEntropy<'a, T> {
    pub(super) hidden: MatRef<'a, T>,
    pub(super) weights: MatRef<'a, T>,
    pub(super) bias: Option<&'a [T]>,
    pub(super) labels: &'a [usize],
    loss: SoftmaxCrossEntropy<'a, T, ()>,
    tile: [usize; 2],
}

/// Where the gradients of [`LinearCrossEntropy`] go.
#[derive(Debug)]
pub struct LinearCrossEntropyGrads<'a, T> {
    /// By the hidden matrix, in its shape.
    pub dhidden: MatMut<'a, T>,
    /// By the weights, in their shape.
    pub dweights: MatMut<'a, T>,
    /// By the bias, one element per class, if wanted.
    pub dbias: Option<&'a mut [T]>,
}

impl<'a, T: Float> LinearCrossEntropy<'a, T> {
    /// Checks shapes; labels are checked when the loss is taken, because an option may still excuse
    /// them.
    ///
    /// # Errors
    /// If the weights have not as many rows as `hidden` has columns, there is not one label per row, or
    /// there are rows but no classes.
    pub fn new(hidden: MatRef<'a, T>, weights: MatRef<'a, T>, labels: &'a [usize]) -> Result<Self> {
        if hidden.cols() != weights.rows() {
            let expected = format!("{} rows, as hidden has columns", hidden.cols());
            let got = format!("{} x {}", weights.rows(), weights.cols());
            return Err(named(Error::shape("weights", expected, got)));
        }
        check_len("labels", hidden.rows(), labels.len()).map_err(named)?;
        if hidden.rows() > 0 && weights.cols() == 0 {
            return Err(named(Error::shape("weights", "at least one class", "none")));
        }
        let loss = SoftmaxCrossEntropy::with_defaults((), Targets::Classes(labels));
        Ok(Self { hidden, weights, bias: None, labels, loss, tile: TILE })
    }

    /// Adds element `j` of `bias` to logit `j`.
    #[must_use]
    pub fn bias(self, bias: &'a [T]) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// How row losses become one.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Self { loss: self.loss.reduction(reduction), ..self }
    }

    /// Rows with this label count for nothing: loss 0, gradient 0.
    #[must_use]
    pub fn ignore_index(self, label: usize) -> Self {
        Self { loss: self.loss.ignore_index(label), ..self }
    }

    /// Mixes the target with the uniform distribution: (1 - smoothing) target + smoothing / classes.
    #[must_use]
    pub fn label_smoothing(self, smoothing: T) -> Self {
        Self { loss: self.loss.label_smoothing(smoothing), ..self }
    }

    /// One factor per class, applied to that class's share of the target.
    #[must_use]
    pub fn class_weights(self, weights: &'a [T]) -> Self {
        Self { loss: self.loss.class_weights(weights), ..self }
    }

    /// Forces the number of rows and classes of a tile, at least 1 each, for tests and tuning. The last
    /// bits of the results depend on it.
    #[must_use]
    pub fn tile(self, tile: [usize; 2]) -> Self {
        Self { tile, ..self }
    }

    /// Elements that the workspace must have.
    ///
    /// # Errors
    /// If a forced tile has more bytes than can be counted.
    pub fn workspace(&self) -> Result<usize> {
        let [rows, classes] = self.tile_in_use();
        let room = classes.checked_add(States::<T>::PER_ROW).and_then(|row| row.checked_mul(rows));
        let fits = room.filter(|room| room.checked_mul(size_of::<T>()).is_some());
        fits.ok_or_else(|| {
            let got = format!("{rows} x {classes}");
            named(Error::new(ErrorKind::Overflow, "tile", "a size that can be counted", got))
        })
    }

    /// The loss alone.
    ///
    /// # Errors
    /// If a label is neither a class nor ignored, a class weight is negative or not finite, the
    /// smoothing is outside [0, 1], there is not one class weight or bias per class, or the workspace is
    /// too small.
    pub fn loss(self, workspace: &mut [T], exec: Exec) -> Result<Loss<T>> {
        (T::compiled().linear_cross_entropy)(self, Wanted::Loss, workspace, exec)
    }

    /// The loss of each row, weighted but not reduced; 0 for ignored rows.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), and if `out` has not one place per row. Nothing is written then.
    pub fn losses(self, out: &mut [T], workspace: &mut [T], exec: Exec) -> Result<()> {
        check_len("losses", self.hidden.rows(), out.len()).map_err(named)?;
        (T::compiled().linear_cross_entropy)(self, Wanted::Rows(out), workspace, exec).map(drop)
    }

    /// The loss, and its derivatives by the hidden matrix, the weights and, where wanted, the bias,
    /// under the reduction.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), and if a gradient has not the shape of what it is of. Nothing is written
    /// then, not even to the workspace.
    pub fn loss_and_gradients(
        self,
        grads: LinearCrossEntropyGrads<'_, T>,
        workspace: &mut [T],
        exec: Exec,
    ) -> Result<Loss<T>> {
        let LinearCrossEntropyGrads { dhidden, dweights, dbias } = &grads;
        let shape = |m: &MatMut<'_, T>| [m.rows(), m.cols()];
        check_shape("dhidden", &self.hidden, shape(dhidden)).map_err(named)?;
        check_shape("dweights", &self.weights, shape(dweights)).map_err(named)?;
        if let Some(dbias) = dbias {
            check_len("dbias", self.weights.cols(), dbias.len()).map_err(named)?;
        }
        (T::compiled().linear_cross_entropy)(self, Wanted::Gradients(grads), workspace, exec)
    }

    /// Rows and classes of a tile, no more than there are.
    fn tile_in_use(&self) -> [usize; 2] {
        let [rows, classes] = self.tile;
        [rows.clamp(1, self.hidden.rows().max(1)), classes.clamp(1, self.weights.cols().max(1))]
    }

    pub(crate) fn execute(
        self,
        mut wanted: Wanted<'_, T>,
        workspace: &mut [T],
        exec: Exec,
    ) -> Result<Loss<T>> {
        let classes = self.weights.cols();
        let plan = self.loss.plan(classes, exec).map_err(named)?;
        if let Some(bias) = self.bias {
            check_len("bias", classes, bias.len()).map_err(named)?;
        }
        let needed = self.workspace()?;
        if workspace.len() < needed {
            let (expected, got) = (format!("at least {needed} elements"), workspace.len());
            return Err(named(Error::shape("workspace", expected, got)));
        }
        exec.path()?;
        let [rows, width] = self.tile_in_use();
        let tiles = Tiles { op: &self, plan: &plan, width, exec };
        let (states, logits) = workspace.split_at_mut(States::<T>::PER_ROW * rows);
        let mut total = 0.0;
        // Without rows there is one block of none, which writes the gradients.
        for first in (0..self.hidden.rows().max(1)).step_by(rows) {
            let count = rows.min(self.hidden.rows() - first);
            let block = Block { first, count };
            let mut states = States::new(states, count);
            tiles.fold(block, &mut states, logits)?;
            let losses = match &mut wanted {
                Wanted::Rows(out) => Some(&mut out[first..first + count]),
                _ => None,
            };
            total += tiles.finish(block, &mut states, losses)?;
            if let Wanted::Gradients(grads) = &mut wanted {
                tiles.gradients(block, &mut states, logits, grads)?;
            }
        }
        Ok(Loss::reduced(plan.reduction, total, plan.weight, plan.counted))
    }
}

/// What is asked for beside the loss.
#[derive(Debug)]
pub(crate) enum Wanted<'a, T> {
    Loss,
    Rows(&'a mut [T]),
    Gradients(LinearCrossEntropyGrads<'a, T>),
}

fn named(error: Error) -> Error {
    error.within("linear cross-entropy")
}
