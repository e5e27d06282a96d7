//! Dropout: a random part of the values becomes 0, the others grow so that the mean stays.

use super::elementwise::{MOVING_GRAIN, NEAR, load_some, prefetch, store_some};
use crate::dispatch::outgrows_cache;
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{AlignedPart, Draws, Float, Kernel, Simd, Streaming};

/// Different draws.
const LEVELS: f64 = 4_294_967_296.0;

/// 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Inverted dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to
/// prevent neural networks from overfitting", 2014): each value is dropped, that is becomes 0, with
/// probability `rate`, and multiplied by 1 / (1 - rate) otherwise.
///
/// Whether a value is dropped is a function of seed, stream and position alone: the same for `f32` and
/// `f64`, on every instruction set and any number of threads. So the backward pass needs no mask; it draws
/// the same one again. Give every pass of training a stream of its own, such as the number of the step.
///
/// A dropped value is 0 whatever it was; NaN that is kept stays NaN. A rate of 0 copies, one of 1 writes
/// zeros. Traffic: one read and one write per value.
///
/// ```
/// use tilewise_kernels::{Dropout, Exec};
///
/// let dropout = Dropout::new(0.5, 42)?.stream(7);
/// let (x, mut y) = ([1.0_f32; 8], [0.0; 8]);
/// dropout.forward(&x, &mut y, Exec::default())?;
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    /// Draws below this are dropped; 2^32 drops all.
    limit: u64,
    seed: u64,
    stream: u64,
    first: u64,
}

impl Dropout {
    /// Dropout with this rate, rounded to a multiple of 2^-32; the mean is kept for the rounded rate. The
    /// stream is number 0.
    ///
    /// # Errors
    /// If `rate` is not in [0, 1].
    pub fn new(rate: f64, seed: u64) -> Result<Self> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::value("dropout rate", "a value in [0, 1]", rate));
        }
        // Only a rate of exactly 1 keeps nothing.
        let most = if rate == 1.0 { LEVELS } else { LEVELS - 1.0 };
        let limit = (rate * LEVELS).round().min(most) as u64;
        Ok(Self { limit, seed, stream: 0, first: 0 })
    }

    /// The same with another mask.
    #[must_use]
    pub fn stream(self, stream: u64) -> Self {
        Self { stream, ..self }
    }

    /// The same for slices that are a part of the whole and begin at this position of it.
    #[must_use]
    pub fn first(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// The probability that a value is dropped.
    pub fn rate(&self) -> f64 {
        self.limit as f64 / LEVELS
    }

    /// Writes the values that are kept, scaled, and 0 for the others.
    ///
    /// # Errors
    /// If the lengths differ or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn forward<T: Float>(&self, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
        check_len("dropout output", x.len(), y.len())?;
        (T::compiled().dropout)(self, x, y, exec)
    }

    /// The gradient by the input, from the gradient by the output: the same mask, the same factor.
    ///
    /// # Errors
    /// If the lengths differ or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn backward<T: Float>(&self, dy: &[T], dx: &mut [T], exec: Exec) -> Result<()> {
        check_len("dropout gradient dx", dy.len(), dx.len())?;
        (T::compiled().dropout)(self, dy, dx, exec)
    }

    pub(crate) fn execute<T: Float>(&self, x: &[T], y: &mut [T], exec: Exec) -> Result<()> {
        let isa = exec.path()?;
        match u32::try_from(self.limit) {
            Ok(0) => y.copy_from_slice(x),
            Ok(limit) => {
                let factor = T::from_f64(LEVELS / (LEVELS - f64::from(limit)));
                let streams = outgrows_cache(size_of_val(y));
                let masked = Masked { dropout: *self, limit, factor, x, y, streams };
                exec.threads().divide(masked, MOVING_GRAIN, &|piece| isa.run(piece));
            }
            Err(_) => y.fill(T::ZERO),
        }
        Ok(())
    }

    /// The draws of positions whose upper half is `upper`.
    fn draws(&self, upper: u64) -> Draws {
        let key = mix(mix(self.seed.wrapping_add(GOLDEN)) ^ self.stream.wrapping_mul(GOLDEN));
        Draws::new(mix(key.wrapping_add(upper.wrapping_mul(GOLDEN))))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014): every bit reaches every other.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Masked<'a, T> {
    dropout: Dropout,
    limit: u32,
    factor: T,
    x: &'a [T],
    y: &'a mut [T],
    streams: bool,
}

impl<T: Float> Split for Masked<'_, T> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let dropout = self.dropout.first(self.dropout.first.wrapping_add(mid as u64));
        let (x, x_rest) = self.x.split_at(mid);
        let (y, y_rest) = self.y.split_at_mut(mid);
        (Self { x, y, ..self }, Self { dropout, x: x_rest, y: y_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Masked<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        // Positions of one upper half at a time: they share a key.
        while !self.x.is_empty() {
            let [upper, lower] = [self.dropout.first >> 32, self.dropout.first & 0xFFFF_FFFF];
            let here = self.x.len().min(((1 << 32) - lower) as usize);
            let draws = self.dropout.draws(upper);
            let (head, rest) = self.split(here);
            head.run_with(simd, draws, lower as u32);
            self = rest;
        }
    }
}

impl<T: Float> Masked<'_, T> {
    #[inline(always)]
    fn run_with<S: Simd<T>>(self, simd: S, draws: Draws, mut position: u32) {
        let far = size_of_val(self.y) > NEAR;
        let mask = Mask { draws, limit: self.limit, factor: self.factor };
        let leave = self.streams.then(Streaming::new);
        let lines = match leave {
            Some(_) => AlignedPart::of(self.y),
            None => AlignedPart { before: 0, inside: self.y.len() / S::LANES * S::LANES },
        };
        let parts = lines.cut(self.x).into_iter().zip(lines.cut_mut(self.y));
        for (i, (x, y)) in parts.enumerate() {
            for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
                if far {
                    prefetch(simd, [x]);
                }
                let value = mask.apply(simd, load_some(simd, x), position);
                match &leave {
                    Some(leave) if i == 1 => simd.stream(value, y, leave),
                    _ => store_some(simd, value, y),
                }
                position = position.wrapping_add(x.len() as u32);
            }
        }
    }
}

/// What happens to a vector at its position.
#[derive(Clone, Copy)]
struct Mask<T> {
    draws: Draws,
    limit: u32,
    factor: T,
}

impl<T: Float> Mask<T> {
    #[inline(always)]
    fn apply<S: Simd<T>>(self, simd: S, x: S::V, position: u32) -> S::V {
        let dropped = simd.drawn_below(self.draws, position, self.limit);
        simd.select(dropped, simd.zero(), simd.mul(x, simd.splat(self.factor)))
    }
}
