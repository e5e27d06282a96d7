//! Losses of regressions, with their gradients.

use tilewise_kernels::{Distance, Float, Reduction, RegressionLoss, naive};

use super::LENGTHS;
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// All of them on every length.
pub fn cases<T: Float>() -> Vec<Case> {
    let all = [
        ("squared_error", Distance::Squared),
        ("absolute_error", Distance::Absolute),
        ("huber", Distance::Huber { delta: 0.5 }),
    ];
    let on = |len| all.map(|(name, distance)| case::<T>(name, distance, len));
    LENGTHS.into_iter().flat_map(on).collect()
}

fn case<T: Float>(name: &str, distance: Distance, len: usize) -> Case {
    Case::new(format!("{name}/{}/{len}", T::NAME), Work::values::<T>(3 * len), move || {
        let mut random = Random::new(1);
        Simple::<T, _, _>::new(
            vec![random.uniform(len, -1.0, 1.0), random.uniform(len, -1.0, 1.0)],
            len,
            4.0 * T::EPSILON.to_f64(),
            move |inputs, d, exec| {
                RegressionLoss::new(&inputs[0], &inputs[1], distance)?
                    .loss_and_gradient(d, exec)
                    .map(|_| ())
            },
            move |inputs, d| {
                let [x, t] = [&inputs[0], &inputs[1]];
                naive::regression_loss(x, t, distance, Reduction::Mean, d);
            },
        )
    })
    // The difference, its size, the sum, and the scale of the gradient.
    .counting(4 * len)
}
