//! Models: layers in a row with the memory that a step needs.

mod builder;
mod check;
mod explain;
mod finite;
mod fold;
mod npz;
mod pass;
mod plan;
mod state;
mod step;
mod summary;
mod weights;

use tilewise_kernels::{Activation, Exec, Float, Precision, activate, argmax_rows, softmax};

pub use builder::SequentialBuilder;
pub use check::{GradientCheck, gradient_check};
use pass::{Branches, Flow, Wire};
pub use state::ModelState;
pub use step::StepRule;
pub use summary::{Summary, SummaryRow};
pub(crate) use weights::{decode, dtype, encode};

use crate::data::{Dataset, Supervised};
use crate::error::{Error, Result};
use crate::layers::{Layer, Parameter, Pass};
use crate::loss::{Loss, SoftmaxCrossEntropy, Targets};
use crate::matrix::Matrix;

/// Rows that inference takes at a time: enough to fill the kernels, little enough to stay in cache.
const INFERENCE_ROWS: usize = 512;

/// Layers in a row, from features to logits.
///
/// Training changes a model and takes `&mut self`; inference takes `&self`, uses the running
/// statistics of batch normalisation and changes nothing.
#[derive(Debug)]
pub struct Sequential<T: Float = f32> {
    inputs: usize,
    outputs: usize,
    layers: Vec<Box<dyn Layer<T>>>,
    /// What each layer reads.
    wires: Vec<Wire>,
    /// Where each layer stands, counting those that another one does the work of.
    positions: Vec<usize>,
    /// `layer 2 batch_norm`, for errors.
    names: Vec<String>,
    /// Of the last training pass, by layer: the output, and the gradient by it.
    values: Vec<Matrix<T>>,
    gradients: Vec<Matrix<T>>,
    branches: Branches<T>,
    exec: Exec,
    precision: Precision,
    step: u64,
}

/// How well a model does on a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Mean loss per row.
    pub loss: f64,
    /// Share of rows whose class was predicted. Where targets are values, R²: the share of their squared
    /// distances from the mean of their column that the predictions explain, at most 1.
    pub accuracy: f64,
}

impl Sequential<f32> {
    /// Begins a model: add layers, then [`build`](SequentialBuilder::build).
    #[expect(clippy::new_ret_no_self, reason = "reads as the beginning of a chain of layers")]
    pub fn new() -> SequentialBuilder {
        SequentialBuilder::default()
    }
}

impl<T: Float> Sequential<T> {
    /// A model of the given layers, for layers of one's own.
    ///
    /// # Errors
    /// If there is no layer, or one cannot take what comes in; the error names the layer.
    pub fn from_layers(inputs: usize, layers: Vec<Box<dyn Layer<T>>>) -> Result<Self> {
        let wires = (0..layers.len()).map(Wire::to).collect();
        Self::from_parts(inputs, layers.into_iter().enumerate().collect(), wires)
    }

