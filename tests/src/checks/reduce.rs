//! Reductions of slices, rows and columns.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Argmax, ArgmaxRows, ColumnMeanVar, ColumnSums, Error, Exec, Isa, L2Norm, MatRef, Max, Mean,
    MeanVar, Result as Outcome, RowSums, Sum, naive,
};

use crate::compare::{Magnitude, expect, gamma};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{THREADINGS, one_result, unexpected};
use crate::moments::Moments;
use crate::real::{Real, widen};

/// Additions in one chain of the element type at most: a block of 4096 in four slots of four lanes,
/// and the tree that merges them. Longer sums are added in f64.
const CHAIN: usize = 256 + 8;

/// One matrix, reduced as a slice, by rows and by columns.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows; 128 are a block.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 140))]
    pub rows: usize,
    /// Columns; 64 of f32 are a strip.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 140))]
    pub cols: usize,
    /// Where the matrix lies; rows are contiguous whatever it says.
    pub layout: Layout,
    /// The kind of values.
    pub values: Values,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let x: Vec<T> = case.values.fill(case.rows * case.cols, &mut Rng::new(case.seed, 0));
    whole(isa, case, &x)?;
    largest(isa, case, &x)?;
    by_row(isa, case, &x)?;
    by_column(isa, case, &x)
}

/// Runs a reduction of a slice to a few numbers under every law.
fn reduced<T: Real>(
    isa: Isa,
    case: &Case,
    x: &[T],
    run: impl Fn(&[T], Exec) -> Outcome<Vec<T>>,
) -> Result<Vec<T>, String> {
    one_result(isa, case.shift, |exec, shift| {
        let x = Field::vector(shift, x);
        run(x.slice(), exec).map_err(unexpected)
    })
}

fn sum_bound<'a, T: Real>(terms: impl IntoIterator<Item = &'a T>) -> f64 {
    let (mut magnitude, mut count) = (Magnitude::default(), 0);
    for term in terms {
        magnitude.add(term.to_f64());
        count += 1;
    }
    // One more rounding: of the sum in f64 to the element type.
    let twin = gamma::<f64>(count as f64) * magnitude.total();
    magnitude.bound::<T>(count.min(CHAIN) as f64 + 1.0) + twin
}

fn whole<T: Real>(isa: Isa, case: &Case, x: &[T]) -> Result<(), String> {
    let wide = widen(x);
    let bound = sum_bound(x);
    let sum = reduced(isa, case, x, |x, exec| Ok(vec![Sum::new(x)?.run(exec)?]))?;
    expect("sum", "", sum[0], naive::sum(&wide), bound)?;
    let norm = reduced(isa, case, x, |x, exec| Ok(vec![L2Norm::new(x)?.run(exec)?]))?;
    expect("l2 norm", "", norm[0], naive::l2_norm(&wide), norm_bound(x))?;
    if x.is_empty() {
        return must_fail("mean", Mean::new(x).and_then(|op| op.run(Exec::serial().isa(isa))));
    }
    let mean = reduced(isa, case, x, |x, exec| Ok(vec![Mean::new(x)?.run(exec)?]))?;
    let count = x.len() as f64;
    let want = naive::mean(&wide);
    let own = T::STEP * if want.is_finite() { want.abs() } else { 0.0 };
    expect("mean", "", mean[0], want, bound / count + own + T::LEAST)?;
    let pair = reduced(isa, case, x, |x, exec| {
        MeanVar::new(x)?.run(exec).map(|(mean, var)| vec![mean, var])
    })?;
    let (want_mean, want_var) = naive::mean_var(&wide);
    let bounds = Moments::of(x, CHAIN);
    bounds.rounded_mean().expect("mean of mean_var", "", pair[0], want_mean)?;
    bounds.var.expect("variance", "", pair[1], want_var)
}

/// Scaled, so that neither overflow nor underflow of squares matters: half the relative error of a
/// sum of squares, and the root.
fn norm_bound<T: Real>(x: &[T]) -> f64 {
    let norm = naive::l2_norm(&widen(x));
    let roundings = x.len().min(CHAIN) as f64 + 3.0;
    let finite = if norm.is_finite() { norm } else { 0.0 };
    gamma::<T>(roundings / 2.0 + 2.0) * finite + gamma::<f64>(x.len() as f64) * finite + T::LEAST
}

fn must_fail<X>(what: &str, outcome: Result<X, Error>) -> Result<(), String> {
    if outcome.is_ok() { Err(format!("{what}: no error where one was due")) } else { Ok(()) }
}

