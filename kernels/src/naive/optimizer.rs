//! Optimiser steps: each parameter on its own, in `f64`.

use half::bf16;

use crate::ops::{
    AdagradStep, AdamStep, EpsilonPlacement, Moments, MomentumForm, MomentumStep, RmsPropStep,
    SgdStep, StateRounding, StepOptions,
};
use crate::simd::Float;

/// `factor g`, cut to [-limit, limit].
fn entering<T: Float>(options: &StepOptions, g: T) -> f64 {
    let g = options.factor * g.to_f64();
    // Comparisons are false for NaN, which passes.
    if g > options.limit {
        options.limit
    } else if g < -options.limit {
        -options.limit
    } else {
        g
    }
}

/// `w -= lr (g + weight_decay w)`.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_step<T: Float>(config: &SgdStep, params: &mut [T], grads: &[T]) {
    assert_eq!(params.len(), grads.len());
    for (param, grad) in params.iter_mut().zip(grads) {
        let w = param.to_f64();
        let g = entering(&config.options, *grad) + config.weight_decay * w;
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
        let g = entering(&config.options, grads[i]) + config.weight_decay * w;
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
        let g = entering(&config.options, grads[i]) + config.weight_decay * w;
        let s = config.beta * square[i].to_f64() + (1.0 - config.beta) * g * g;
        let divisor = divisor(s, config.epsilon, config.placement);
        square[i] = T::from_f64(s);
        params[i] = T::from_f64(w - config.lr * (g / divisor));
    }
}

/// `s = s + g^2`, `w -= lr g / (sqrt(s) + epsilon)`.
///
/// # Panics
/// If the lengths differ.
pub fn adagrad_step<T: Float>(
    config: &AdagradStep,
    params: &mut [T],
    grads: &[T],
    square: &mut [T],
) {
    assert!(params.len() == grads.len() && params.len() == square.len());
    for i in 0..params.len() {
        let w = params[i].to_f64();
        let g = entering(&config.options, grads[i]) + config.weight_decay * w;
        let s = square[i].to_f64() + g * g;
        let divisor = divisor(s, config.epsilon, config.placement);
        square[i] = T::from_f64(s);
        params[i] = T::from_f64(w - config.lr * (g / divisor));
    }
}

fn divisor(s: f64, epsilon: f64, placement: EpsilonPlacement) -> f64 {
    match placement {
        EpsilonPlacement::Outside => s.sqrt() + epsilon,
        EpsilonPlacement::Inside => (s + epsilon).sqrt(),
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
        let g = entering(&config.options, grads[i]) + l2 * w;
        let m = config.beta1 * first[i].to_f64() + (1.0 - config.beta1) * g;
        let v = config.beta2 * second[i].to_f64() + (1.0 - config.beta2) * g * g;
        let divisor = (v / second_correction).sqrt() + config.epsilon;
        first[i] = T::from_f64(m);
        second[i] = T::from_f64(v);
        params[i] = T::from_f64(w - shrink * w - config.lr * (m / first_correction / divisor));
    }
}

/// The L2 norm of all tensors together.
pub fn global_norm<T: Float>(tensors: &[&[T]]) -> f64 {
    let all = || tensors.iter().flat_map(|tensor| tensor.iter()).map(|x| x.to_f64());
    // Relative to the largest magnitude, so that no square overflows; an infinite one is the norm.
    let size = all().fold(0.0, |size: f64, x| size.max(x.abs()));
    let unit = if size == 0.0 || size == f64::INFINITY { 1.0 } else { size };
    all().map(|x| (x / unit) * (x / unit)).sum::<f64>().sqrt() * unit
}

/// The `bf16` that state `x` is stored as: of slot `slot` of element `at` of tensor number `tensor`.
///
/// Stochastic rounding adds 16 random bits to the 16 that are cut off. They are the lower half (slot 0)
/// or the upper half (slot 1) of a hash of `at`, with a key of seed, step and tensor.
pub fn stored_state(x: f32, rounding: StateRounding, [tensor, slot]: [usize; 2], at: u64) -> bf16 {
    let nearest = bf16::from_f32(x);
    let StateRounding::Stochastic { seed, step } = rounding else { return nearest };
    if x.is_nan() {
        return nearest;
    }
    let key = mix(mix(mix(seed) ^ step) ^ tensor as u64);
    let key = key ^ (at >> 32).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut hash = (at as u32).wrapping_add(key as u32);
    hash = (hash ^ hash >> 16).wrapping_mul(0x7FEB_352D);
    hash = (hash ^ hash >> 15 ^ (key >> 32) as u32).wrapping_mul(0x846C_A68B);
    hash ^= hash >> 16;
    let noise = hash >> (16 * slot) & 0xFFFF;
    bf16::from_bits(((x.to_bits() + noise) >> 16) as u16)
}

/// SplitMix64: its increment, then its finaliser.
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}
