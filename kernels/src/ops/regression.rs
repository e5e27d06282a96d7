//! Losses of regressions, elementwise: loss and gradient of the difference to a target in one pass.
//!
//! Bytes per element: two reads for the loss alone, and one write more with the gradient; 8 and 12 in
//! `f32`, 16 where the processor reads the gradient's lines before they are written.

use super::cross_entropy::{Loss, Reduction};
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Elements whose losses are summed in vectors of the element type; larger sums are `f64` trees.
const BLOCK: usize = 1 << 10;

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 16;

/// What a difference `d` of output and target costs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Distance {
    /// `d²`
    Squared,
    /// `|d|`, with gradient 0 at 0.
    Absolute,
    /// `d²/2` up to `delta` and `delta (|d| - delta/2)` beyond (Huber 1964).
    Huber {
        /// Finite and above 0.
        delta: f64,
    },
}

/// Mean distance of `outputs` from `targets`, and its gradient.
///
/// # Errors
/// If the lengths differ or the distance has a parameter outside its domain.
pub fn regression_loss<T: Float>(
    outputs: &[T],
    targets: &[T],
    distance: Distance,
    doutputs: &mut [T],
) -> Result<Loss<T>> {
    RegressionLoss::new(outputs, targets, distance)?.loss_and_gradient(doutputs, Exec::default())
}

/// The distances of outputs from targets, reduced by the mean over all elements unless told
/// otherwise; 0 where there are none. NaN in either makes the loss NaN.
#[derive(Debug, Clone, Copy)]
pub struct RegressionLoss<'a, T> {
    outputs: &'a [T],
    targets: &'a [T],
    distance: Distance,
    reduction: Reduction,
}

impl<'a, T: Float> RegressionLoss<'a, T> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ, or Huber's delta is not finite and above 0 in the element type.
    pub fn new(outputs: &'a [T], targets: &'a [T], distance: Distance) -> Result<Self> {
        check_len("targets", outputs.len(), targets.len()).map_err(named)?;
        if let Distance::Huber { delta } = distance {
            let rounded = T::from_f64(delta);
            if !(rounded > T::ZERO && rounded.is_finite()) {
                let expected = format!("a finite value above 0 in {}", T::NAME);
                return Err(named(Error::value("delta", expected, delta)));
            }
        }
        Ok(Self { outputs, targets, distance, reduction: Reduction::Mean })
    }

    /// How element losses become one.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// The loss alone.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn loss(self, exec: Exec) -> Result<Loss<T>> {
        (T::compiled().regression)(self, None, exec)
    }

    /// The loss, and in `doutputs` its derivative by the outputs, under the reduction.
    ///
    /// # Errors
    /// If `doutputs` has another length. Nothing is written then.
    pub fn loss_and_gradient(self, doutputs: &mut [T], exec: Exec) -> Result<Loss<T>> {
        check_len("doutputs", self.outputs.len(), doutputs.len()).map_err(named)?;
        (T::compiled().regression)(self, Some(doutputs), exec)
    }

    pub(crate) fn execute(self, doutputs: Option<&mut [T]>, exec: Exec) -> Result<Loss<T>> {
        match self.distance {
            Distance::Squared => self.measure(Squared, doutputs, exec),
            Distance::Absolute => self.measure(Absolute, doutputs, exec),
            Distance::Huber { delta } => self.measure(Huber(T::from_f64(delta)), doutputs, exec),
        }
    }

    fn measure<M: Measure<T>>(
        self,
        measure: M,
        doutputs: Option<&mut [T]>,
        exec: Exec,
    ) -> Result<Loss<T>> {
        let Self { outputs, targets, reduction, .. } = self;
        let isa = exec.path()?;
        let count = outputs.len();
        let scale = reduction.scale(count as f64);
        let work = Elements { measure, outputs, targets, doutputs, scale };
        let leaf = |piece: Elements<'_, T, M>| isa.run(piece);
        let total = exec.threads().fold_blocks(work, [BLOCK, GRAIN], &leaf, &|a, b| a + b);
        Ok(Loss::reduced(reduction, total, count as f64, count))
    }
}

fn named(error: Error) -> Error {
    error.within("regression loss")
}

/// A distance and its derivative.
trait Measure<T: Float>: Copy + Send + Sync {
    /// Both for vectors of differences; of 0 both are 0. Mark it `#[inline(always)]`.
    fn apply<S: Simd<T>>(self, simd: S, d: S::V) -> (S::V, S::V);
}

#[derive(Clone, Copy)]
struct Squared;

impl<T: Float> Measure<T> for Squared {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, d: S::V) -> (S::V, S::V) {
        (simd.mul(d, d), simd.add(d, d))
    }
}

#[derive(Clone, Copy)]
struct Absolute;

impl<T: Float> Measure<T> for Absolute {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, d: S::V) -> (S::V, S::V) {
        let sign = simd.copy_sign(simd.splat(T::ONE), d);
        let flat = simd.select(simd.eq(d, simd.zero()), simd.zero(), sign);
        (simd.abs(d), simd.select(simd.is_nan(d), d, flat))
    }
}

#[derive(Clone, Copy)]
struct Huber<T>(T);

impl<T: Float> Measure<T> for Huber<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, d: S::V) -> (S::V, S::V) {
        let delta = simd.splat(self.0);
        // The second operand wins where one is NaN, and that is d.
        let cut = simd.min(delta, simd.max(simd.neg(delta), d));
        // c (d - c/2) is d²/2 where nothing is cut and delta (|d| - delta/2) where something is.
        let loss = simd.mul(cut, simd.neg_mul_add(simd.splat(T::HALF), cut, d));
        (loss, cut)
    }
}

struct Elements<'a, T, M> {
    measure: M,
    outputs: &'a [T],
    targets: &'a [T],
    doutputs: Option<&'a mut [T]>,
    scale: T,
}

impl<T: Float, M: Measure<T>> Split for Elements<'_, T, M> {
    fn units(&self) -> usize {
        self.outputs.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (outputs, outputs_rest) = self.outputs.split_at(mid);
        let (targets, targets_rest) = self.targets.split_at(mid);
        let (doutputs, doutputs_rest) = self.doutputs.map(|d| d.split_at_mut(mid)).unzip();
        let head = Self { outputs, targets, doutputs, ..self };
        let (outputs, targets, doutputs) = (outputs_rest, targets_rest, doutputs_rest);
        (head, Self { outputs, targets, doutputs, ..self })
    }
}

impl<T: Float, M: Measure<T>> Kernel<T> for Elements<'_, T, M> {
    /// The sum of the losses.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> f64 {
        let scale = simd.splat(self.scale);
        let mut total = simd.zero();
        let mut x = self.outputs.chunks_exact(S::LANES);
        let mut t = self.targets.chunks_exact(S::LANES);
        let mut d = self.doutputs.map(|d| d.chunks_exact_mut(S::LANES));
        for (x, t) in x.by_ref().zip(t.by_ref()) {
            let (loss, gradient) = self.measure.apply(simd, simd.sub(simd.load(x), simd.load(t)));
            total = simd.add(total, loss);
            if let Some(d) = d.as_mut().and_then(Iterator::next) {
                simd.store(simd.mul(gradient, scale), d);
            }
        }
        let (x, t) = (simd.load_partial(x.remainder()), simd.load_partial(t.remainder()));
        let (loss, gradient) = self.measure.apply(simd, simd.sub(x, t));
        if let Some(d) = d {
            simd.store_partial(simd.mul(gradient, scale), d.into_remainder());
        }
        simd.sum_lanes(simd.add(total, loss)).to_f64()
    }
}
