//! Softmax, log-softmax and log-sum-exp, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Exec, Isa, LogSoftmax, LogSoftmaxBackward, LogSumExp, MatMut, MatRef, Result as Outcome,
    Softmax, SoftmaxBackward, naive,
};

use super::vector_math::{EXP_ULPS, LN_ULPS};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One matrix, through every operation of the family.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 9))]
    pub rows: usize,
    /// Columns: classes.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 140))]
    pub cols: usize,
    /// Where inputs and outputs lie; rows are contiguous whatever it says.
    pub layouts: [Layout; 2],
    /// The kind of x.
    pub x: Values,
    /// The kind of dy.
    pub dy: Values,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

impl Case {
    fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    fn rows_of<'a, X>(&self, values: &'a [X]) -> impl Iterator<Item = &'a [X]> {
        // No rows come out where there are no columns: nothing is left to compare then.
        values.chunks_exact(self.cols.max(1))
    }
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
    let count = case.rows * case.cols;
    let x: Vec<T> = case.x.fill(count, &mut Rng::new(case.seed, 0));
    let dy: Vec<T> = case.dy.fill(count, &mut Rng::new(case.seed, 1));
    forward(isa, case, &x)?;
    backward(isa, case, [&x, &dy])
}

fn forward<T: Real>(isa: Isa, case: &Case, x: &[T]) -> Result<(), String> {
    let y = map(isa, case, x, |x, y, exec| Softmax::new(x, y)?.run(exec))?;
    let log_y = map(isa, case, x, |x, y, exec| LogSoftmax::new(x, y)?.run(exec))?;
    let sums = one_result(isa, case.shift, |exec, shift| {
        let x = Field::new(case.layouts[0].rowwise().shifted(shift), case.shape(), x);
        let mut out = Field::output_vector(shift / 2, case.rows);
        LogSumExp::new(x.view(), out.slice_mut())
            .and_then(|op| op.run(exec))
            .map_err(unexpected)?;
        out.intact("log-sum-exp").map(|()| out.values())
    })?;
    let [want_y, want_log_y] = [naive::softmax, naive::log_softmax].map(|twin| {
        let mut want = vec![0.0; x.len()];
        twin(dense(case, &widen(x)), dense_mut(case, &mut want));
        want
    });
    let mut want_sums = vec![0.0; case.rows];
    naive::log_sum_exp(dense(case, &widen(x)), &mut want_sums);
    for (i, row) in case.rows_of(x).enumerate() {
        let bounds = RowBounds::new(row);
        for j in 0..row.len() {
            let at = i * case.cols + j;
            bounds.softmax(j).expect("softmax", [i, j], y[at], want_y[at])?;
            bounds.log_softmax(j).expect("log-softmax", [i, j], log_y[at], want_log_y[at])?;
        }
        bounds.log_sum_exp().expect("log-sum-exp", i, sums[i], want_sums[i])?;
    }
    Ok(())
}

/// The formulas of one row with their errors: the maximum is exact, x - max rounds once, a sum of
/// exponentials is a sum of positive terms in some order.
struct RowBounds<T> {
    max: Tracked<T>,
    shifted: Vec<Tracked<T>>,
    sum: Tracked<T>,
}

impl<T: Real> RowBounds<T> {
    fn new(row: &[T]) -> Self {
        let all = row.iter().map(|x| x.to_f64());
        let max = all.fold(f64::NEG_INFINITY, |max, x| if x.is_nan() || x > max { x } else { max });
        let max = Tracked::exact(T::from_f64(max));
        // -inf - -inf is nothing that needs a bound: the results of such rows are constants.
        let shifted: Vec<_> = match max.value {
            f64::NEG_INFINITY => row.iter().map(|_| Tracked::exact(T::ZERO)).collect(),
            _ => row.iter().map(|&x| Tracked::exact(x) - max).collect(),
        };
        let sum = Tracked::sum(shifted.iter().map(|d| d.decay()));
        Self { max, shifted, sum }
    }

    /// exp(x - max) times the rounded reciprocal of the sum.
    fn softmax(&self, j: usize) -> Tracked<T> {
        self.shifted[j].decay() * (Tracked::exact(T::ONE) / self.sum)
    }

