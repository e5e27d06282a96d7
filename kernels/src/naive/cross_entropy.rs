//! Cross-entropies of logits.

use super::softmax::{shift_and_sum, shifted};
use crate::ops::{LinearCrossEntropyGrads, Loss, Reduction, Targets};
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// The options of softmax cross-entropy; see [`SoftmaxCrossEntropy`](crate::SoftmaxCrossEntropy).
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropyOptions<'a, T> {
    /// How row losses become one.
    pub reduction: Reduction,
    /// A label whose rows count for nothing.
    pub ignore_index: Option<usize>,
    /// The share of the uniform distribution in the target.
    pub label_smoothing: f64,
    /// One factor per class.
    pub class_weights: Option<&'a [T]>,
}

/// The reduced loss of `logits` against `targets`, and its gradient in `dlogits`.
///
/// # Panics
/// If shapes differ or a label that is not ignored is no class.
pub fn softmax_cross_entropy<T: Float>(
    logits: MatRef<'_, T>,
    targets: Targets<'_, T>,
    options: CrossEntropyOptions<'_, T>,
    mut dlogits: MatMut<'_, T>,
) -> Loss<T> {
    let (rows, classes) = (logits.rows(), logits.cols());
    assert_eq!((rows, classes), (dlogits.rows(), dlogits.cols()));
    let class_weight = |j: usize| options.class_weights.map_or(1.0, |w| w[j].to_f64());
    let ignored = |i: usize| match targets {
        Targets::Classes(labels) => options.ignore_index == Some(labels[i]),
        Targets::Probabilities(_) => false,
    };
    let target = |i: usize, j: usize| {
        let t = match targets {
            Targets::Classes(labels) => f64::from(u8::from(labels[i] == j)),
            Targets::Probabilities(t) => t.at(i, j).to_f64(),
        };
        let s = options.label_smoothing;
        class_weight(j) * ((1.0 - s) * t + s / classes as f64)
    };
    let counting: Vec<usize> = (0..rows).filter(|&i| !ignored(i)).collect();
    let weigh = |&i: &usize| match targets {
        Targets::Classes(labels) => {
            assert!(labels[i] < classes);
            class_weight(labels[i])
        }
        Targets::Probabilities(_) => 1.0,
    };
    let weight: f64 = counting.iter().map(weigh).sum();
    let scale = match options.reduction {
        Reduction::Mean if weight == 0.0 => 0.0,
        Reduction::Mean => 1.0 / weight,
        Reduction::Sum => 1.0,
    };
    let mut total = 0.0;
    for i in 0..rows {
        let (shift, sum) = shift_and_sum(&logits, i);
        let mass: f64 = (0..classes).map(|j| target(i, j)).sum();
        for j in 0..classes {
            let a = target(i, j);
            let z = shifted(&logits, [i, j], shift);
            if ignored(i) {
                dlogits.set(i, j, T::ZERO);
                continue;
            }
            if a != 0.0 {
                total += a * (sum.ln() - z);
            }
            dlogits.set(i, j, T::from_f64((z.exp() / sum * mass - a) * scale));
        }
    }
    let value = T::from_f64(if scale == 0.0 { 0.0 } else { total * scale });
    Loss { value, counted: counting.len() }
}

/// The reduced loss of `hidden · weights + bias` against one label per row, and its gradients.
///
/// # Panics
/// If shapes differ or a label that is not ignored is no class.
pub fn linear_cross_entropy<T: Float>(
    hidden: MatRef<'_, T>,
    weights: MatRef<'_, T>,
    bias: Option<&[T]>,
    labels: &[usize],
    options: CrossEntropyOptions<'_, T>,
    mut grads: LinearCrossEntropyGrads<'_, T>,
) -> Loss<T> {
    let (rows, depth, classes) = (hidden.rows(), hidden.cols(), weights.cols());
    let mut logits = vec![0.0; rows * classes];
    for i in 0..rows {
        for j in 0..classes {
            let products = (0..depth).map(|k| hidden.at(i, k).to_f64() * weights.at(k, j).to_f64());
            logits[i * classes + j] = products.sum::<f64>() + bias.map_or(0.0, |b| b[j].to_f64());
        }
    }
    let matrix = |data| MatRef::new(data, rows, classes).expect("as many as rows and classes");
    let mut dlogits = vec![0.0; rows * classes];
    let wide: Option<Vec<f64>> =
        options.class_weights.map(|weights| weights.iter().map(|w| w.to_f64()).collect());
    let CrossEntropyOptions { reduction, ignore_index, label_smoothing, .. } = options;
    let class_weights = wide.as_deref();
    let options = CrossEntropyOptions { reduction, ignore_index, label_smoothing, class_weights };
    let out = MatMut::new(&mut dlogits, rows, classes).expect("as many as rows and classes");
    let loss = softmax_cross_entropy(matrix(&logits), Targets::Classes(labels), options, out);
    let dlogits = matrix(&dlogits);
    for k in 0..depth {
        for i in 0..rows {
            let sum = (0..classes).map(|j| dlogits.at(i, j) * weights.at(k, j).to_f64()).sum();
            grads.dhidden.set(i, k, T::from_f64(sum));
        }
        for j in 0..classes {
            let sum = (0..rows).map(|i| dlogits.at(i, j) * hidden.at(i, k).to_f64()).sum();
            grads.dweights.set(k, j, T::from_f64(sum));
        }
    }
    if let Some(dbias) = grads.dbias {
        for (j, sum) in dbias.iter_mut().enumerate() {
            *sum = T::from_f64((0..rows).map(|i| dlogits.at(i, j)).sum());
        }
    }
    Loss { value: T::from_f64(loss.value), counted: loss.counted }
}

/// The reduced loss of `logits` against `targets` in [0, 1], and its gradient in `dlogits`.
///
/// # Panics
/// If the lengths differ.
pub fn sigmoid_cross_entropy<T: Float>(
    logits: &[T],
    targets: &[T],
    reduction: Reduction,
    dlogits: &mut [T],
) -> Loss<T> {
    assert!(logits.len() == targets.len() && logits.len() == dlogits.len());
    let counted = logits.len();
    let scale = match reduction {
        Reduction::Mean if counted > 0 => 1.0 / counted as f64,
        _ => 1.0,
    };
    let mut total = 0.0;
    for ((z, t), d) in logits.iter().zip(targets).zip(dlogits) {
        let (z, t) = (z.to_f64(), t.to_f64());
        // max(z, 0) - z t + ln(1 + e^-|z|) and sigmoid(z) - t, written so that nothing cancels:
        // by the distance of the target from the side that the logit is on. 0 x ∞ is 0.
        let u = (-z.abs()).exp();
        let distance = if z < 0.0 { t } else { 1.0 - t };
        total += if distance == 0.0 { 0.0 } else { z.abs() * distance } + u.ln_1p();
        let gradient = u / (1.0 + u) - distance;
        *d = T::from_f64(if z < 0.0 { gradient } else { -gradient } * scale);
    }
    Loss { value: T::from_f64(total * scale), counted }
}
