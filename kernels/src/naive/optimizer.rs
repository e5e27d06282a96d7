//! Optimiser steps: each parameter on its own, in `f64`.

use crate::ops::{
    AdamStep, EpsilonPlacement, Moments, MomentumForm, MomentumStep, RmsPropStep, SgdStep,
};
use crate::simd::Float;

/// `w -= lr (g + weight_decay w)`.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_step<T: Float>(config: &SgdStep, params: &mut [T], grads: &[T]) {
    assert_eq!(params.len(), grads.len());
    for (param, grad) in params.iter_mut().zip(grads) {
        let w = param.to_f64();
        let g = grad.to_f64() + config.weight_decay * w;
        *param = T::from_f64(w - config.lr * g);
    }
}

/// Gradient descent with momentum; see [`MomentumForm`].
///
/// # Panics
/// If the lengths differ.
pub fn momentum_step<T: Float>(
    config: &MomentumStep,
    params: &mut [T],
    grads: &[T],
    velocity: &mut [T],
) {
    assert!(params.len() == grads.len() && params.len() == velocity.len());
    for i in 0..params.len() {
        let w = params[i].to_f64();
        let g = grads[i].to_f64() + config.weight_decay * w;
        let old = config.beta * velocity[i].to_f64();
        let (v, step) = match config.form {
            MomentumForm::Classical => (old + g, old + g),
            MomentumForm::Ewa => (old + (1.0 - config.beta) * g, old + (1.0 - config.beta) * g),
            MomentumForm::Nesterov => (old + g, g + config.beta * (old + g)),
        };
        velocity[i] = T::from_f64(v);
        params[i] = T::from_f64(w - config.lr * step);
    }
}

/// `s = beta s + (1 - beta) g^2`, `w -= lr g / (sqrt(s) + epsilon)`.
///
/// # Panics
/// If the lengths differ.
pub fn rms_prop_step<T: Float>(
    config: &RmsPropStep,
    params: &mut [T],
    grads: &[T],
    square: &mut [T],
) {
    assert!(params.len() == grads.len() && params.len() == square.len());
    for i in 0..params.len() {
        let w = params[i].to_f64();
        let g = grads[i].to_f64() + config.weight_decay * w;
        let s = config.beta * square[i].to_f64() + (1.0 - config.beta) * g * g;
        let divisor = match config.placement {
            EpsilonPlacement::Outside => s.sqrt() + config.epsilon,
            EpsilonPlacement::Inside => (s + config.epsilon).sqrt(),
        };
        square[i] = T::from_f64(s);
        params[i] = T::from_f64(w - config.lr * (g / divisor));
    }
}

/// Adam with bias correction; `step` counts from 1.
///
/// # Panics
/// If the lengths differ or `step` is 0.
pub fn adam_step<T: Float>(
    config: &AdamStep,
    params: &mut [T],
    grads: &[T],
    moments: Moments<'_, T>,
    step: u64,
) {
    let Moments { first, second } = moments;
    assert!(params.len() == grads.len() && step > 0);
    assert!(params.len() == first.len() && params.len() == second.len());
    let first_correction = 1.0 - config.beta1.powf(step as f64);
    let second_correction = 1.0 - config.beta2.powf(step as f64);
    let (l2, shrink) = match config.decoupled {
        false => (config.weight_decay, 0.0),
        true => (0.0, config.lr * config.weight_decay),
    };
    for i in 0..params.len() {
        let w = params[i].to_f64();
        let g = grads[i].to_f64() + l2 * w;
        let m = config.beta1 * first[i].to_f64() + (1.0 - config.beta1) * g;
        let v = config.beta2 * second[i].to_f64() + (1.0 - config.beta2) * g * g;
        let divisor = (v / second_correction).sqrt() + config.epsilon;
        first[i] = T::from_f64(m);
        second[i] = T::from_f64(v);
        params[i] = T::from_f64(w - shrink * w - config.lr * (m / first_correction / divisor));
    }
}
