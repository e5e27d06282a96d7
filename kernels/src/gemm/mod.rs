//! Matrix multiplication `C <- f(alpha * A * B + beta * C + bias)` for any strides.
//!
//! * [`blocking`]: how large the blocks are; pure arithmetic.
//! * [`plan`]: the operands, and what is packed and cut.
//! * [`pack`]: copies blocks of the operands into the order the tiles read.
//! * [`microkernel`]: the register tile.
//! * [`epilogue`]: what happens to a finished tile in the same store.
//! * [`gemv`]: a single row, which packs nothing.
//! * [`packed`]: operands packed once for many products.
//! * [`driver`]: the loops around the tile.
//! * [`batched`]: many products of one shape.
//! * [`element`]: the types of operands, and which machinery multiplies them.
//! * [`amx`]: tiles of bf16 and the loops around them.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod amx;
#[allow(unsafe_code)]
mod batched;
mod blocking;
#[allow(unsafe_code)]
mod driver;
mod element;
mod epilogue;
#[allow(unsafe_code)]
mod gemv;
#[allow(unsafe_code)]
mod microkernel;
#[allow(unsafe_code)]
mod pack;
mod packed;
mod plan;

use std::fmt;

pub use batched::BatchedGemm;
pub use blocking::Blocking;
pub use element::{Element, SumsTo};
use epilogue::{Bias, Store};
pub use packed::PackedB;
use plan::{Multiply, Operand, Problem, Source, Steps};

use crate::dispatch::Isa;
use crate::error::{Error, Result, check_len};
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

/// A matrix product with all its options; see [`gemm`] for the plain one. Operands of `E`, which is
/// `T` or a half of it, are summed in `T`, of which C is made.
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
    a: MatRef<'a, E>,
    b: Rhs<'a, E>,
    alpha: T,
    beta: T,
    bias: Option<&'a [T]>,
    activation: Activation,
    blocking: Option<Blocking>,
}

/// The right operand.
#[derive(Debug, Clone, Copy)]
enum Rhs<'a, E> {
    View(MatRef<'a, E>),
    Packed(&'a PackedB<E>),
}

impl<E: Element> Rhs<'_, E> {
    #[inline]
    fn shape(&self) -> [usize; 2] {
        match self {
            Self::View(b) => [b.rows(), b.cols()],
            Self::Packed(b) => [b.rows(), b.cols()],
        }
    }

    /// Its elements or panels, and the layout of the panels.
    #[inline]
    fn operand(&self) -> (Operand<E>, Option<[usize; 2]>) {
        match self {
            Self::View(b) => (operand(b), None),
            Self::Packed(b) => (b.operand(), Some(b.layout())),
        }
    }
}

impl<'a, T: Float, E: SumsTo<T>> Gemm<'a, T, E> {
    /// `A * B`, with `alpha` one, `beta` zero, no bias and no activation.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows.
    #[inline]
    pub fn new(a: MatRef<'a, E>, b: MatRef<'a, E>) -> Result<Self> {
        Self::with_rhs(a, Rhs::View(b))
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
        Self::with_rhs(a, Rhs::Packed(b))
    }

