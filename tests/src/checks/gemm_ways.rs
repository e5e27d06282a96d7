//! Ways to one product: rows alone and in smaller batches and operands packed beforehand, none of which
//! may show in a bit of a batch-invariant product; and statistics of its columns, which may not show in
//! any.

use tilewise_kernels::{
    ColumnMeanVar, ColumnMoments, Error, Exec, Gemm, Isa, MatRef, PackedA, PackedB, Par, Precision,
};

use super::gemm::{After, Case, Operands};
use crate::compare::{same_bits, within};
use crate::data::Rng;
use crate::field::Field;
use crate::laws::{THREADINGS, unexpected};
use crate::moments::Moments;
use crate::multiplied::Multiplied;
use crate::real::Real;

/// Additions in one chain of a block of 128 rows: even and odd rows apart, then together.
const CHAIN: usize = 65;

/// Checks that every way gives the bits of the product that is in any order of sums, or of the
/// batch-invariant one.
///
/// # Errors
/// Which one does not, and where.
pub(super) fn check<T: Real, E: Multiplied<T>>(
    (isa, precision): (Isa, Precision),
    case: &Case,
    operands: &Operands<T, E>,
    [any, invariant]: [&[T]; 2],
) -> Result<(), String> {
    Way { isa, precision, case, operands, all: any }.moments_are_those_of_c()?;
    let way = Way { isa, precision, case, operands, all: invariant };
    if case.m == 0 {
        return Ok(());
    }
    let row = Rng::new(case.seed, 4).below(case.m);
    way.rows("a row alone", [row, row + 1], Packed::Neither)?;
    way.rows("rows in a smaller batch", [row, case.m], Packed::Neither)?;
    // Packed panels come with blocks of their own.
    if case.blocking.is_some() {
        return Ok(());
    }
    way.rows("rows with packed columns", [row, case.m], Packed::B)?;
    way.rows("packed rows", [row, case.m], Packed::A)?;
    way.rows("a packed row with packed columns", [row, row + 1], Packed::Both)?;
    way.rows("packed rows with packed columns", [0, case.m], Packed::Both)
}

/// Which operands are packed beforehand.
#[derive(Clone, Copy)]
enum Packed {
    Neither,
    A,
    B,
    Both,
}

struct Way<'a, T, E> {
    isa: Isa,
    precision: Precision,
    case: &'a Case,
    operands: &'a Operands<T, E>,
    /// The product.
    all: &'a [T],
}

