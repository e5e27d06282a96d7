//! Matrix multiplication `C <- f(scale * (alpha * A * B + beta * C) + bias + residual)` for any
//! strides.
//!
//! * [`blocking`]: how large the blocks are; pure arithmetic.
//! * [`plan`]: the operands, and what is packed and cut.
//! * [`cost`]: what one way of computing a product costs, and another.
//! * [`pack`]: copies blocks of the operands into the order the tiles read; [`on_the_way`]: tiles do.
//! * [`microkernel`]: the register tile, and [`tile_table`]: in which sizes it exists.
//! * [`epilogue`]: what happens to a finished tile in the same store.
//! * [`moments`]: statistics of the columns of C, taken while it is stored.
//! * [`scatter`]: tiles of a C whose columns are not neighbours.
//! * [`narrow`]: the short way of small products.
//! * [`gemv`]: a single row, which packs nothing.
//! * [`dots`]: a few rows and contiguous columns of B: dot products, which pack nothing either.
//! * [`few`]: a few rows of halves, which pack nothing either, and when tiles are left for vectors.
//! * [`packed`]: operands packed once for many products.
//! * [`driver`]: the loops around blocks, and [`walk`]: those around tiles.
//! * [`region`]: rectangles of C, and how they are cut.
//! * [`batched`]: many products of one shape.
//! * [`precision`]: how exactly `f32` is multiplied; [`rounded`]: to bf16, on vectors.
//! * [`to_halves`]: a C of halves.
//! * [`element`]: the types of operands, and which machinery multiplies them.
//! * [`report`]: what a user is told of a plan.
//! * [`amx`]: tiles of bf16 and the loops around them.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod amx;
#[allow(unsafe_code)]
mod batched;
mod blocking;
mod cost;
#[allow(unsafe_code)]
mod dots;
#[allow(unsafe_code)]
mod driver;
#[allow(unsafe_code)]
mod element;
mod epilogue;
#[allow(unsafe_code)]
mod few;
#[allow(unsafe_code)]
mod gemv;
#[allow(unsafe_code)]
mod microkernel;
#[allow(unsafe_code)]
mod moments;
#[allow(unsafe_code)]
mod narrow;
#[allow(unsafe_code)]
mod on_the_way;
#[allow(unsafe_code)]
mod pack;
mod packed;
mod plan;
mod precision;
#[allow(unsafe_code)]
mod region;
mod report;
mod rounded;
#[allow(unsafe_code)]
mod scatter;
mod tile_table;
mod to_halves;
mod walk;

pub use batched::BatchedGemm;
pub use blocking::Blocking;
pub use element::{Element, SumsTo};
use epilogue::{After, Store};
pub use moments::ColumnMoments;
use moments::Partials;
use narrow::Narrow;
use packed::Factor;
pub use packed::{PackedA, PackedB};
use plan::{Multiply, Operand, Problem};
pub use precision::Precision;
pub use report::GemmPlan;
use report::{check_shape, wrong_operand};

use crate::dispatch::Isa;
use crate::error::{Error, ErrorKind, Result, check_len};
use crate::exec::Exec;
use crate::ops::Activation;
use crate::parallel::Par;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// `C <- alpha * A * B + beta * C` for A `m x k`, B `k x n`, C `m x n` of any strides.
///
/// A and B are `f32`, `f64`, [`bf16`](crate::bf16) or [`f16`](crate::f16). Halves are summed in
/// `f32` over the whole of k, and their C, factors and bias are `f32`.
///
/// C is not read where `beta` is zero, so it may hold anything, NaN too. With `k = 0` the product
/// is zero. The error of each element is at most `k * eps * sum |a_i| |b_i|` times `|alpha|`, plus
/// one rounding each for alpha, beta and the sum. On the path `amx`, bf16 below 2^-126 counts as
/// zero.
///
/// # Errors
/// If the shapes do not fit, or `TILEWISE_MAX_ISA` holds an unknown name.
///
/// ```
/// use tilewise_kernels::{MatMut, MatRef, gemm};
/// let a = MatRef::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?;
/// let mut c = [0.0; 4];
/// gemm(1.0, a, a.t(), 0.0, MatMut::new(&mut c, 2, 2)?)?;
/// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
pub fn gemm<T: Float, E: SumsTo<T>>(
    alpha: T,
    a: MatRef<'_, E>,
    b: MatRef<'_, E>,
    beta: T,
    c: MatMut<'_, T>,
) -> Result<()> {
    Gemm::new(a, b)?.alpha(alpha).beta(beta).run(c, Exec::default())
}

