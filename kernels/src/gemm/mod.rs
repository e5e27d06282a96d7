//! Matrix multiplication `C <- f(alpha * A * B + beta * C + bias)` for any strides.
//!
//! * [`blocking`]: how large the blocks are; pure arithmetic.
//! * [`plan`]: the operands, and what is packed and cut.
//! * [`pack`]: copies blocks of the operands into the order the tiles read.
//! * [`microkernel`]: the register tile.
//! * [`epilogue`]: what happens to a finished tile in the same store.
//! * [`gemv`]: a single row, which packs nothing.
//! * [`driver`]: the loops around the tile.

mod blocking;
#[allow(unsafe_code)]
mod driver;
mod epilogue;
#[allow(unsafe_code)]
mod gemv;
#[allow(unsafe_code)]
mod microkernel;
#[allow(unsafe_code)]
mod pack;
mod plan;

use std::fmt;

pub use blocking::Blocking;
use epilogue::{Bias, Store};
use microkernel::TileTable;
use plan::{Multiply, Operand, Packing, Problem};

use crate::dispatch::Isa;
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::ops::Activation;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// `C <- alpha * A * B + beta * C` for A `m x k`, B `k x n`, C `m x n` of any strides.
///
/// C is not read where `beta` is zero, so it may hold anything, NaN too. With `k = 0` the product
/// is zero. The error of each element is at most `k * eps * sum |a_i| |b_i|` times `|alpha|`, plus
/// one rounding each for alpha, beta and the sum.
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
pub fn gemm<T: Float>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
) -> Result<()> {
    Gemm::new(a, b)?.alpha(alpha).beta(beta).run(c, Exec::default())
}

/// A matrix product with all its options; see [`gemm`] for the plain one.
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a, T> {
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    alpha: T,
    beta: T,
    bias: Option<&'a [T]>,
    activation: Activation,
    blocking: Option<Blocking>,
}

impl<'a, T: Float> Gemm<'a, T> {
    /// `A * B`, with `alpha` one, `beta` zero, no bias and no activation.
    ///
    /// # Errors
    /// If A has not as many columns as B has rows.
    #[inline]
    pub fn new(a: MatRef<'a, T>, b: MatRef<'a, T>) -> Result<Self> {
        if a.cols() != b.rows() {
            return Err(Error::shape(
                "gemm operand B",
                format!("{} rows, as A has columns", a.cols()),
                format!("{} x {}", b.rows(), b.cols()),
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
        let isa = exec.path()?;
        let (a, b) = (operand(&self.a), operand(&self.b));
        // Nothing is read or written through this: only its shape counts.
        let c = Operand { start: std::ptr::null(), strides: [self.b.cols(), 1] };
        let problem = self.problem(a, b, c).along_columns();
        let tile = isa.run::<T, _>(TileSize);
        let packing = problem.packing(tile, self.blocking);
        let tasks = exec.threads().tasks(problem.tiles(tile), problem.grain(tile));
        Ok(GemmPlan { isa, tile, packing, tasks })
    }

    /// Writes C.
    ///
    /// # Errors
    /// If C is not `m x n`, the bias has not `n` elements, or `TILEWISE_MAX_ISA` holds an unknown
    /// name. C is untouched then.
    #[inline]
    pub fn run(self, mut c: MatMut<'_, T>, exec: Exec) -> Result<()> {
        let (m, n) = (self.a.rows(), self.b.cols());
        if (c.rows(), c.cols()) != (m, n) {
            return Err(Error::shape(
                "gemm output C",
                format!("{m} x {n}"),
                format!("{} x {}", c.rows(), c.cols()),
            ));
        }
        if let Some(bias) = self.bias {
            check_len("gemm bias", n, bias.len())?;
        }
        let isa = exec.path()?;
        if m == 0 || n == 0 {
            return Ok(());
        }
        let strides = [c.row_stride(), c.col_stride()];
        let c = Operand { start: c.data_mut().as_mut_ptr().cast_const(), strides };
        let problem = self.problem(operand(&self.a), operand(&self.b), c).along_columns();
        isa.run(Multiply { problem, forced: self.blocking, par: exec.threads() });
        Ok(())
    }

    #[inline]
    fn problem(&self, a: Operand<T>, b: Operand<T>, c: Operand<T>) -> Problem<'a, T> {
        let bias = self.bias.map_or(Bias::None, Bias::PerColumn);
        let store = Store { alpha: self.alpha, beta: self.beta, bias, activation: self.activation };
        Problem { a, b, c, shape: [self.a.rows(), self.b.cols(), self.a.cols()], store }
    }
}

fn operand<T>(view: &MatRef<'_, T>) -> Operand<T> {
    Operand { start: view.data().as_ptr(), strides: [view.row_stride(), view.col_stride()] }
}

/// How a product will be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GemmPlan {
    isa: Isa,
    tile: [usize; 2],
    packing: Packing,
    tasks: usize,
}

impl GemmPlan {
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows and columns of the register tile.
    pub fn tile(&self) -> [usize; 2] {
        self.tile
    }

    /// The block sizes.
    pub fn blocking(&self) -> Blocking {
        self.packing.blocking
    }

    /// Whether A and B are copied into panels first.
    pub fn packs(&self) -> [bool; 2] {
        [self.packing.pack_a, self.packing.pack_b]
    }

    /// Number of rectangles of C computed at once.
    pub fn tasks(&self) -> usize {
        self.tasks
    }
}

impl fmt::Display for GemmPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, cols] = self.tile;
        let Blocking { kc, mc, nc } = self.packing.blocking;
        let [a, b] = self.packs().map(|packed| if packed { "packed" } else { "in place" });
        write!(
            f,
            "{} tile {rows}x{cols}, kc {kc} mc {mc} nc {nc}, A {a}, B {b}, {} task(s)",
            self.isa, self.tasks
        )
    }
}

/// Rows and columns of the largest tile of an instruction set.
struct TileSize;

impl<T: Float> Kernel<T> for TileSize {
    type Output = [usize; 2];

    #[inline(always)]
    fn run<S: Simd<T>>(self, _simd: S) -> [usize; 2] {
        [TileTable::<S, T>::ROWS, TileTable::<S, T>::COLS]
    }
}