    /// The same of layers whose positions have gaps, and that do not all read the one before them.
    fn from_parts(
        inputs: usize,
        layers: Vec<(usize, Box<dyn Layer<T>>)>,
        wires: Vec<Wire>,
    ) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::shape("model", "at least one layer", "none"));
        }
        let mut widths = vec![inputs];
        let mut names = Vec::with_capacity(layers.len());
        for ((position, layer), wire) in layers.iter().zip(&wires) {
            let name = format!("layer {position} {}", layer.kind());
            let width = layer.output_width(widths[wire.from]);
            widths.push(width.map_err(|error| error.within(&name))?);
            names.push(name);
        }
        let outputs = widths[layers.len()];
        let (positions, layers): (Vec<usize>, Vec<_>) = layers.into_iter().unzip();
        let buffers = || layers.iter().map(|_| Matrix::default()).collect();
        let (values, gradients) = (buffers(), buffers());
        Ok(Self {
            inputs,
            outputs,
            layers,
            wires,
            positions,
            names,
            values,
            gradients,
            branches: Branches::default(),
            exec: Exec::default(),
            precision: Precision::default(),
            step: 0,
        })
    }

    /// Number of features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of logits.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.layers().flat_map(|layer| layer.parameters()).map(|p| p.value.len()).sum()
    }

    /// The layers, first to last. Where one does the work of the next, that one is missing.
    pub fn layers(&self) -> impl Iterator<Item = &dyn Layer<T>> {
        self.layers.iter().map(AsRef::as_ref)
    }

    /// The trained tensors of layer `index`; empty where there is no such layer.
    pub fn layer_parameters_mut(&mut self, index: usize) -> &mut [Parameter<T>] {
        self.layers.get_mut(index).map_or(&mut [], |layer| layer.parameters_mut())
    }

    /// Calls `change` for every trained tensor with the position of its layer, to set learning rates
    /// and weight decay by group: `|layer, p| if layer == 0 { p.rate = 0.1 }`.
    pub fn for_each_parameter(&mut self, mut change: impl FnMut(usize, &mut Parameter<T>)) {
        for (layer, &position) in self.layers.iter_mut().zip(&self.positions) {
            layer.parameters_mut().iter_mut().for_each(|parameter| change(position, parameter));
        }
    }

    /// All trained tensors, layer by layer.
    pub(crate) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<T>> {
        self.layers.iter_mut().flat_map(|layer| layer.parameters_mut())
    }

    /// The name of layer `index` in errors, such as `layer 2 batch_norm`.
    pub fn layer_name(&self, index: usize) -> &str {
        self.names.get(index).map_or("no layer", String::as_str)
    }

    /// Instruction set and threads of all passes.
    pub fn exec(&self) -> Exec {
        self.exec
    }

    /// Sets instruction set and threads of all passes.
    pub fn set_exec(&mut self, exec: Exec) {
        self.exec = exec;
    }

    /// How exactly training multiplies matrices.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets how exactly training multiplies matrices: in `f32`, on bf16 tiles split so that nothing is lost
    /// ([`Bf16x6`](Precision::Bf16x6)), or rounded to bf16. Parameters, what optimisers keep, sums and
    /// everything between products stay `f32`, so that no scaling of the loss is needed. Inference is in
    /// `f32`, and models in `f64` are not concerned.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    fn training_pass(&self) -> Pass {
        let Self { exec, precision, step, .. } = *self;
        Pass { exec, precision, step, freeze_statistics: false }
    }

    /// A training pass over one minibatch: the loss, and the gradients in all parameters.
    ///
    /// # Errors
    /// If the shapes do not fit, a target is out of range or the minibatch is too small for a
    /// layer. Running statistics of layers before the failing one may have changed.
    pub fn loss_and_gradients<'a>(
        &mut self,
        x: &Matrix<T>,
        targets: impl Into<Targets<'a, T>>,
        loss: &(impl Loss<T> + ?Sized),
    ) -> Result<f64>
    where
        T: 'a,
    {
        self.step += 1;
        let pass = self.training_pass();
        self.pass(x, targets.into(), loss, pass)
    }

    fn check_input(&self, x: &Matrix<T>) -> Result<()> {
        if x.cols() == self.inputs {
            return Ok(());
        }
        let columns = |n| format!("{n} columns");
        let what = format!("{}: input", self.layer_name(0));
        Err(Error::shape(what, columns(self.inputs), columns(x.cols())))
    }

    /// The logits of each row of `x`.
    ///
    /// # Errors
    /// If `x` does not have [`inputs`](Self::inputs) columns.
    pub fn logits(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        self.check_input(x)?;
        let mut logits = Matrix::zeros(x.rows(), self.outputs)?;
        let mut flow = Flow::default();
        for first in (0..x.rows()).step_by(INFERENCE_ROWS) {
            let rows = INFERENCE_ROWS.min(x.rows() - first);
            flow.begin(self, x, [first, rows])?;
            for index in 0..self.layers.len() {
                flow.step(self, index)?;
            }
            let area = rows * self.outputs;
            let computed = flow.output().data();
            logits.data_mut()[first * self.outputs..][..area].copy_from_slice(computed);
        }
        Ok(logits)
    }

    /// The probability of each class (of class 1, where there is a single logit) for each row.
    ///
    /// # Errors
    /// As for [`logits`](Self::logits).
    pub fn predict_proba(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        let logits = self.logits(x)?;
        let mut proba = logits.clone();
        if self.outputs == 1 {
            activate(Activation::Sigmoid, logits.data(), proba.data_mut())?;
        } else {
            softmax(logits.view(), proba.view_mut())?;
        }
        Ok(proba)
    }

    /// What a regression gives for each row: the outputs as they are.
    ///
    /// # Errors
    /// As for [`logits`](Self::logits).
    pub fn predict_values(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        self.logits(x)
    }

    /// The most probable class of each row; the first one of several alike.
    ///
    /// # Errors
    /// As for [`logits`](Self::logits), and if a logit is NaN.
    pub fn predict(&self, x: &Matrix<T>) -> Result<Vec<usize>> {
        classes(&self.logits(x)?)
    }

    /// Loss (softmax cross-entropy) and accuracy on a data set.
    ///
    /// # Errors
    /// If the data set does not fit the model, or a logit is NaN.
    pub fn evaluate(&self, data: &Dataset<T>) -> Result<Metrics> {
        self.evaluate_with(data, &SoftmaxCrossEntropy::default())
    }

    /// The same with another loss, and of any data, such as a [`Regression`](crate::data::Regression).
    ///
    /// # Errors
    /// As for [`evaluate`](Self::evaluate).
    pub fn evaluate_with(
        &self,
        data: &(impl Supervised<T> + ?Sized),
        loss: &(impl Loss<T> + ?Sized),
    ) -> Result<Metrics> {
        let targets = data.targets();
        let (loss, logits) = self.measure(data.features(), targets, loss)?;
        Ok(Metrics { loss, accuracy: score(&logits, targets)? })
    }

    /// The loss on data, and the logits it comes from.
    pub(crate) fn measure(
        &self,
        x: &Matrix<T>,
        targets: Targets<'_, T>,
        loss: &(impl Loss<T> + ?Sized),
    ) -> Result<(f64, Matrix<T>)> {
        if x.rows() == 0 {
            return Err(Error::shape("data set", "at least one row", "none"));
        }
        let logits = self.logits(x)?;
        let loss = loss
            .evaluate(&logits, targets, None, self.exec)
            .map_err(|error| error.within("loss"))?;
        Ok((loss, logits))
    }

    /// Takes the statistics of batch normalisation from a whole data set, layer by layer, each from
    /// what the layers before it give with theirs: the population statistics of the paper, biased.
    /// Also adapts a model to inputs that were shifted or scaled; needs no labels.
    ///
    /// # Errors
    /// If `x` does not fit the model or is empty.
    pub fn recalibrate(&mut self, x: &Matrix<T>) -> Result<()> {
        self.check_input(x)?;
        if x.rows() == 0 {
            return Err(Error::shape("features", "at least one row", "none"));
        }
        let mut flow = Flow::default();
        flow.begin(self, x, [0, x.rows()])?;
        for index in 0..self.layers.len() {
            let input = flow.input(self, index);
            self.layers[index]
                .recalibrate(input, self.exec)
                .map_err(|error| error.within(&self.names[index]))?;
            flow.step(self, index)?;
        }
        Ok(())
    }

    /// Whether training normalises by the running statistics of batch normalisation instead of the
    /// minibatch's (off at first), and whether it updates them (on at first). Two independent
    /// switches, for all layers: frozen ones are `(true, false)`.
    pub fn set_statistics(&mut self, use_running: bool, update_running: bool) {
        for layer in &mut self.layers {
            layer.set_statistics(use_running, update_running);
        }
    }
}

