//! Sigmoid (binary) cross-entropy of logits, elementwise: loss and gradient in one pass, one
//! exponential per element.
//!
//! With u = e^-|z| the loss max(z, 0) - z t + ln(1 + u) is |z| (1 - t) + ln(1 + u) where z >= 0 and
//! |z| t + ln(1 + u) elsewhere: sums of terms that are not negative, so that nothing cancels. The
//! gradient sigmoid(z) - t is (1 - t) - u / (1 + u) or u / (1 + u) - t, accurate in
//! both tails.

use super::cross_entropy::{Loss, Reduction};
use super::range::first_outside;
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd, math};

/// Elements whose losses are summed in vectors of the element type; larger sums are `f64` trees.
const BLOCK: usize = 1 << 10;

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 14;

/// Mean sigmoid cross-entropy of `logits` with `targets` in [0, 1], and its gradient.
///
/// # Errors
/// If the lengths differ or a target is not in [0, 1].
pub fn sigmoid_cross_entropy<T: Float>(
    logits: &[T],
    targets: &[T],
    dlogits: &mut [T],
) -> Result<Loss<T>> {
    SigmoidCrossEntropy::new(logits, targets)?.loss_and_gradient(dlogits, Exec::default())
}

/// Sigmoid cross-entropy of logits with targets in [0, 1], reduced by the mean over all elements
/// unless told otherwise; 0 where there are none. A NaN logit makes the loss NaN; an infinite one is
/// right for the target on its side (loss 0) and infinitely wrong for any other.
#[derive(Debug, Clone, Copy)]
pub struct SigmoidCrossEntropy<'a, T> {
    logits: &'a [T],
    targets: &'a [T],
    reduction: Reduction,
}

impl<'a, T: Float> SigmoidCrossEntropy<'a, T> {
    /// Checks the lengths; the targets are checked when the loss is taken.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(logits: &'a [T], targets: &'a [T]) -> Result<Self> {
        check_len("targets", logits.len(), targets.len()).map_err(named)?;
        Ok(Self { logits, targets, reduction: Reduction::Mean })
    }

    /// How element losses become one.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// The loss alone.
    ///
    /// # Errors
    /// If a target is not in [0, 1].
    pub fn loss(self, exec: Exec) -> Result<Loss<T>> {
        (T::compiled().sigmoid_cross_entropy)(self, None, exec)
    }

    /// The loss, and in `dlogits` its derivative by the logits, under the reduction.
    ///
    /// # Errors
    /// If a target is not in [0, 1] or `dlogits` has another length. Nothing is written then.
    pub fn loss_and_gradient(self, dlogits: &mut [T], exec: Exec) -> Result<Loss<T>> {
        check_len("dlogits", self.logits.len(), dlogits.len()).map_err(named)?;
        (T::compiled().sigmoid_cross_entropy)(self, Some(dlogits), exec)
    }

    pub(crate) fn execute(self, dlogits: Option<&mut [T]>, exec: Exec) -> Result<Loss<T>> {
        let Self { logits, targets, reduction } = self;
        if let Some(i) = first_outside(targets, [T::ZERO, T::ONE], exec)? {
            let what = format!("target {i}");
            return Err(named(Error::value(what, "a probability in [0, 1]", targets[i])));
        }
        let isa = exec.path()?;
        let count = logits.len();
        let scale = reduction.scale(count as f64);
        let work = Elements { logits, targets, dlogits, scale };
        let leaf = |piece: Elements<'_, T>| isa.run(piece);
        let total = exec.threads().fold_blocks(work, [BLOCK, GRAIN], &leaf, &|a, b| a + b);
        Ok(Loss::reduced(reduction, total, count as f64, count))
    }
}

fn named(error: Error) -> Error {
    error.within("sigmoid cross-entropy")
}

struct Elements<'a, T> {
    logits: &'a [T],
    targets: &'a [T],
    dlogits: Option<&'a mut [T]>,
    scale: T,
}

impl<T: Float> Split for Elements<'_, T> {
    fn units(&self) -> usize {
        self.logits.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (logits, logits_rest) = self.logits.split_at(mid);
        let (targets, targets_rest) = self.targets.split_at(mid);
        let (dlogits, dlogits_rest) = self.dlogits.map(|d| d.split_at_mut(mid)).unzip();
        let head = Self { logits, targets, dlogits, ..self };
        let rest =
            Self { logits: logits_rest, targets: targets_rest, dlogits: dlogits_rest, ..head };
        (head, rest)
    }
}

impl<T: Float> Kernel<T> for Elements<'_, T> {
    /// The sum of the losses.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> f64 {
        let scale = simd.splat(self.scale);
        let mut total = simd.zero();
        let mut z = self.logits.chunks_exact(S::LANES);
        let mut t = self.targets.chunks_exact(S::LANES);
        let mut d = self.dlogits.map(|d| d.chunks_exact_mut(S::LANES));
        for (z, t) in z.by_ref().zip(t.by_ref()) {
            let (loss, gradient) = loss_and_gradient(simd, simd.load(z), simd.load(t));
            total = simd.add(total, loss);
            if let Some(d) = d.as_mut().and_then(Iterator::next) {
                simd.store(simd.mul(gradient, scale), d);
            }
        }
        // -∞ with target 0, the fill of the last vector, has no loss.
        let last = simd.load_or(z.remainder(), T::NEG_INFINITY);
        let (loss, gradient) = loss_and_gradient(simd, last, simd.load_partial(t.remainder()));
        if let Some(d) = d {
            simd.store_partial(simd.mul(gradient, scale), d.into_remainder());
        }
        simd.sum_lanes(simd.add(total, loss)).to_f64()
    }
}

#[inline(always)]
fn loss_and_gradient<T: Float, S: Simd<T>>(simd: S, z: S::V, t: S::V) -> (S::V, S::V) {
    let (zero, one) = (simd.zero(), simd.splat(T::ONE));
    let magnitude = simd.abs(z);
    let negative = simd.lt(z, zero);
    let u = math::exp_decay(simd, simd.neg(magnitude));
    let tail = simd.div(u, simd.add(one, u));
    let other = simd.sub(one, t);
    // How far the target is from the side that the logit is on. 0 x ∞ must be 0.
    let wrong = simd.select(negative, t, other);
    let distance = simd.select(simd.eq(wrong, zero), zero, simd.mul(magnitude, wrong));
    // A NaN logit reaches the loss through u.
    let loss = simd.add(distance, math::ln_1p_unit(simd, u));
    let gradient = simd.select(negative, simd.sub(tail, t), simd.sub(other, tail));
    (loss, gradient)
}
