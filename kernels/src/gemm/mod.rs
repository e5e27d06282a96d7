//! Matrix multiplication `C <- f(alpha * A * B + beta * C + bias)` for any strides.
//!
//! * [`blocking`]: how large the blocks are; pure arithmetic.
//! * [`pack`]: copies blocks of the operands into the order the tiles read.
//! * [`microkernel`]: the register tile.
//! * [`epilogue`]: what happens to a finished tile in the same store.
//! * [`driver`]: the loops around the tile.

mod blocking;
#[allow(unsafe_code)]
mod driver;
mod epilogue;
#[allow(unsafe_code)]
mod microkernel;
#[allow(unsafe_code)]
mod pack;

use std::fmt;

pub use blocking::Blocking;
use driver::{Operand, Packing, Region};
use epilogue::{Bias, Store};
use microkernel::TileTable;

use crate::dispatch::{Isa, caches};
use crate::error::{Error, Result, check_len};
use crate::exec::Exec;
use crate::ops::Activation;
use crate::simd::{Float, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// Multiply-adds that one thread should have: about 20 microseconds of work, several times what it
/// takes to wake another thread.
const GRAIN: usize = 1 << 21;

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
    pub fn alpha(self, alpha: T) -> Self {
        Self { alpha, ..self }
    }

    /// Scales the old C, which is added; zero: C is not read.
    #[must_use]
    pub fn beta(self, beta: T) -> Self {
        Self { beta, ..self }
    }

    /// Adds element `j` of `bias` to column `j` of C, in the same store.
    #[must_use]
    pub fn bias(self, bias: &'a [T]) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Applies `f` to every element of C, before the tile leaves the cache.
    #[must_use]
    pub fn activation(self, f: Activation) -> Self {
        Self { activation: f, ..self }
    }

    /// Forces block sizes, for tests and tuning; they are computed where this is not called.
    #[must_use]
    pub fn blocking(self, blocking: Blocking) -> Self {
        Self { blocking: Some(blocking), ..self }
    }

    /// What [`run`](Self::run) would do for a C with contiguous rows: path, tile, blocks, packing.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn plan(&self, exec: Exec) -> Result<GemmPlan> {
        let isa = exec.path()?;
        let shape = [self.a.rows(), self.b.cols(), self.a.cols()];
        let tile = isa.run::<T, _>(TileSize);
        let strides = [
            [self.a.row_stride(), self.a.col_stride()],
            [self.b.row_stride(), self.b.col_stride()],
        ];
        let packing = packing::<T>(shape, strides, tile, self.blocking);
        let tasks = exec.threads().tasks(tiles(shape, tile), grain(tile, shape[2]));
        Ok(GemmPlan { isa, tile, packing, tasks })
    }

    /// Writes C.
    ///
    /// # Errors
    /// If C is not `m x n`, the bias has not `n` elements, or `TILEWISE_MAX_ISA` holds an unknown
    /// name. C is untouched then.
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
        let tile = isa.run::<T, _>(TileSize);
        let region = self.region(&mut c, tile);
        let grain = grain(tile, region.shape[2]);
        exec.threads().divide(region, grain, &|piece| isa.run(piece));
        Ok(())
    }

    /// The whole of C as a region. Tiles run along contiguous columns of C; where its rows are the
    /// contiguous direction, the transposed product is computed.
    fn region<'c>(&'c self, c: &'c mut MatMut<'_, T>, tile: [usize; 2]) -> Region<'c, T> {
        let operand = |view: &MatRef<'_, T>| Operand {
            start: view.data().as_ptr(),
            strides: [view.row_stride(), view.col_stride()],
        };
        let (mut a, mut b) = (operand(&self.a), operand(&self.b));
        let (mut m, mut n, k) = (self.a.rows(), self.b.cols(), self.a.cols());
        let strides = [c.row_stride(), c.col_stride()];
        let mut c = Operand { start: c.data_mut().as_mut_ptr().cast_const(), strides };
        let mut bias = self.bias.map_or(Bias::None, Bias::PerColumn);
        // A single column is a row when turned, unless the rows are single too.
        let columns_apart = strides[1] != 1 && n > 1;
        if (columns_apart && strides[0] == 1) || (n == 1 && m > 1 && strides[0] == 1) {
            (a, b, c) = (b.t(), a.t(), c.t());
            (m, n) = (n, m);
            bias = self.bias.map_or(Bias::None, Bias::PerRow);
        }
        if n == 1 {
            c.strides[1] = 1;
        }
        let packing = packing::<T>([m, n, k], [a.strides, b.strides], tile, self.blocking);
        let store = Store { alpha: self.alpha, beta: self.beta, bias, activation: self.activation };
        Region { a, b, c, shape: [m, n, k], origin: [0, 0], tile, packing, store }
    }
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

fn tiles(shape: [usize; 3], tile: [usize; 2]) -> usize {
    shape[0].div_ceil(tile[0]) * shape[1].div_ceil(tile[1])
}

/// Tiles that make up [`GRAIN`].
fn grain(tile: [usize; 2], k: usize) -> usize {
    GRAIN.div_ceil((tile[0] * tile[1]).saturating_mul(k.max(1)))
}

/// Bytes of an unpacked B that stay in the first-level cache beside the rows of A.
const SMALL_B_BYTES: usize = 24 << 10;

/// Chooses what is packed. Packing costs about as much per element as 30 multiply-adds, which the
/// rows of A (for B) or the columns of B (for A) must earn back.
fn packing<T: Float>(
    [m, n, k]: [usize; 3],
    [a, b]: [[usize; 2]; 2],
    tile: [usize; 2],
    forced: Option<Blocking>,
) -> Packing {
    let size = size_of::<T>();
    let blocking = forced.unwrap_or_else(|| Blocking::new(size, tile[1], caches())).fitted(k);
    // The vectors of an unpacked B are loaded along its rows.
    let b_contiguous = b[1] == 1 || n == 1;
    let b_fits = n.saturating_mul(k).saturating_mul(size) <= SMALL_B_BYTES;
    let pack_b = forced.is_some() || !b_contiguous || (m > 4 * tile[0] && !b_fits);
    // A row-major A is read in order along k, a few rows at a time.
    let a_in_order = a[1] == 1 || stays_in_first_level(k, a[1].saturating_mul(size));
    let pack_a = forced.is_some() || (n > tile[1] && m > 1 && !a_in_order);
    Packing { blocking, pack_a, pack_b }
}

/// Whether `lines` cache lines that lie `stride` bytes apart stay in a first-level cache of 64 sets
/// and 8 ways: strides with a large power of two use few of the sets.
fn stays_in_first_level(lines: usize, stride: usize) -> bool {
    let power_of_two = 1 << stride.trailing_zeros().min(12);
    let sets = 4096 / power_of_two.max(64);
    lines <= 8 * sets
}