/// Share of the labels that the logits predict, or of the variance of values that outputs explain.
pub(crate) fn score<T: Float>(logits: &Matrix<T>, targets: Targets<'_, T>) -> Result<f64> {
    match targets {
        Targets::Classes(labels) => {
            let hits = classes(logits)?.iter().zip(labels).filter(|(a, b)| a == b).count();
            Ok(hits as f64 / labels.len() as f64)
        }
        Targets::Values(values) => Ok(explained(logits, values)),
    }
}

/// R². Where all values of every column are equal there is nothing to explain: 0.
fn explained<T: Float>(outputs: &Matrix<T>, values: &Matrix<T>) -> f64 {
    let (mut all, mut left) = (0.0, 0.0);
    for column in 0..values.cols() {
        let pick = |m: &Matrix<T>, row: usize| m.row(row)[column].to_f64();
        let rows = 0..values.rows();
        let mean = rows.clone().map(|row| pick(values, row)).sum::<f64>() / values.rows() as f64;
        all += rows.clone().map(|row| (pick(values, row) - mean).powi(2)).sum::<f64>();
        left += rows.map(|row| (pick(values, row) - pick(outputs, row)).powi(2)).sum::<f64>();
    }
    if all == 0.0 { 0.0 } else { 1.0 - left / all }
}

fn classes<T: Float>(logits: &Matrix<T>) -> Result<Vec<usize>> {
    if logits.cols() == 1 {
        return Ok(logits.data().iter().map(|&z| usize::from(z > T::ZERO)).collect());
    }
    let mut classes = vec![0; logits.rows()];
    argmax_rows(logits.view(), &mut classes).map_err(|error| error.within("logits"))?;
    Ok(classes)
}