impl<T: Real, E: Multiplied<T>> Way<'_, T, E> {
    /// Checks some rows, on their own, on one thread and on several.
    fn rows(&self, what: &str, rows: [usize; 2], packed: Packed) -> Result<(), String> {
        for par in [Par::Serial, Par::Threads(3)] {
            let exec = Exec::default().isa(self.isa).par(par);
            self.rows_on(rows, packed, exec).map_err(|finding| format!("{what}: {finding}"))?;
        }
        Ok(())
    }

    fn rows_on(&self, [first, end]: [usize; 2], packed: Packed, exec: Exec) -> Result<(), String> {
        let Self { case, operands, all, .. } = self;
        let &Case { m, n, k, .. } = *case;
        let a = Field::new(case.layouts[0], [m, k], &operands.a);
        let b = Field::new(case.layouts[1], [k, n], &operands.b);
        let a = a.view().split_rows(first).1.split_rows(end - first).0;
        let panels_of_a =
            PackedA::for_precision(a, self.precision, self.isa).map_err(unexpected)?;
        let panels_of_b =
            PackedB::for_precision(b.view(), self.precision, self.isa).map_err(unexpected)?;
        let gemm = match packed {
            Packed::Neither => Gemm::new(a, b.view()).map(|gemm| gemm.precision(self.precision)),
            Packed::A => Gemm::with_packed_lhs(&panels_of_a, b.view()),
            Packed::B => Gemm::with_packed(a, &panels_of_b),
            Packed::Both => Gemm::with_both_packed(&panels_of_a, &panels_of_b),
        };
        let old = &operands.c[first * n..end * n];
        let mut c = Field::new(case.layouts[2].apart(), [end - first, n], old);
        let after = After::new(case, operands, [first, end], 0);
        after
            .configured(case, gemm.map_err(unexpected)?.batch_invariant(true))
            .run(c.view_mut(), exec)
            .map_err(unexpected)?;
        c.intact("c")?;
        same_bits("c", &c.values(), &all[first * n..end * n])
    }

    /// Checks the statistics of the columns, taken on the way: they have the bits of those that are
    /// taken of a finished C, and are near the exact ones.
    fn moments_are_those_of_c(&self) -> Result<(), String> {
        let &Case { m, n, .. } = self.case;
        let mut moments = ColumnMoments::new();
        for par in THREADINGS {
            let exec = Exec::default().isa(self.isa).par(par);
            let outcome = self.with_moments(&mut moments, exec)?;
            if m == 0 && n > 0 {
                let error = outcome.err().ok_or("statistics of no rows are no error")?;
                return if error.what().contains("moments") {
                    Ok(())
                } else {
                    Err(error.to_string())
                };
            }
            outcome.map_err(unexpected)?;
            self.as_of_a_finished_c(&moments).map_err(|finding| format!("{par:?}: {finding}"))?;
        }
        (0..n).try_for_each(|j| self.near_the_exact_ones(j, [moments.mean()[j], moments.m2()[j]]))
    }

    /// The product with statistics; C must be what it is without.
    fn with_moments(
        &self,
        moments: &mut ColumnMoments,
        exec: Exec,
    ) -> Result<Result<(), Error>, String> {
        let Self { case, operands, all, .. } = self;
        let &Case { m, n, k, .. } = *case;
        let a = Field::new(case.layouts[0], [m, k], &operands.a);
        let b = Field::new(case.layouts[1], [k, n], &operands.b);
        let mut c = Field::new(case.layouts[2].apart(), [m, n], &operands.c);
        let after = After::new(case, operands, [0, m], 0);
        let gemm = Gemm::new(a.view(), b.view()).map_err(unexpected)?.precision(self.precision);
        let outcome = after.configured(case, gemm).run_with_moments(c.view_mut(), moments, exec);
        c.intact("c beside its moments")?;
        same_bits("c beside its moments", &c.values(), all)?;
        Ok(outcome)
    }

    fn as_of_a_finished_c(&self, moments: &ColumnMoments) -> Result<(), String> {
        let &Case { m, n, .. } = self.case;
        let c = MatRef::new(self.all, m, n).map_err(unexpected)?;
        let (mut mean, mut var) = (vec![T::ZERO; n], vec![T::ZERO; n]);
        ColumnMeanVar::new(c, &mut mean, &mut var)
            .and_then(|op| op.run(Exec::serial().isa(self.isa)))
            .map_err(unexpected)?;
        let rounded = |values: &[f64], factor: f64| -> Vec<T> {
            values.iter().map(|x| T::from_f64(x * factor)).collect()
        };
        same_bits("mean of c", &rounded(moments.mean(), 1.0), &mean)?;
        same_bits("variance of c", &rounded(moments.m2(), 1.0 / m as f64), &var)
    }

    fn near_the_exact_ones(&self, j: usize, [mean, m2]: [f64; 2]) -> Result<(), String> {
        let &Case { m, n, .. } = self.case;
        let column: Vec<T> = self.all.iter().skip(j).step_by(n).copied().collect();
        let bounds = Moments::of(&column, CHAIN);
        let rows = m as f64;
        for (what, got, want, bound) in [
            ("mean", mean, bounds.mean, bounds.mean_error),
            ("m2", m2, bounds.var.value * rows, bounds.var.error * rows),
        ] {
            if !within(got, want, bound) {
                let finding = format!("got {got:e}, want {want:e}, bound {bound:e}");
                return Err(format!("{what} of column {j} ({}): {finding}", T::NAME));
            }
        }
        Ok(())
    }
}
