//! The gradient checker: what backward says against what differences say.

use super::tape::Tape;
use super::tensor::Tensor;
use super::var::Var;
use crate::error::{Error, Result};
use crate::layers::{Layer, Pass, Saved};
use crate::matrix::Matrix;
use crate::model::GradientCheck;

/// Balances the error of a central difference, about h², against rounding, about ε/h.
const STEP: f64 = 1e-5;

/// Compares the gradients of `f` by each of its `inputs` with central differences, in `f64` and for every
/// single element. Where the result has several elements, a sum with unequal weights stands for the loss,
/// so that errors cannot hide in a gradient that is the same everywhere.
///
/// Right derivatives give errors below 1e-6 unless a kink, such as that of ReLU, lies within the step of a
/// difference.
///
/// ```
/// use tilewise_nn::autodiff::{Tensor, check_gradients};
/// let x = Tensor::new(vec![0.3, -1.2, 0.7], &[3])?;
/// let check = check_gradients(&[x], |x| (x[0].tanh() * 2.0).exp())?;
/// assert!(check.error < 1e-8, "{check:?}");
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
///
/// # Errors
/// If `f` fails on its inputs.
pub fn check_gradients<F>(inputs: &[Tensor<f64>], f: F) -> Result<GradientCheck>
where
    F: for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
{
    let mut inputs = inputs.to_vec();
    let tape = Tape::new();
    let watched: Vec<_> = inputs.iter().map(|x| tape.watched(x.clone())).collect();
    let gradients = weighted(f(&watched))?.gradients()?;
    let mut worst = Worst::default();
    for index in 0..inputs.len() {
        let analytic = match gradients.of(watched[index]) {
            Some(gradient) => gradient.data().to_vec(),
            None => vec![0.0; inputs[index].data().len()],
        };
        let mut numeric = Vec::with_capacity(analytic.len());
        for element in 0..analytic.len() {
            numeric.push(slope(inputs[index].data()[element], |x| {
                inputs[index].data_mut()[element] = x;
                let tape = Tape::new();
                let constants: Vec<_> = inputs.iter().map(|x| tape.constant(x.clone())).collect();
                weighted(f(&constants))?.item()
            })?);
        }
        worst.see(format!("input {index}"), &numeric, &analytic);
    }
    Ok(worst.0)
}

/// A single number made of all elements of `y`.
fn weighted(y: Var<'_, f64>) -> Result<Var<'_, f64>> {
    let shape = y.shape()?;
    let weights = Tensor::new(weights(shape.len()), shape.dims())?;
    Ok((y * y.tape().constant(weights)).sum())
}

/// Unequal numbers of both signs: multiples of the golden ratio within [-1, 1).
fn weights(len: usize) -> Vec<f64> {
    (0..len).map(|i| (0.618_033_988_749_895 * (i + 1) as f64).fract() * 2.0 - 1.0).collect()
}

/// The central difference of `f` at `x`, which is set again afterwards.
fn slope(x: f64, mut f: impl FnMut(f64) -> Result<f64>) -> Result<f64> {
    let h = STEP * x.abs().max(1.0);
    let difference = f(x + h)? - f(x - h)?;
    f(x)?;
    Ok(difference / (2.0 * h))
}

/// The outcome so far.
#[derive(Debug)]
struct Worst(GradientCheck);

impl Default for Worst {
    fn default() -> Self {
        Self(GradientCheck { error: 0.0, worst: String::new() })
    }
}

impl Worst {
    fn see(&mut self, what: String, numeric: &[f64], analytic: &[f64]) {
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut numeric.iter().zip(analytic).map(|(a, b)| a - b));
        let size = norm(&mut numeric.iter().copied()) + norm(&mut analytic.iter().copied());
        let error = if size == 0.0 { 0.0 } else { difference / size };
        if error > self.0.error || error.is_nan() {
            self.0 = GradientCheck { error, worst: what };
        }
    }
}

/// Compares the gradients of a layer (one's own, say) by its input and by its parameters with central
/// differences, on the minibatch `x` and as [`check_gradients`] does. Parameters and statistics are as
/// before afterwards; random layers see one and the same step throughout.
///
/// # Errors
/// If the layer cannot take `x`, or gives an output of a width that it did not promise.
pub fn check_layer(layer: &mut dyn Layer<f64>, x: &Matrix<f64>) -> Result<GradientCheck> {
    let pass = Pass { step: 1, freeze_statistics: true, ..Pass::default() };
    let (rows, kind) = (x.rows(), layer.kind());
    let within = |error: tilewise_kernels::Error| Error::from(error.within(kind));
    let width = layer.output_width(x.cols()).map_err(within)?;
    let dy = Matrix::new(weights(rows * width), rows, width)?;
    let (mut x, mut y) = (x.clone(), Matrix::zeros(rows, width)?);
    let mut dx = Matrix::zeros(rows, x.cols())?;
    layer.forward(&x, &mut y, pass).map_err(within)?;
    layer.backward(Saved { x: &x, y: &y, dy: &dy }, Some(&mut dx), pass).map_err(within)?;
    let analytic: Vec<_> =
        layer.parameters().iter().map(|p| (p.name, p.gradient.clone())).collect();

    let mut loss = |layer: &mut dyn Layer<f64>, x: &Matrix<f64>| -> Result<f64> {
        layer.forward(x, &mut y, pass).map_err(within)?;
        Ok(y.data().iter().zip(dy.data()).map(|(y, w)| y * w).sum())
    };
    let mut worst = Worst::default();
    let mut numeric = Vec::with_capacity(dx.data().len());
    for element in 0..dx.data().len() {
        numeric.push(slope(x.data()[element], |value| {
            x.data_mut()[element] = value;
            loss(layer, &x)
        })?);
    }
    worst.see("input".to_owned(), &numeric, dx.data());
    for (tensor, (name, analytic)) in analytic.iter().enumerate() {
        numeric.clear();
        for element in 0..analytic.len() {
            let old = layer.parameters()[tensor].value[element];
            numeric.push(slope(old, |value| {
                layer.parameters_mut()[tensor].value[element] = value;
                loss(layer, &x)
            })?);
        }
        worst.see((*name).to_owned(), &numeric, analytic);
    }
    Ok(worst.0)
}