    #[inline]
    fn with_rhs(a: MatRef<'a, E>, b: Rhs<'a, E>) -> Result<Self> {
        let [rows, cols] = b.shape();
        if a.cols() != rows {
            return Err(Error::shape(
                "gemm operand B",
                format!("{} rows, as A has columns", a.cols()),
                format!("{rows} x {cols}"),
            ));
        }
        Ok(Self {
            a,
            b,
            alpha: T::ONE,
            beta: T::ZERO,
            bias: None,
            activation: Activation::Identity,
            blocking: None,
        })
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

    /// Adds element `j` of `bias` to column `j` of C, in the same store.
    #[must_use]
    #[inline]
    pub fn bias(self, bias: &'a [T]) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Applies `f` to every element of C, before the tile leaves the cache.
    #[must_use]
    #[inline]
    pub fn activation(self, f: Activation) -> Self {
        Self { activation: f, ..self }
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
        let steps = E::steps(isa, &self.multiply(c, exec));
        Ok(GemmPlan { isa, steps })
    }

    /// The path that will run: the one that B was packed for, if it was.
    #[inline]
    fn path(&self, exec: Exec) -> Result<Isa> {
        match self.b {
            Rhs::View(_) => exec.path_for_halves().map(E::path_on),
            Rhs::Packed(b) => Ok(b.isa()),
        }
    }

    /// Writes C.
    ///
    /// # Errors
    /// If C is not `m x n`, the bias has not `n` elements, or `TILEWISE_MAX_ISA` holds an unknown
    /// name. C is untouched then.
    #[inline]
    pub fn run(self, mut c: MatMut<'_, T>, exec: Exec) -> Result<()> {
        self.check_output(&c)?;
        let isa = self.path(exec)?;
        if c.rows() == 0 || c.cols() == 0 {
            return Ok(());
        }
        let strides = [c.row_stride(), c.col_stride()];
        let c = Operand { start: c.data_mut().as_mut_ptr().cast_const(), strides };
        E::multiply(isa, &self.multiply(c, exec));
        Ok(())
    }

    /// Checks the shapes of C and of the bias.
    #[inline]
    fn check_output(&self, c: &MatMut<'_, T>) -> Result<()> {
        let (m, n) = (self.a.rows(), self.b.shape()[1]);
        if (c.rows(), c.cols()) != (m, n) {
            return Err(Error::shape(
                "gemm output C",
                format!("{m} x {n}"),
                format!("{} x {}", c.rows(), c.cols()),
            ));
        }
        self.bias.map_or(Ok(()), |bias| check_len("gemm bias", n, bias.len()))
    }

    #[inline]
    fn multiply(&self, c: Operand<T>, exec: Exec) -> Multiply<'a, E> {
        let (b, prepacked) = self.b.operand();
        self.multiply_of((operand(&self.a), b, c), prepacked, exec.threads())
    }

    /// The same product of other matrices of the same shapes and strides.
    #[inline]
    fn multiply_of(
        &self,
        (a, b, c): (Operand<E>, Operand<E>, Operand<T>),
        prepacked: Option<[usize; 2]>,
        par: Par,
    ) -> Multiply<'a, E> {
        let bias = self.bias.map_or(Bias::None, Bias::PerColumn);
        let store = Store { alpha: self.alpha, beta: self.beta, bias, activation: self.activation };
        let shape = [self.a.rows(), self.b.shape()[1], self.a.cols()];
        let mut problem = Problem { a, b, c, shape, store };
        if prepacked.is_none() {
            problem = problem.along_columns();
        }
        Multiply { problem, forced: self.blocking, prepacked, par }
    }
}

#[inline]
fn operand<T>(view: &MatRef<'_, T>) -> Operand<T> {
    Operand { start: view.data().as_ptr(), strides: [view.row_stride(), view.col_stride()] }
}

/// How a product will be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GemmPlan {
    isa: Isa,
    steps: Steps,
}

impl GemmPlan {
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows and columns of the register tile.
    pub fn tile(&self) -> [usize; 2] {
        self.steps.tile
    }

    /// The block sizes.
    pub fn blocking(&self) -> Blocking {
        self.steps.packing.blocking
    }

    /// Whether A and B are copied into panels first.
    pub fn packs(&self) -> [bool; 2] {
        [self.steps.packing.a, self.steps.packing.b].map(|source| source == Source::Pack)
    }

    /// Number of rectangles of C computed at once.
    pub fn tasks(&self) -> usize {
        self.steps.tasks
    }
}

impl fmt::Display for GemmPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Steps { tile: [rows, cols], packing, tasks } = self.steps;
        let Blocking { kc, mc, nc } = packing.blocking;
        let [a, b] = [packing.a, packing.b].map(|source| match source {
            Source::InPlace => "in place",
            Source::Pack => "packed",
            Source::Prepacked(_) => "prepacked",
        });
        write!(
            f,
            "{} tile {rows}x{cols}, kc {kc} mc {mc} nc {}, A {a}, B {b}, {} task(s)",
            self.isa,
            if nc == usize::MAX { "all".to_string() } else { nc.to_string() },
            tasks
        )
    }
}
