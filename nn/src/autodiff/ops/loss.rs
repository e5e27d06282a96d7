//! Log-softmax, and softmax cross-entropy of logits.

use tilewise_kernels::{
    Error, Float, LogSoftmax as Forward, LogSoftmaxBackward, MatMut, MatRef, Result,
    SoftmaxCrossEntropy, Targets,
};

use crate::autodiff::broadcast::times;
use crate::autodiff::op::{InputGradients, Op, Saved, Uses, View, check_inputs};
use crate::autodiff::shape::Shape;
use crate::layers::Pass;

/// Log-softmax along the last axis.
#[derive(Debug)]
pub(in crate::autodiff) struct LogSoftmax;

/// The last axis as columns.
fn rows(shape: &Shape) -> [usize; 2] {
    let cols = shape.dims().last().copied().unwrap_or(1);
    [shape.dims().iter().rev().skip(1).product(), cols]
}

impl<T: Float> Op<T> for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = check_inputs(inputs)?;
        Ok(x)
    }

    fn uses(&self) -> Uses {
        Uses::OUTPUT
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let [m, n] = rows(&inputs[0].shape);
        let (x, y) = (MatRef::new(inputs[0].data, m, n)?, MatMut::new(y, m, n)?);
        Forward::new(x, y)?.run(pass.exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let [m, n] = rows(&saved.output.shape);
        let (y, dy) = (MatRef::new(saved.output.data, m, n)?, MatRef::new(saved.dy, m, n)?);
        LogSoftmaxBackward::new(y, dy, MatMut::new(dx, m, n)?)?.run(pass.exec)
    }

    fn flops(&self, _: &[Shape], output: &Shape) -> u64 {
        // Exponential, sum, difference.
        3 * output.len() as u64
    }
}

/// Mean softmax cross-entropy of a matrix of logits, one row per example, with class labels: inputs of
/// an [`Op`] in that order. A plan takes loss and gradient in one pass over the logits, and writes the
/// gradient over them where nobody else reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropy {
    smoothing: f64,
    ignored: Option<usize>,
}

impl CrossEntropy {
    /// Spreads `share` of the target evenly over all classes.
    #[must_use]
    pub fn label_smoothing(self, share: f64) -> Self {
        Self { smoothing: share, ..self }
    }

    /// Leaves examples with this label out.
    #[must_use]
    pub fn ignore_label(self, label: usize) -> Self {
        Self { ignored: Some(label), ..self }
    }

    /// Tells the kernel.
    fn with_options<'a, T: Float, Z>(
        &self,
        op: SoftmaxCrossEntropy<'a, T, Z>,
    ) -> SoftmaxCrossEntropy<'a, T, Z> {
        let op = op.label_smoothing(T::from_f64(self.smoothing));
        match self.ignored {
            Some(label) => op.ignore_index(label),
            None => op,
        }
    }

    /// The loss; `logits` of `shape` become its gradient.
    pub(in crate::autodiff) fn replace<T: Float>(
        &self,
        (logits, shape): (&mut [T], &Shape),
        labels: &[usize],
        pass: Pass,
    ) -> Result<T> {
        let [m, n] = rows(shape);
        let op =
            SoftmaxCrossEntropy::in_place(MatMut::new(logits, m, n)?, Targets::Classes(labels))?;
        Ok(self.with_options(op).replace_by_gradient(pass.exec)?.value)
    }
}

impl<T: Float> Op<T> for CrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, labels] = check_inputs(inputs)?;
        let [m, _] = logits.matrix("logits")?;
        if labels.dims() != [m] {
            return Err(Error::shape("labels", format!("[{m}], one per row of logits"), labels));
        }
        Ok(Shape::SCALAR)
    }

    fn takes_labels(&self, input: usize) -> bool {
        input == 1
    }

    fn uses(&self) -> Uses {
        Uses::INPUTS
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], pass: Pass) -> Result<()> {
        let [m, n] = rows(&inputs[0].shape);
        let logits = MatRef::new(inputs[0].data, m, n)?;
        let op = SoftmaxCrossEntropy::new(logits, Targets::Classes(inputs[1].labels))?;
        y[0] = self.with_options(op).loss(pass.exec)?.value;
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = &mut dx[0] else { return Ok(()) };
        let [logits, labels] = [saved.inputs[0], saved.inputs[1]];
        let [m, n] = rows(&logits.shape);
        let targets = Targets::Classes(labels.labels);
        let op = SoftmaxCrossEntropy::new(MatRef::new(logits.data, m, n)?, targets)?;
        self.with_options(op).loss_and_gradient(MatMut::new(dx, m, n)?, pass.exec)?;
        times(dx, saved.dy[0], pass.exec)
    }

    fn flops(&self, inputs: &[Shape], _: &Shape) -> u64 {
        // Exponential, sum, quotient, difference.
        4 * inputs[0].len() as u64
    }
}
