//! Tensors for tests.

use tilewise_nn::autodiff::Tensor;
use tilewise_nn::random::Random;

/// Normal numbers.
pub(crate) fn normal(seed: u64, dims: &[usize]) -> Tensor<f64> {
    let mut random = Random::new(seed);
    let len = dims.iter().product();
    Tensor::new((0..len).map(|_| random.normal()).collect(), dims).unwrap()
}

/// Numbers of at least 0.5.
pub(crate) fn positive(seed: u64, dims: &[usize]) -> Tensor<f64> {
    let values = normal(seed, dims).into_data();
    Tensor::new(values.into_iter().map(|x| x.abs() + 0.5).collect(), dims).unwrap()
}

/// Normal numbers that keep away from 0, where ReLU has its kink.
pub(crate) fn apart(seed: u64, dims: &[usize]) -> Tensor<f64> {
    let values = normal(seed, dims).into_data();
    Tensor::new(values.into_iter().map(|x| x + 0.1 * x.signum()).collect(), dims).unwrap()
}