fn largest<T: Real>(isa: Isa, case: &Case, x: &[T]) -> Result<(), String> {
    let exec = Exec::serial().isa(isa);
    if x.is_empty() {
        must_fail("max of nothing", Max::new(x).and_then(|op| op.run(exec)))?;
        return must_fail("argmax of nothing", Argmax::new(x).and_then(|op| op.run(exec)));
    }
    let max = reduced(isa, case, x, |x, exec| Ok(vec![Max::new(x)?.run(exec)?]))?;
    expect("max", "", max[0], naive::max(&widen(x)), 0.0)?;
    if x.iter().any(|x| x.is_nan()) {
        return must_fail("argmax of NaN", Argmax::new(x).and_then(|op| op.run(exec)));
    }
    let want = naive::argmax(x);
    for par in THREADINGS {
        let x = Field::vector(case.shift, x);
        let op = Argmax::new(x.slice()).map_err(unexpected)?;
        let got = op.run(exec.par(par)).map_err(unexpected)?;
        if got != want {
            return Err(format!("argmax on {par:?}: got {got}, want {want}"));
        }
    }
    Ok(())
}

fn by_row<T: Real>(isa: Isa, case: &Case, x: &[T]) -> Result<(), String> {
    let wide = widen(x);
    let wide = dense(case, &wide);
    let sums = one_result(isa, case.shift, |exec, shift| {
        let x = field(case, x, shift);
        let mut out = Field::output_vector(shift / 2, case.rows);
        RowSums::new(x.view(), out.slice_mut()).and_then(|op| op.run(exec)).map_err(unexpected)?;
        out.intact("row sums").map(|()| out.values())
    })?;
    let mut want = vec![0.0; case.rows];
    naive::row_sums(wide, &mut want);
    for i in 0..case.rows {
        let bound = sum_bound(&x[i * case.cols..][..case.cols]);
        expect("row sums", i, sums[i], want[i], bound)?;
    }
    let held = field(case, x, case.shift);
    for par in THREADINGS {
        let mut got = vec![usize::MAX; case.rows];
        let exec = Exec::serial().isa(isa).par(par);
        let outcome = ArgmaxRows::new(held.view(), &mut got).and_then(|op| op.run(exec));
        if case.rows > 0 && (case.cols == 0 || x.iter().any(|x| x.is_nan())) {
            must_fail("argmax of rows", outcome)?;
            continue;
        }
        outcome.map_err(unexpected)?;
        let mut want = vec![0; case.rows];
        naive::argmax_rows(wide, &mut want);
        if got != want {
            return Err(format!("argmax of rows on {par:?}: got {got:?}, want {want:?}"));
        }
    }
    Ok(())
}

fn by_column<T: Real>(isa: Isa, case: &Case, x: &[T]) -> Result<(), String> {
    let column = |j: usize| x.iter().skip(j).step_by(case.cols.max(1));
    let wide = widen(x);
    let wide = dense(case, &wide);
    let sums = one_result(isa, case.shift, |exec, shift| {
        let x = field(case, x, shift);
        let mut out = Field::output_vector(shift / 2, case.cols);
        ColumnSums::new(x.view(), out.slice_mut())
            .and_then(|op| op.run(exec))
            .map_err(unexpected)?;
        out.intact("column sums").map(|()| out.values())
    })?;
    let mut want = vec![0.0; case.cols];
    naive::column_sums(wide, &mut want);
    for j in 0..case.cols {
        expect("column sums", j, sums[j], want[j], sum_bound(column(j)))?;
    }
    if case.rows == 0 && case.cols > 0 {
        let mut out = [vec![T::ZERO; case.cols], vec![T::ZERO; case.cols]];
        let [mean, var] = &mut out;
        let op = ColumnMeanVar::new(MatRef::new(x, 0, case.cols).map_err(unexpected)?, mean, var);
        return must_fail("statistics of no rows", op.and_then(|op| op.run(Exec::serial())));
    }
    let pairs = one_result(isa, case.shift, |exec, shift| column_moments(case, x, exec, shift))?;
    let (mut mean, mut var) = (vec![0.0; case.cols], vec![0.0; case.cols]);
    naive::column_mean_var(wide, &mut mean, &mut var);
    for j in 0..case.cols {
        let values: Vec<T> = column(j).copied().collect();
        let bounds = Moments::of(&values, CHAIN);
        bounds.rounded_mean().expect("column mean", j, pairs[j], mean[j])?;
        bounds.var.expect("column variance", j, pairs[case.cols + j], var[j])?;
    }
    Ok(())
}

fn column_moments<T: Real>(
    case: &Case,
    x: &[T],
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let x = field(case, x, shift);
    let mut mean = Field::output_vector(shift / 2, case.cols);
    let mut var = Field::output_vector(shift / 3, case.cols);
    ColumnMeanVar::new(x.view(), mean.slice_mut(), var.slice_mut())
        .and_then(|op| op.run(exec))
        .map_err(unexpected)?;
    mean.intact("mean")?;
    var.intact("var")?;
    Ok([mean.values(), var.values()].concat())
}

fn field<T: Real>(case: &Case, x: &[T], shift: usize) -> Field<T> {
    Field::new(case.layout.rowwise().shifted(shift), [case.rows, case.cols], x)
}

fn dense<'a>(case: &Case, values: &'a [f64]) -> MatRef<'a, f64> {
    MatRef::new(values, case.rows, case.cols).expect("a dense matrix")
}
