//! Batch normalisation over `[outer, channels, inner]`: training forward and backward, inference.
//!
//! One layout covers all: rows of features have `inner == 1`, images as NCHW have
//! `inner == height * width`, images as NHWC have `outer == n * height * width` and `inner == 1`.
//! Element `(o, c, i)` lies at `(o * channels + c) * inner + i`. A channel's `outer * inner` values
//! are normalised together (Ioffe and Szegedy 2015):
//!
//! `y = gamma (x - mean) / sqrt(var + epsilon) + beta`, with the biased variance.
//!
//! # Statistics
//! Rows are taken in blocks of a fixed size. A block's values are shifted by the mean of its first
//! rows, which bounds the cancellation in the variance by a small constant whatever the data; the
//! blocks are merged in `f64` in a fixed order (Chan, Golub and LeVeque 1983). The mean is kept
//! with what its rounding left out, so that an offset of a million does not shift the output.
//! A constant channel gives exactly `beta`. A NaN or an infinity makes its own channel NaN and no
//! other.
//!
//! # Work
//! Small batches go strip by strip of channels: a strip is read, and read again from the cache to be
//! normalised. Rows of channels beyond a megabyte are read twice in the order of memory. Planes go
//! channel by channel. Results do not depend on the number of threads, and a channel's result
//! depends on no value of another's.
//!
//! An output as large as the second-level cache is written past the caches, where its rows consist of
//! whole cache lines or are planes; it need not start with one (unless a batch is read in strips). Bytes
//! per element in `f32`, twice as many in `f64`; a plain store reads the line first, and nothing of a
//! batch that is read twice stays in the cache meanwhile:
//!
//! | | minimum | strips, planes | read twice | read twice, plain stores |
//! |---|---|---|---|---|
//! | forward | 8 | 8 | 12 | 16 |
//! | backward | 12 | 12 | 20 | 24 |
//!
//! Inference takes 8, or 12 with plain stores.
//!
//! # Halves
//! The batch, its gradients and its output may be stored as [`bf16`](crate::bf16) or
//! [`f16`](struct@crate::f16) ([`Storage`]), with parameters and statistics in `f32`: half the bytes of the
//! table. Values are widened exactly and results rounded once, so that these passes have the bits of those
//! over widened values, rounded.
//!
//! # Residuals
//! `y = relu(normalised + r)` is one pass ([`BatchNormForward::residual`]), and so is its way back, which
//! gives the gradients of both addends. The ReLU's mask is worked out again from `x` and `r`, and never
//! stored. Forward this takes 4 bytes more, backward 8, or 12 where `x` is read twice.

mod backward;
mod blocks;
mod ending;
mod forward;
mod gradient;
mod inference;
mod normalise;
mod outputs;
mod slope;
#[cfg(test)]
mod streaming;
mod tall;

pub use backward::{BatchNormBackward, BatchNormGrads, batch_norm_backward};
pub use forward::{BatchNormForward, batch_norm_forward};
pub use inference::{BatchNormInference, Running, batch_norm_inference};

use crate::error::{Error, Result, check_len, checked_area};
use crate::exec::Exec;
use crate::ops::storage::Storage;
use crate::simd::Float;

/// The shape of a batch: `outer` x `channels` x `inner`, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNormDims {
    /// What stands before the channels: examples, or examples and positions.
    pub outer: usize,
    /// The channels (features), each normalised on its own.
    pub channels: usize,
    /// What stands behind the channels: positions.
    pub inner: usize,
}

impl BatchNormDims {
    /// `n` rows of `c` features.
    pub fn rows(n: usize, c: usize) -> Self {
        Self { outer: n, channels: c, inner: 1 }
    }

    /// `n` images of `c` planes of `h` x `w`.
    ///
    /// # Errors
    /// If the size overflows.
    pub fn nchw(n: usize, c: usize, h: usize, w: usize) -> Result<Self> {
        let inner = checked_area("batch norm image", h, w)?;
        Ok(Self { outer: n, channels: c, inner })
    }

    /// `n` images of `h` x `w` pixels of `c` channels.
    ///
    /// # Errors
    /// If the size overflows.
    pub fn nhwc(n: usize, h: usize, w: usize, c: usize) -> Result<Self> {
        let area = checked_area("batch norm image", h, w)?;
        Ok(Self { outer: checked_area("batch norm batch", n, area)?, channels: c, inner: 1 })
    }

    /// Number of elements.
    ///
    /// # Errors
    /// If it overflows.
    pub fn len(&self) -> Result<usize> {
        let row = checked_area("batch norm row", self.channels, self.inner)?;
        checked_area("batch norm batch", self.outer, row)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.outer == 0 || self.channels == 0 || self.inner == 0
    }

    /// Values per channel; does not overflow where [`len`](Self::len) does not and there are
    /// channels.
    fn count(&self) -> usize {
        self.outer.saturating_mul(self.inner)
    }

    /// Elements per outer index.
    fn width(&self) -> usize {
        self.channels * self.inner
    }

    /// The same elements with a single channel's seen as one run.
    fn flattened(self) -> Self {
        match self.channels {
            1 => Self { outer: 1, channels: 1, inner: self.outer * self.inner },
            _ => self,
        }
    }

    /// Whether the batch is read twice in the order of memory instead of strip by strip.
    fn is_tall<T>(&self) -> bool {
        let bytes = (self.outer * self.channels).saturating_mul(size_of::<T>());
        self.inner == 1 && self.outer > TALL_ROWS && bytes > TALL_BYTES
    }