    /// (x - max) - ln sum.
    fn log_softmax(&self, j: usize) -> Tracked<T> {
        self.shifted[j] - self.sum.ln(LN_ULPS)
    }

    /// max + ln sum.
    fn log_sum_exp(&self) -> Tracked<T> {
        self.max + self.sum.ln(LN_ULPS)
    }
}

fn backward<T: Real>(isa: Isa, case: &Case, [x, dy]: [&[T]; 2]) -> Result<(), String> {
    // From outputs as the twin rounds them: no error of the forward pass.
    let [y, log_y] = [naive::softmax, naive::log_softmax].map(|twin| {
        let mut y = vec![T::ZERO; x.len()];
        twin(dense(case, x), dense_mut(case, &mut y));
        y
    });
    let dx =
        zip(isa, case, [&y, dy], |y, dy, dx, exec| SoftmaxBackward::new(y, dy, dx)?.run(exec))?;
    let log_dx = zip(isa, case, [&log_y, dy], |y, dy, dx, exec| {
        LogSoftmaxBackward::new(y, dy, dx)?.run(exec)
    })?;
    let mut want = vec![0.0; x.len()];
    let mut log_want = want.clone();
    let wide_dy = widen(dy);
    let wide = dense(case, &wide_dy);
    naive::softmax_backward(dense(case, &widen(&y)), wide, dense_mut(case, &mut want));
    naive::log_softmax_backward(dense(case, &widen(&log_y)), wide, dense_mut(case, &mut log_want));
    let exact = |row: &[T]| row.iter().map(|&x| Tracked::exact(x)).collect::<Vec<_>>();
    let rows = case.rows_of(&y).zip(case.rows_of(&log_y)).zip(case.rows_of(dy));
    for (i, ((y, log_y), dy)) in rows.enumerate() {
        let (y, log_y, dy) = (exact(y), exact(log_y), exact(dy));
        let dot = Tracked::sum(y.iter().zip(&dy).map(|(&y, &dy)| y * dy));
        let total = Tracked::sum(dy.iter().copied());
        for j in 0..case.cols {
            let at = i * case.cols + j;
            (y[j] * (dy[j] - dot)).expect("softmax dx", [i, j], dx[at], want[at])?;
            let bound = dy[j] - log_y[j].exp(EXP_ULPS) * total;
            bound.expect("log-softmax dx", [i, j], log_dx[at], log_want[at])?;
        }
    }
    Ok(())
}

fn dense<'a, T: Real>(case: &Case, values: &'a [T]) -> MatRef<'a, T> {
    MatRef::new(values, case.rows, case.cols).expect("a dense matrix")
}

fn dense_mut<'a, T: Real>(case: &Case, values: &'a mut [T]) -> MatMut<'a, T> {
    MatMut::new(values, case.rows, case.cols).expect("a dense matrix")
}

fn map<T: Real>(
    isa: Isa,
    case: &Case,
    x: &[T],
    run: impl Fn(MatRef<'_, T>, MatMut<'_, T>, Exec) -> Outcome<()>,
) -> Result<Vec<T>, String> {
    one_result(isa, case.shift, |exec, shift| {
        let [input, output] = case.layouts.map(|layout| layout.rowwise().shifted(shift));
        let x = Field::new(input, case.shape(), x);
        let mut y = Field::output(output, case.shape());
        run(x.view(), y.view_mut(), exec).map_err(unexpected)?;
        y.intact("y").map(|()| y.values())
    })
}

fn zip<T: Real>(
    isa: Isa,
    case: &Case,
    [y, dy]: [&[T]; 2],
    run: impl Fn(MatRef<'_, T>, MatRef<'_, T>, MatMut<'_, T>, Exec) -> Outcome<()>,
) -> Result<Vec<T>, String> {
    one_result(isa, case.shift, |exec, shift| {
        let [input, output] = case.layouts.map(|layout| layout.rowwise().shifted(shift));
        let y = Field::new(input, case.shape(), y);
        let dy = Field::new(output, case.shape(), dy);
        let mut dx = Field::output(output, case.shape());
        run(y.view(), dy.view(), dx.view_mut(), exec).map_err(unexpected)?;
        dx.intact("dx").map(|()| dx.values())
    })
}
