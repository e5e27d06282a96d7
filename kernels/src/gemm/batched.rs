//! Many products of one shape in one call, as attention and small models need them.
//!
//! The arguments are checked once, and each product is the one that [`Gemm`] computes, bit for bit: a
//! matrix does not feel the others beside it. Threads get whole products; few large ones are computed
//! one after the other instead, each on all threads.

use std::ops::Range;

use super::narrow::{Narrow, Narrows};
use super::packed::Factor;
use super::plan::GRAIN;
use super::{Element, Gemm, Operand, SumsTo};
use crate::dispatch::Isa;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Exec;
use crate::parallel::Par;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `C[i] <- f(alpha * A[i] * B[i] + beta * C[i] + bias)` for many `i`; see [`Gemm::batched`].
#[derive(Debug, Clone, Copy)]
pub struct BatchedGemm<'a, T, E = T> {
    one: Gemm<'a, T, E>,
    count: usize,
    /// Elements from one matrix to the next, of A and of B.
    strides: [usize; 2],
}

impl<'a, T: Float, E: SumsTo<T>> Gemm<'a, T, E> {
    /// The same product of `count` pairs of matrices. A and B are the first of them: the slices of both
    /// views go on, and matrix `i` begins `i * strides[0]` elements (of B `i * strides[1]`) further on.
    /// A stride of 0 is an operand that all products share. Factors, bias, residual and activation are
    /// the same for all: a residual is one matrix that is added to every C, as an attention mask is.
    ///
    /// # Errors
    /// If a matrix would end outside its slice, or an operand was packed and is not shared.
    ///
    /// ```
    /// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef};
    /// // Two examples of 1 x 2, each times a 2 x 2 of its own.
    /// let (x, w) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    /// let (a, b) = (MatRef::new(&x, 1, 2)?, MatRef::new(&w, 2, 2)?);
    /// let mut y = [0.0; 4];
    /// let c = MatMut::new(&mut y, 1, 2)?;
    /// Gemm::new(a, b)?.batched(2, [2, 4])?.run(c, 2, Exec::default())?;
    /// assert_eq!(y, [1.0, 2.0, 4.0, 3.0]);
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    pub fn batched(self, count: usize, strides: [usize; 2]) -> Result<BatchedGemm<'a, T, E>> {
        check_factor("batched gemm operand A", &self.a, count, strides[0])?;
        check_factor("batched gemm operand B", &self.b, count, strides[1])?;
        Ok(BatchedGemm { one: self, count, strides })
    }
}

impl<T: Float, E: SumsTo<T>> BatchedGemm<'_, T, E> {
    /// Writes all C: the first is `c`, whose slice goes on, and each begins `stride` elements after the
    /// one before. They may lie between each other, as the heads of attention do, but not share
    /// elements.
    ///
    /// # Errors
    /// If C is not `m x n`, a matrix would end outside the slice or could share an element with another
    /// (sorted by stride, each of rows, columns and matrices must step over the extent of those before),
    /// scale, bias or residual do not fit C, or `TILEWISE_MAX_ISA` holds an unknown name. Nothing is written then.
    pub fn run(&self, mut c: MatMut<'_, T>, stride: usize, exec: Exec) -> Result<()> {
        let Self { one, count, .. } = self;
        one.check_output(&c)?;
        let layout = Layout::of(&c.as_ref());
        check_reach("batched gemm output C", layout, *count, stride)?;
        check_apart(layout, *count, stride)?;
        let isa = one.path(exec)?;
        let [m, n] = [c.rows(), c.cols()];
        if m == 0 || n == 0 {
            return Ok(());
        }
        let strides = [c.row_stride(), c.col_stride()];
        let first = Operand { start: c.data_mut().as_mut_ptr().cast_const(), strides };
        let narrow = one.narrow(first, Par::Serial);
        let products = Products { batch: self, isa, first, stride, narrow };
        let work =
            [n, one.a.shape()[1].max(1)].iter().fold(m, |work, &side| work.saturating_mul(side));
        let tasks = exec.threads().tasks(count.saturating_mul(work), GRAIN);
        if tasks > *count {
            // Too few to keep all threads busy with whole ones.
            (0..*count).for_each(|i| products.run(i..i + 1, exec.threads()));
        } else {
            let grain = GRAIN.div_ceil(work);
            exec.threads().for_each_run(*count, grain, &|run| products.run(run, Par::Serial));
        }
        Ok(())
    }
}