/// A matrix product with all its options; see [`gemm`] for the plain one:
/// `C <- f(scale * (alpha * A * B + beta * C) + bias + residual)`. Operands of `E`, which is `T` or a
/// half of it, are summed in `T`, of which C is made. Scale and residual add one rounding each to those
/// of the plain product.
///
/// C has the same bits on any number of threads and at any alignment, and an element the same ones
/// wherever it lies in C: the chain of operations behind it depends on k, on the path and on the
/// method, which shapes and strides decide. Where the method is fixed too, by
/// [`batch_invariant`](Self::batch_invariant), row `i` of C has the same bits in a batch of any number
/// of rows, alone too, and with operands packed beforehand. Forced [`blocking`](Self::blocking) may bring
/// another `kc`, and other bits.
///
/// ```
/// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, bf16};
/// let a = [1.0, 2.0, 3.0, 4.0].map(bf16::from_f32);
/// let a = MatRef::new(&a, 2, 2)?;
/// let mut c = [0.0_f32; 4];
/// Gemm::new(a, a.t())?.bias(&[0.5, 0.0]).run(MatMut::new(&mut c, 2, 2)?, Exec::default())?;
/// assert_eq!(c, [5.5, 11.0, 11.5, 25.0]);
/// # Ok::<(), tilewise_kernels::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a, T, E = T> {
    a: Factor<'a, E>,
    b: Factor<'a, E>,
    alpha: T,
    beta: T,
    after: After<'a, T>,
    blocking: Option<Blocking>,
    precision: Precision,
    invariant: bool,
}

impl<'a, T: Float, E: SumsTo<T>> Gemm<'a, T, E> {
    /// `A * B`, with `alpha` one, `beta` zero, and nothing after it.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows.
    #[inline(always)]
    pub fn new(a: MatRef<'a, E>, b: MatRef<'a, E>) -> Result<Self> {
        Self::of(Factor::View(a), Factor::View(b))
    }

    /// `A * B` for a B that was packed before. Runs on the path that it was packed for, and takes no
    /// other block sizes.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows.
    ///
    /// ```
    /// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, PackedB};
    /// let weights = PackedB::new(MatRef::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?)?;
    /// let mut c = [0.0; 2];
    /// Gemm::with_packed(MatRef::row_vector(&[1.0, 1.0]), &weights)?
    ///     .run(MatMut::new(&mut c, 1, 2)?, Exec::default())?;
    /// assert_eq!(c, [4.0, 6.0]);
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    #[inline]
    pub fn with_packed(a: MatRef<'a, E>, b: &'a PackedB<E>) -> Result<Self> {
        Self::of(Factor::View(a), Factor::packed_b(b))
    }

    /// `A * B` for an A that was packed before, as [`with_packed`](Self::with_packed) for B.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows.
    ///
    /// ```
    /// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, PackedA};
    /// let weights = PackedA::new(MatRef::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?)?;
    /// let mut c = [0.0; 2];
    /// Gemm::with_packed_lhs(&weights, MatRef::row_vector(&[1.0, 1.0]).t())?
    ///     .run(MatMut::new(&mut c, 2, 1)?, Exec::default())?;
    /// assert_eq!(c, [3.0, 7.0]);
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    #[inline]
    pub fn with_packed_lhs(a: &'a PackedA<E>, b: MatRef<'a, E>) -> Result<Self> {
        Self::of(Factor::packed_a(a), Factor::View(b))
    }

