//! The gradient checker: what backward says against what differences of the loss say.

use super::Sequential;
use crate::error::Result;
use crate::layers::{Parameter, Pass};
use crate::loss::{Loss, Targets};
use crate::matrix::Matrix;

/// Balances the error of a central difference, about h², against rounding, about ε/h.
const STEP: f64 = 1e-5;

/// The outcome of [`gradient_check`].
#[derive(Debug, Clone, PartialEq)]
pub struct GradientCheck {
    /// The largest relative error of any parameter tensor, ‖numeric - analytic‖ / (‖numeric‖ +
    /// ‖analytic‖).
    pub error: f64,
    /// The tensor that has it, such as `layer 1 batch_norm weight`.
    pub worst: String,
}

/// Compares the gradients of a model (also one with layers of one's own) on one minibatch with
/// central differences of the loss, in `f64` and for every single parameter. Correct layers give
/// errors below 1e-6 unless a kink of ReLU lies within the step of a difference.
///
/// Running statistics and parameters are as before afterwards; random layers see one and the same
/// step throughout.
///
/// # Errors
/// If the minibatch does not fit the model.
pub fn gradient_check<'a>(
    model: &mut Sequential<f64>,
    x: &Matrix<f64>,
    targets: impl Into<Targets<'a, f64>>,
    loss: &(impl Loss<f64> + ?Sized),
) -> Result<GradientCheck> {
    let pass = Pass { exec: model.exec, step: 1, freeze_statistics: true, ..Pass::default() };
    let targets = targets.into();
    model.pass(x, targets, loss, pass)?;
    let mut check = GradientCheck { error: 0.0, worst: String::new() };
    for layer in 0..model.layers.len() {
        for tensor in 0..model.layers[layer].parameters().len() {
            let Parameter { name, value, gradient, .. } =
                model.layers[layer].parameters()[tensor].clone();
            let mut loss_at = |element: usize, value: f64| -> Result<f64> {
                model.layers[layer].parameters_mut()[tensor].value[element] = value;
                model.training_loss(x, targets, loss, (false, pass, &mut ()))
            };
            let mut numeric = Vec::with_capacity(value.len());
            for (element, &old) in value.iter().enumerate() {
                let h = STEP * old.abs().max(1.0);
                let difference = loss_at(element, old + h)? - loss_at(element, old - h)?;
                loss_at(element, old)?;
                numeric.push(difference / (2.0 * h));
            }
            let error = relative_error(&numeric, &gradient);
            if error > check.error || error.is_nan() {
                check = GradientCheck { error, worst: format!("{} {name}", model.names[layer]) };
            }
        }
    }
    Ok(check)
}

/// ‖a - b‖ / (‖a‖ + ‖b‖); 0 where both are 0.
fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let size = norm(&mut a.iter().copied()) + norm(&mut b.iter().copied());
    if size == 0.0 { 0.0 } else { difference / size }
}