/// A batch with its outputs, which threads take products of.
struct Products<'a, 'b, T, E> {
    batch: &'a BatchedGemm<'b, T, E>,
    isa: Isa,
    /// The first C, and the elements from one to the next.
    first: Operand<T>,
    stride: usize,
    /// The first product, if it may go the short way.
    narrow: Option<Narrow<T>>,
}

// SAFETY: the addresses come from slices borrowed for as long as `run` lasts, A and B shared and C
// exclusively, and every product writes a C of its own, which shares no element with another.
unsafe impl<T: Float, E: Element> Sync for Products<'_, '_, T, E> {}

impl<T: Float, E: SumsTo<T>> Products<'_, '_, T, E> {
    /// Some products, which nobody else runs.
    #[inline]
    fn run(&self, some: Range<usize>, par: Par) {
        let BatchedGemm { one, strides: [a, b], .. } = self.batch;
        if let Some(first) = &self.narrow {
            let first = Narrow {
                a: first.a.wrapping_add(some.start * a),
                b: first.b.wrapping_add(some.start * b),
                c: first.c.wrapping_add(some.start * self.stride),
                ..*first
            };
            let steps = [*a, *b, self.stride];
            if E::multiply_narrows(self.isa, &Narrows { first, count: some.len(), steps }) {
                return;
            }
        }
        for i in some {
            let a = skip(one.a.operand(), i * a);
            let b = skip(one.b.operand(), i * b);
            let c = skip(self.first, i * self.stride);
            E::multiply(self.isa, &one.multiply_of((a, b, c), None, par));
        }
    }
}

/// Checks that `count` matrices, of which this is the first, can be reached.
fn check_factor<E: Element>(
    what: &str,
    factor: &Factor<'_, E>,
    count: usize,
    stride: usize,
) -> Result<()> {
    match factor {
        Factor::View(first) => check_reach(what, Layout::of(first), count, stride),
        Factor::Packed(_) if stride != 0 => {
            let expected = "a stride of 0, as there is one packed matrix";
            Err(Error::new(ErrorKind::Stride, what, expected, stride))
        }
        Factor::Packed(_) => Ok(()),
    }
}

/// The operand `distance` elements further on.
#[inline]
fn skip<T>(operand: Operand<T>, distance: usize) -> Operand<T> {
    Operand { start: operand.start.wrapping_add(distance), ..operand }
}

/// Where the elements of a matrix lie.
#[derive(Clone, Copy)]
struct Layout {
    len: usize,
    shape: [usize; 2],
    strides: [usize; 2],
}

impl Layout {
    fn of<T>(view: &MatRef<'_, T>) -> Self {
        Self {
            len: view.data().len(),
            shape: [view.rows(), view.cols()],
            strides: [view.row_stride(), view.col_stride()],
        }
    }
}

/// Checks that the last of `count` matrices ends inside the slice in which the first lies.
fn check_reach(what: &str, layout: Layout, count: usize, stride: usize) -> Result<()> {
    let Layout { len, shape, strides } = layout;
    if count == 0 || shape.contains(&0) {
        return Ok(());
    }
    // The view proves that the last place of the first matrix fits.
    let last = (shape[0] - 1) * strides[0] + (shape[1] - 1) * strides[1];
    let end = (count - 1).checked_mul(stride).and_then(|start| start.checked_add(last));
    if end.is_some_and(|end| end < len) {
        return Ok(());
    }
    let [rows, cols] = shape;
    let expected = match end {
        Some(end) => format!("at least {} elements", end as u128 + 1),
        None => "a size that fits the address space".to_owned(),
    };
    let kind = if end.is_some() { ErrorKind::Shape } else { ErrorKind::Overflow };
    let expected = format!("{expected} for {count} of {rows} x {cols} at a stride of {stride}");
    Err(Error::new(kind, what, expected, format!("{len} elements")))
}

/// Checks that no two elements of `count` matrices share a place, by their strides alone.
fn check_apart(layout: Layout, count: usize, stride: usize) -> Result<()> {
    let Layout { shape: [rows, cols], strides, .. } = layout;
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let mut sides = [(stride, count), (strides[0], rows), (strides[1], cols)];
    sides.sort_unstable();
    let mut extent = 0;
    for (step, size) in sides.into_iter().filter(|&(_, size)| size > 1) {
        if step <= extent {
            let got = format!(
                "{count} of {rows} x {cols} with strides {stride}, {} and {}",
                strides[0], strides[1]
            );
            let expected = "strides that keep its elements apart";
            return Err(Error::new(ErrorKind::Stride, "batched gemm output C", expected, got));
        }
        // All of it lies in the slice, as was checked before.
        extent += (size - 1) * step;
    }
    Ok(())
}