    /// `A * B` where both were packed before.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows, or their paths or precisions differ.
    #[inline]
    pub fn with_both_packed(a: &'a PackedA<E>, b: &'a PackedB<E>) -> Result<Self> {
        if (a.isa(), a.precision()) != (b.isa(), b.precision()) {
            let panels = |of, isa| format!("panels for {of} on {isa}");
            let expected = panels(a.precision(), a.isa()) + ", as A has";
            let got = panels(b.precision(), b.isa());
            return Err(Error::new(ErrorKind::Isa, "gemm operand B", expected, got));
        }
        Self::of(Factor::packed_a(a), Factor::packed_b(b))
    }

    #[inline(always)]
    fn of(a: Factor<'a, E>, b: Factor<'a, E>) -> Result<Self> {
        let ([_, k], [rows, cols]) = (a.shape(), b.shape());
        if k != rows {
            return Err(wrong_operand(k, [rows, cols]));
        }
        let precision = a.precision().or(b.precision()).unwrap_or_default();
        let (alpha, beta, after) = (T::ONE, T::ZERO, After::NOTHING);
        Ok(Self { a, b, alpha, beta, after, blocking: None, precision, invariant: false })
    }

    /// Scales the product.
    #[must_use]
    #[inline]
    pub fn alpha(self, alpha: T) -> Self {
        Self { alpha, ..self }
    }

    /// Scales the old C, which is added; zero: C is not read.
    #[must_use]
    #[inline]
    pub fn beta(self, beta: T) -> Self {
        Self { beta, ..self }
    }

    /// Multiplies column `j` of `alpha * A * B + beta * C` by element `j` of `scale`, in the same store:
    /// before bias and residual, which are added as they are.
    #[must_use]
    #[inline]
    pub fn scale(mut self, scale: &'a [T]) -> Self {
        self.after.scale = Some(scale);
        self
    }

    /// Adds element `j` of `bias` to column `j` of C, in the same store.
    #[must_use]
    #[inline]
    pub fn bias(mut self, bias: &'a [T]) -> Self {
        self.after.bias = Some(bias);
        self
    }

    /// Adds a matrix of C's shape and of any strides, in the same store: the other branch of a residual
    /// block. What C itself holds is added by [`beta`](Self::beta).
    #[must_use]
    #[inline]
    pub fn residual(mut self, residual: MatRef<'a, T>) -> Self {
        self.after.residual = Some(residual);
        self
    }

    /// Applies `f` to every element of C, last of all and before the tile leaves the cache.
    #[must_use]
    #[inline]
    pub fn activation(mut self, f: Activation) -> Self {
        self.after.activation = f;
        self
    }

    /// Whether row `i` of C has the same bits for any number of rows, and with operands packed
    /// beforehand or not. It costs time where a few rows meet a B whose columns are contiguous: dot
    /// products are faster there, and take their sums in another order.
    #[must_use]
    #[inline]
    pub fn batch_invariant(self, wanted: bool) -> Self {
        Self { invariant: wanted, ..self }
    }

    /// Forces block sizes, for tests and tuning; they are computed where this is not called.
    #[must_use]
    #[inline]
    pub fn blocking(self, blocking: Blocking) -> Self {
        Self { blocking: Some(blocking), ..self }
    }

