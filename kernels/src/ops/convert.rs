//! Conversion of `f32` to halves and back. One read and one write per element: 6 bytes.

use half::{bf16, f16};

use crate::dispatch::outgrows_cache;
use crate::error::{Result, check_len};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Half, Kernel, MOST_LANES, Simd, Streaming, before_line};

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 15;

/// Writes `x` to `y` in another type: from `f32` to [`bf16`] or [`f16`](struct@crate::f16), or back.
///
/// To a half: the nearest one, ties to even. What is too large becomes infinite, what is too small
/// subnormal or a zero of its sign. From a half: the same value. NaN stays NaN, with its sign and as much
/// of its payload as there is room for, and becomes quiet. All paths give the same bits.
///
/// # Errors
/// If the lengths differ.
///
/// ```
/// use tilewise_kernels::{bf16, convert};
/// let mut y = [bf16::ZERO; 3];
/// convert(&[1.0, 3.14159, 1e39_f64 as f32], &mut y)?;
/// assert_eq!(y.map(f32::from), [1.0, 3.140625, f32::INFINITY]);
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
pub fn convert<A: ConvertTo<B>, B>(x: &[A], y: &mut [B]) -> Result<()> {
    Convert::new(x, y)?.run(Exec::default())
}

/// Elements of another type along a slice; see [`convert`].
#[derive(Debug)]
pub struct Convert<'a, A, B> {
    x: &'a [A],
    y: &'a mut [B],
}

impl<'a, A: ConvertTo<B>, B> Convert<'a, A, B> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn new(x: &'a [A], y: &'a mut [B]) -> Result<Self> {
        check_len("convert output", x.len(), y.len())?;
        Ok(Self { x, y })
    }

    /// Writes `y`.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn run(self, exec: Exec) -> Result<()> {
        A::convert(self, exec)
    }
}

/// Types that can be converted to `B`: `f32` to [`bf16`] and [`f16`](struct@crate::f16), and each of
/// them to `f32`.
pub trait ConvertTo<B>: Sized {
    /// Writes the output.
    #[doc(hidden)]
    fn convert(work: Convert<'_, Self, B>, exec: Exec) -> Result<()>;
}

macro_rules! impl_convert {
    ($half:ident) => {
        impl ConvertTo<$half> for f32 {
            fn convert(work: Convert<'_, f32, $half>, exec: Exec) -> Result<()> {
                run(Narrow, work.x, work.y, exec)
            }
        }

        impl ConvertTo<f32> for $half {
            fn convert(work: Convert<'_, $half, f32>, exec: Exec) -> Result<()> {
                run(Widen, work.x, work.y, exec)
            }
        }
    };
}

impl_convert!(bf16);
impl_convert!(f16);

/// A conversion of two vectors of elements.
trait Step<A, B>: Copy + Send + Sync {
    /// Converts the first `2 * LANES` elements; with leave past the caches.
    fn step<S: Simd<f32>>(self, simd: S, x: &[A], y: &mut [B], leave: Option<&Streaming>);
}

#[derive(Clone, Copy)]
struct Narrow;

impl<H: Half> Step<f32, H> for Narrow {
    #[inline(always)]
    fn step<S: Simd<f32>>(self, simd: S, x: &[f32], y: &mut [H], leave: Option<&Streaming>) {
        let v = [simd.load(x), simd.load(&x[S::LANES..])];
        match leave {
            Some(leave) => simd.stream_halves(v, y, leave),
            None => simd.store_halves(v, y),
        }
    }
}

#[derive(Clone, Copy)]
struct Widen;

impl<H: Half> Step<H, f32> for Widen {
    #[inline(always)]
    fn step<S: Simd<f32>>(self, simd: S, x: &[H], y: &mut [f32], leave: Option<&Streaming>) {
        let [low, high] = simd.load_halves(x);
        let (to_low, to_high) = y.split_at_mut(S::LANES);
        match leave {
            Some(leave) => {
                simd.stream(low, to_low, leave);
                simd.stream(high, to_high, leave);
            }
            None => {
                simd.store(low, to_low);
                simd.store(high, to_high);
            }
        }
    }
}

/// Converts `x` to `y`, which have equal lengths.
fn run<F, A, B>(step: F, x: &[A], y: &mut [B], exec: Exec) -> Result<()>
where
    F: Step<A, B>,
    A: Copy + Default + Send + Sync,
    B: Copy + Default + Send + Sync,
{
    let isa = exec.path()?;
    let streams = outgrows_cache(size_of_val(y));
    let work = Pieces { step, x, y, streams };
    exec.threads().divide(work, GRAIN, &|piece| isa.run(piece));
    Ok(())
}

struct Pieces<'a, F, A, B> {
    step: F,
    x: &'a [A],
    y: &'a mut [B],
    streams: bool,
}

impl<F, A, B> Split for Pieces<'_, F, A, B>
where
    F: Step<A, B>,
    A: Sync,
    B: Send,
{
    fn units(&self) -> usize {
        self.x.len()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let Self { step, x, y, streams } = self;
        let (x, x_rest) = x.split_at(mid);
        let (y, y_rest) = y.split_at_mut(mid);
        (Self { step, x, y, streams }, Self { step, x: x_rest, y: y_rest, streams })
    }
}

impl<F, A, B> Kernel<f32> for Pieces<'_, F, A, B>
where
    F: Step<A, B>,
    A: Copy + Default,
    B: Copy + Default,
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let Self { step, mut x, mut y, streams } = self;
        let leave = streams.then(Streaming::new);
        if streams {
            let head = before_line(y);
            let (x_head, x_rest) = x.split_at(head);
            let (y_head, y_rest) = y.split_at_mut(head);
            run_slices(simd, step, x_head, y_head, None);
            (x, y) = (x_rest, y_rest);
        }
        run_slices(simd, step, x, y, leave.as_ref());
    }
}

/// Whole steps, then the rest by way of copies, with the same instructions.
#[inline(always)]
fn run_slices<S, F, A, B>(simd: S, step: F, x: &[A], y: &mut [B], leave: Option<&Streaming>)
where
    S: Simd<f32>,
    F: Step<A, B>,
    A: Copy + Default,
    B: Copy + Default,
{
    let width = 2 * S::LANES;
    let mut x = x.chunks_exact(width);
    let mut y = y.chunks_exact_mut(width);
    for (x, y) in x.by_ref().zip(y.by_ref()) {
        step.step(simd, x, y, leave);
    }
    let (x, y) = (x.remainder(), y.into_remainder());
    if !x.is_empty() {
        let mut inputs = [A::default(); 2 * MOST_LANES];
        let mut outputs = [B::default(); 2 * MOST_LANES];
        inputs[..x.len()].copy_from_slice(x);
        step.step(simd, &inputs, &mut outputs, None);
        y.copy_from_slice(&outputs[..x.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::available;
    use crate::simd::LINE;

    /// Large outputs go past the caches; where each begins must not show.
    #[test]
    fn streamed_elements_have_the_bits_of_stored_ones() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 1.37e-3).collect();
        for &isa in available().unwrap() {
            let run = |start: usize, streams: bool| {
                let mut y = vec![f16::NAN; x.len() + start];
                isa.run(Pieces { step: Narrow, x: &x, y: &mut y[start..], streams });
                let mut back = vec![f32::NAN; x.len() + start];
                let halves = &y[start..];
                isa.run(Pieces { step: Widen, x: halves, y: &mut back[start..], streams });
                (y[start..].to_vec(), back[start..].to_vec())
            };
            for start in 0..LINE / 2 {
                assert!(run(start, true) == run(0, false), "{isa} from {start}");
            }
        }
    }
}
