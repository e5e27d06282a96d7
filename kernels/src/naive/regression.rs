//! Distances of outputs from targets.

use crate::ops::{Distance, Loss, Reduction};
use crate::simd::Float;

/// The reduced distance of `outputs` from `targets`, and its gradient in `doutputs`.
///
/// # Panics
/// If the lengths differ.
pub fn regression_loss<T: Float>(
    outputs: &[T],
    targets: &[T],
    distance: Distance,
    reduction: Reduction,
    doutputs: &mut [T],
) -> Loss<T> {
    assert!(outputs.len() == targets.len() && outputs.len() == doutputs.len());
    let counted = outputs.len();
    let scale = match reduction {
        Reduction::Mean if counted > 0 => 1.0 / counted as f64,
        _ => 1.0,
    };
    let mut total = 0.0;
    for ((x, t), dx) in outputs.iter().zip(targets).zip(doutputs) {
        let d = x.to_f64() - t.to_f64();
        let (loss, gradient) = match distance {
            Distance::Squared => (d * d, 2.0 * d),
            Distance::Absolute if d == 0.0 => (0.0, 0.0),
            Distance::Absolute => (d.abs(), if d.is_nan() { d } else { d.signum() }),
            Distance::Huber { delta } if d.abs() > delta => {
                (delta * (d.abs() - 0.5 * delta), delta.copysign(d))
            }
            Distance::Huber { .. } => (0.5 * d * d, d),
        };
        total += loss;
        *dx = T::from_f64(gradient * scale);
    }
    Loss { value: T::from_f64(total * scale), counted }
}