    /// What [`run`](Self::run) would do for a C with contiguous rows: path, tile, blocks, packing.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn plan(&self, exec: Exec) -> Result<GemmPlan> {
        let isa = self.path(exec)?;
        // Nothing is read or written through this: only its shape counts.
        let c = Operand { start: std::ptr::null(), strides: [self.b.shape()[1], 1] };
        let steps = E::steps(isa, &self.multiply_of(self.operands(c), None, exec.threads()));
        Ok(GemmPlan { isa, steps })
    }

    /// Writes C.
    ///
    /// # Errors
    /// If C is not `m x n`, scale, bias or residual do not fit it, or `TILEWISE_MAX_ISA` holds an
    /// unknown name. C is untouched then.
    #[inline(always)]
    pub fn run(self, c: MatMut<'_, T>, exec: Exec) -> Result<()> {
        self.check_output(&c)?;
        let isa = self.path(exec)?;
        self.write(c, isa, None, exec);
        Ok(())
    }

    /// Writes a C that was checked.
    #[inline(always)]
    fn write(&self, mut c: MatMut<'_, T>, isa: Isa, partials: Option<&Partials>, exec: Exec) {
        if c.rows() == 0 || c.cols() == 0 {
            return;
        }
        let strides = [c.row_stride(), c.col_stride()];
        let c = Operand { start: c.data_mut().as_mut_ptr().cast_const(), strides };
        if partials.is_none()
            && let Some(narrow) = self.narrow(c, exec.threads())
            && E::multiply_narrow(isa, &narrow)
        {
            return;
        }
        self.write_planned(c, isa, partials, exec);
    }

    /// Apart, so that a product that went the short way is not moved through memory for this.
    #[inline(never)]
    fn write_planned(&self, c: Operand<T>, isa: Isa, partials: Option<&Partials>, exec: Exec) {
        E::multiply(isa, &self.multiply_of(self.operands(c), partials, exec.threads()));
    }

    /// The product as one that the short way may take, if nothing but its size speaks against that.
    #[inline]
    fn narrow(&self, c: Operand<T>, par: Par) -> Option<Narrow<T>> {
        let (Factor::View(a), Factor::View(b)) = (&self.a, &self.b) else { return None };
        let shape = [a.rows(), b.cols(), a.cols()];
        let rows = a.col_stride() == 1 && b.col_stride() == 1 && c.strides[1] == 1;
        // With other strides there is more than one way to choose from.
        let one_way = a.row_stride() != 1 && b.row_stride() != 1 && shape[0] > 1 && shape[1] > 1;
        let plain =
            self.after.is_nothing() && self.blocking.is_none() && self.precision == Precision::F32;
        if !(E::IN_PLACE && rows && one_way && plain) || matches!(par, Par::Threads(2..)) {
            return None;
        }
        Some(Narrow {
            a: a.data().as_ptr().cast(),
            b: b.data().as_ptr().cast(),
            c: c.start.cast_mut(),
            a_stride: a.row_stride(),
            b_stride: b.row_stride(),
            c_stride: c.strides[0],
            shape,
            scale: [self.alpha, self.beta],
        })
    }

    /// Checks the shapes of C and of what is added to it.
    #[inline]
    fn check_output<C>(&self, c: &MatMut<'_, C>) -> Result<()> {
        let [m, n] = [self.a.shape()[0], self.b.shape()[1]];
        check_shape("gemm output C", [m, n], [c.rows(), c.cols()])?;
        let After { scale, bias, residual, .. } = &self.after;
        scale.map_or(Ok(()), |scale| check_len("gemm scale", n, scale.len()))?;
        bias.map_or(Ok(()), |bias| check_len("gemm bias", n, bias.len()))?;
        residual.map_or(Ok(()), |r| check_shape("gemm residual", [m, n], [r.rows(), r.cols()]))
    }

    #[inline]
    fn operands(&self, c: Operand<T>) -> (Operand<E>, Operand<E>, Operand<T>) {
        (self.a.operand(), self.b.operand(), c)
    }

    /// The same product of other matrices of the same shapes and strides.
    #[inline]
    fn multiply_of<'s>(
        &'s self,
        (a, b, c): (Operand<E>, Operand<E>, Operand<T>),
        partials: Option<&'s Partials>,
        par: Par,
    ) -> Multiply<'s, E> {
        let Self { alpha, beta, ref after, blocking: forced, precision, invariant, .. } = *self;
        let store = Store { alpha, beta, after, partials, turned: false };
        let ([m, k], [_, n]) = (self.a.shape(), self.b.shape());
        let mut problem = Problem { a, b, c, shape: [m, n, k], store };
        let prepacked = [self.a.layout(), self.b.layout()];
        if prepacked == [None; 2] {
            problem = problem.along_columns();
        }
        Multiply { problem, forced, prepacked, precision, invariant, par }
    }
}