    /// Checks a buffer of this shape.
    fn check(&self, what: &str, got: usize) -> Result<()> {
        check_len(what, self.len()?, got)
    }

    /// Checks that there is something to take statistics of.
    fn check_training(&self) -> Result<()> {
        if self.channels > 0 && self.count() < 2 {
            return Err(Error::value(
                "batch norm",
                "at least 2 values per channel in training",
                self.count(),
            ));
        }
        Ok(())
    }
}

/// The learned scale and shift, one of each per channel.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a, T> {
    /// Scale.
    pub gamma: &'a [T],
    /// Shift.
    pub beta: &'a [T],
}

impl<'a, T> Affine<'a, T> {
    fn check(&self, channels: usize) -> Result<()> {
        check_len("batch norm gamma", channels, self.gamma.len())?;
        check_len("batch norm beta", channels, self.beta.len())
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (gamma, gamma_rest) = self.gamma.split_at(mid);
        let (beta, beta_rest) = self.beta.split_at(mid);
        (Self { gamma, beta }, Self { gamma: gamma_rest, beta: beta_rest })
    }
}

/// What the training forward pass learns of a batch and the backward pass needs: one value of each
/// per channel. Make it once and use it for every batch; nothing is allocated then.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStats<T> {
    /// Mean, rounded.
    pub mean: Vec<T>,
    /// What rounding the mean left out: `mean + mean_low` is the mean to twice the precision.
    pub mean_low: Vec<T>,
    /// Biased variance (divided by the number of values).
    pub var: Vec<T>,
    /// `1 / sqrt(var + epsilon)`
    pub inv_std: Vec<T>,
}

impl<T: Float> BatchStats<T> {
    /// Room for the statistics of `channels` channels.
    pub fn new(channels: usize) -> Self {
        let zeros = vec![T::ZERO; channels];
        Self { mean: zeros.clone(), mean_low: zeros.clone(), var: zeros.clone(), inv_std: zeros }
    }

    fn check(&self, channels: usize) -> Result<()> {
        check_len("batch norm statistics: mean", channels, self.mean.len())?;
        check_len("batch norm statistics: mean_low", channels, self.mean_low.len())?;
        check_len("batch norm statistics: var", channels, self.var.len())?;
        check_len("batch norm statistics: inv_std", channels, self.inv_std.len())
    }
}

/// Checks the term that keeps the variance away from zero; it must not vanish in the data's type.
fn check_epsilon<T: Float>(epsilon: T) -> Result<()> {
    if epsilon.is_finite() && epsilon > T::ZERO {
        return Ok(());
    }
    Err(Error::value("batch norm epsilon", "a finite value above 0", epsilon))
}

/// Entries to the passes over buffers of `E` that are computed in `T`.
#[derive(Debug)]
#[expect(clippy::type_complexity, reason = "an entry's type is what its operation takes and gives")]
pub struct BatchNorms<T: 'static, E: 'static> {
    forward: fn(BatchNormForward<'_, T, E>, &mut [E], &mut BatchStats<T>, Exec) -> Result<()>,
    backward: fn(BatchNormBackward<'_, T, E>, &[E], BatchNormGrads<'_, T, E>, Exec) -> Result<()>,
    inference: fn(BatchNormInference<'_, T, E>, &mut [E], Exec) -> Result<()>,
}

impl<T: Float, E: Storage<T>> BatchNorms<T, E> {
    pub(super) const fn new() -> Self {
        Self {
            forward: |op, y, stats, exec| op.execute(y, stats, exec),
            backward: |op, dy, grads, exec| op.execute(dy, grads, exec),
            inference: |op, y, exec| op.execute(y, exec),
        }
    }
}

/// A batch beyond this size, half of a common second-level cache, does not stay there with its
/// output. A fixed number: results must not depend on the machine.
const TALL_BYTES: usize = 1 << 20;

/// Rows up to which strips are short enough in any case. Beyond, every row of a strip is a page of its
/// own, and finding so many takes as long as reading twice: measured the same at 512 rows.
const TALL_ROWS: usize = 256;

/// Channels per strip: four cache lines of each row.
const fn strip_width<T>() -> usize {
    256 / size_of::<T>()
}

/// Strips of channels: first one, number. The first strip ends before channel `lead`, if that is not 0.
fn strips<T>(channels: usize, lead: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let most = if at == 0 && lead > 0 { lead } else { strip_width::<T>() };
        let strip = (at, most.min(channels - at));
        at += strip.1;
        (strip.1 > 0).then_some(strip)
    })
}

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 15;

/// How channels are dealt out to threads: whole cache lines of neighbours where they are adjacent
/// in memory, single ones where each has its own stretch.
#[derive(Clone, Copy)]
struct Share {
    /// Channels per unit.
    size: usize,
    /// Units one task should have at least.
    grain: usize,
}

impl Share {
    fn of<T>(dims: BatchNormDims) -> Self {
        let line = 64 / size_of::<T>();
        let size = if dims.inner == 1 { line } else { 1 };
        Self { size, grain: (GRAIN / (size * dims.count()).max(1)).max(1) }
    }

    fn units(self, channels: usize) -> usize {
        channels.div_ceil(self.size)
    }

    /// The channel at which `unit` starts.
    fn channel(self, unit: usize, channels: usize) -> usize {
        (unit * self.size).min(channels)
    }
}
