//! Products whose C is stored in halves: computed in `f32` a block of C at a time, with all that follows
//! the sums, and rounded once, when the block is stored.

use super::blocking::even_pieces;
use super::packed::{Factor, PackedB};
use super::{Gemm, SumsTo};
use crate::dispatch::Isa;
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Half, Kernel, Simd};
use crate::view::{MatMut, MatRef};

/// Rows and columns of a block: 1 MiB of sums, which stays in a second-level cache, and rows that pay for
/// reading a packed B again.
const BLOCK: [usize; 2] = [128, 2048];

impl<'a, E: SumsTo<f32>> Gemm<'a, f32, E> {
    /// Writes a C of [`bf16`](crate::bf16) or [`f16`](struct@crate::f16): what [`run`](Self::run) would write
    /// in `f32`, rounded once to the nearest, ties to even; beta times an old C widens it first. The error is
    /// that of `run` and half a unit in the last place of the result.
    ///
    /// A C of more than 128 rows or 2048 columns is computed a block of that size at a time, and then has the
    /// bits of the [`batch_invariant`](Self::batch_invariant) product, rounded; an operand that was packed
    /// beforehand is not cut into blocks. Memory beside C is one block of `f32`, and B packed, if it
    /// is not and serves several blocks.
    ///
    /// # Errors
    /// As of [`run`](Self::run), and where a packed B does not fit the address space.
    ///
    /// ```
    /// use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, bf16};
    /// let a = [1.0, 2.0, 3.0, 4.0].map(bf16::from_f32);
    /// let a = MatRef::new(&a, 2, 2)?;
    /// let mut c = [bf16::NAN; 4];
    /// Gemm::new(a, a.t())?.bias(&[0.5, 0.0]).run_to_halves(MatMut::new(&mut c, 2, 2)?, Exec::default())?;
    /// assert_eq!(c.map(f32::from), [5.5, 11.0, 11.5, 25.0]);
    /// # Ok::<(), tilewise_kernels::Error>(())
    /// ```
    pub fn run_to_halves<H: Half>(self, mut c: MatMut<'_, H>, exec: Exec) -> Result<()> {
        self.check_output(&c)?;
        let shape = [c.rows(), c.cols()];
        let isa = exec.path()?;
        if shape.contains(&0) {
            return Ok(());
        }
        let size = |side: usize, factor: Factor<'_, E>| match factor {
            Factor::View(_) => BLOCK[side].min(shape[side]),
            Factor::Packed(_) => shape[side],
        };
        let block = [size(0, self.a), size(1, self.b)];
        let one = if block == shape { self } else { self.batch_invariant(true) };
        let mut sums = vec![0.0; block[0] * block[1]];
        for (col, cols) in even_pieces(shape[1], block[1]) {
            let columns = Columns { c: c.reborrow(), first: col, count: cols, isa, exec };
            one.columns([col, cols]).run_columns(columns, block[0], &mut sums)?;
        }
        Ok(())
    }

    /// The same for columns of one block, in blocks of `most` rows.
    fn run_columns<H: Half>(
        self,
        mut columns: Columns<'_, H>,
        most: usize,
        sums: &mut [f32],
    ) -> Result<()> {
        let (rows, cols, exec) = (columns.c.rows(), columns.count, columns.exec);
        let panels = match self.b {
            Factor::View(b) if rows > most => {
                Some(PackedB::for_precision(b, self.precision, self.path(exec)?)?)
            }
            _ => None,
        };
        let one = panels.as_ref().map_or(self, |b| Gemm { b: Factor::packed_b(b), ..self });
        for (row, rows) in even_pieces(rows, most) {
            let sums = &mut sums[..rows * cols];
            if self.beta != 0.0 {
                columns.widen(row, sums);
            }
            one.rows([row, rows]).run(MatMut::new(sums, rows, cols)?, exec)?;
            columns.round(row, sums);
        }
        Ok(())
    }

    /// So many rows of the product from one on.
    fn rows(self, [first, count]: [usize; 2]) -> Self {
        let mut part = self;
        if let Factor::View(a) = self.a {
            part.a = Factor::View(some_rows(a, [first, count]));
        }
        part.after.residual = self.after.residual.map(|all| some_rows(all, [first, count]));
        part
    }

    /// So many columns of the product from one on.
    fn columns(self, [first, count]: [usize; 2]) -> Self {
        let mut part = self;
        if let Factor::View(b) = self.b {
            part.b = Factor::View(some_rows(b.t(), [first, count]).t());
        }
        let some = |all: &'a [f32]| &all[first..first + count];
        part.after.scale = self.after.scale.map(some);
        part.after.bias = self.after.bias.map(some);
        let columns = |all: MatRef<'a, f32>| some_rows(all.t(), [first, count]).t();
        part.after.residual = self.after.residual.map(columns);
        part
    }
}

fn some_rows<T>(all: MatRef<'_, T>, [first, count]: [usize; 2]) -> MatRef<'_, T> {
    all.split_rows(first).1.split_rows(count).0
}

/// Some columns of C.
struct Columns<'a, H> {
    /// All of C.
    c: MatMut<'a, H>,
    first: usize,
    count: usize,
    isa: Isa,
    exec: Exec,
}

impl<H: Half> Columns<'_, H> {
    /// What rows from one on hold.
    fn widen(&self, row: usize, to: &mut [f32]) {
        for (i, to) in to.chunks_exact_mut(self.count).enumerate() {
            to.iter_mut().enumerate().for_each(|(j, to)| {
                *to = self.c.at(row + i, self.first + j).widen();
            });
        }
    }

    /// Writes finished sums to rows from one on.
    fn round(&mut self, row: usize, sums: &[f32]) {
        let Self { ref mut c, first, count, isa, exec } = *self;
        if !c.has_contiguous_rows() {
            for (i, sums) in sums.chunks_exact(count).enumerate() {
                let narrow = |(j, &sum): (usize, &f32)| c.set(row + i, first + j, H::narrow(sum));
                sums.iter().enumerate().for_each(narrow);
            }
            return;
        }
        let rows = c.reborrow().split_rows(row).1.split_rows(sums.len() / count).0;
        let work = Rounding { sums, c: rows, first, count };
        exec.threads().divide(work, GRAIN.div_ceil(count), &|piece: Rounding<'_, H>| {
            isa.run(piece);
        });
    }
}

/// Elements that one thread should round.
const GRAIN: usize = 1 << 17;

/// Rows of finished sums, and where they go.
struct Rounding<'a, H> {
    sums: &'a [f32],
    c: MatMut<'a, H>,
    /// The first column, and how many.
    first: usize,
    count: usize,
}

impl<H: Half> Split for Rounding<'_, H> {
    fn units(&self) -> usize {
        self.c.rows()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (sums, more) = self.sums.split_at(mid * self.count);
        let (c, rest) = self.c.split_rows(mid);
        (Self { sums, c, ..self }, Self { sums: more, c: rest, ..self })
    }
}

impl<H: Half> Kernel<f32> for Rounding<'_, H> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(mut self, simd: S) {
        let Self { first, count, .. } = self;
        for (i, sums) in self.sums.chunks_exact(count).enumerate() {
            let row = &mut self.c.row_mut(i)[first..first + count];
            let (mut from, mut to) = (sums.chunks_exact(S::LANES), row.chunks_exact_mut(S::LANES));
            for (sums, to) in from.by_ref().zip(to.by_ref()) {
                simd.store_half(simd.load(sums), to);
            }
            simd.store_half_partial(simd.load_partial(from.remainder()), to.into_remainder());
        }
    }
}
