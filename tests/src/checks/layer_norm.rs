//! Normalisation of rows, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Exec, Isa, MatMut, MatRef, NormGrads, RowNorm, RowNormBackward, RowStats, naive,
};

use crate::compare::gamma;
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One matrix.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 9))]
    pub rows: usize,
    /// Columns.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 140))]
    pub cols: usize,
    /// Whether rows are centred: layer normalisation, not by the root mean square.
    pub centred: bool,
    /// Where input and output lie; rows are contiguous whatever it says.
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

/// 2^-17, near the usual 1e-5 and exact in both types.
const EPSILON: f64 = 1.0 / 131_072.0;

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

/// The inputs of one case.
struct Inputs<T> {
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let (rows, cols) = (case.rows, case.cols);
    let fill = |values: Values, count, stream| values.fill(count, &mut Rng::new(case.seed, stream));
    let inputs: Inputs<T> = Inputs {
        x: fill(case.x, rows * cols, 0),
        dy: fill(case.dy, rows * cols, 1),
        gamma: fill(Values::Positive, cols, 2),
        beta: fill(Values::Normal, cols, 3),
    };
    let got = one_result(isa, case.shift, |exec, shift| run(&inputs, case, exec, shift))?;
    let (y, rest) = got.split_at(rows * cols);
    let (dx, rest) = rest.split_at(rows * cols);
    let (dgamma, dbeta) = rest.split_at(cols);
    let want = twin(case, &inputs);
    let bounds: Vec<RowBounds<T>> =
        (0..rows).map(|i| RowBounds::new(&inputs.x[i * cols..][..cols], case.centred)).collect();
    let exact = |values: &[T]| values.iter().map(|&v| Tracked::exact(v)).collect::<Vec<_>>();
    let (gamma, beta, dy) = (exact(&inputs.gamma), exact(&inputs.beta), exact(&inputs.dy));
    let share = Tracked::constant(1.0 / cols.max(1) as f64);
    for (i, row) in bounds.iter().enumerate() {
        let dy = &dy[i * cols..][..cols];
        let infinite = dy.iter().any(|dy| dy.value.is_infinite());
        let lost = dy.iter().zip(&row.normal).any(|(&dy, &normal)| meets_any_sign(dy, normal));
        let g: Vec<_> = dy.iter().zip(&gamma).map(|(&dy, &gamma)| dy * gamma).collect();
        let mean = Tracked::sum(g.iter().copied()) * share;
        let along = Tracked::sum(g.iter().zip(&row.normal).map(|(&g, &x)| g * x)) * share;
        for j in 0..cols {
            let at = i * cols + j;
            let scaled = row.normal[j] * gamma[j];
            let bound = if case.centred { scaled + beta[j] } else { scaled };
            bound.expect("y", [i, j], y[at], want.y[at])?;
            let around = if case.centred { g[j] - mean } else { g[j] };
            let bound = (around - row.normal[j] * along) * row.inv_std;
            let lost = lost || (infinite && may_have_any_sign(row.normal[j]));
            expect_unless(lost, bound, ("dx", at), dx[at], want.dx[at])?;
        }
    }
    for j in 0..cols {
        let column = |i: usize| dy[i * cols + j];
        let scale = Tracked::sum((0..rows).map(|i| column(i) * bounds[i].normal[j]));
        let lost = (0..rows).any(|i| meets_any_sign(column(i), bounds[i].normal[j]));
        expect_unless(lost, scale, ("dgamma", j), dgamma[j], want.dgamma[j])?;
        if case.centred {
            Tracked::sum((0..rows).map(column)).expect("dbeta", j, dbeta[j], want.dbeta[j])?;
        }
    }
    Ok(())
}

/// Whether rounding decides on the sign of a value, or whether it is zero: in a constant row that of all
/// distances from the mean.
fn may_have_any_sign<T: Real>(value: Tracked<T>) -> bool {
    value.value.abs() <= value.error
}

/// Whether a product with an infinite gradient is an infinity of either sign or NaN as rounding decides.
fn meets_any_sign<T: Real>(dy: Tracked<T>, normal: Tracked<T>) -> bool {
    dy.value.is_infinite() && may_have_any_sign(normal)
}

/// Checks a value under its bound; where it is `lost` in an infinity of unknown sign, that it is not
/// finite, which neither the product nor a sum with it can be.
fn expect_unless<T: Real>(
    lost: bool,
    bound: Tracked<T>,
    (what, at): (&str, usize),
    got: T,
    want: f64,
) -> Result<(), String> {
    match lost && !want.is_finite() {
        true if got.is_finite() => Err(format!("{what}[{at}]: {got:e} of infinite gradients")),
        true => Ok(()),
        false => bound.expect(what, at, got, want),
    }
}

/// A normalised row with its errors.
struct RowBounds<T> {
    normal: Vec<Tracked<T>>,
    inv_std: Tracked<T>,
}

impl<T: Real> RowBounds<T> {
    /// Distances from a rounded mean, the mean of those, and distances from both. A rounded mean is off
    /// by as much as a sum's rounding, and distances from it round by as much more.
    fn new(row: &[T], centred: bool) -> Self {
        let share = Tracked::constant(1.0 / row.len().max(1) as f64);
        let x: Vec<Tracked<T>> = row.iter().map(|&x| Tracked::exact(x)).collect();
        let mut centre = x.clone();
        if centred {
            let size: f64 = row.iter().map(|x| x.to_f64().abs()).filter(|x| x.is_finite()).sum();
            let sum = Tracked::sum(x.iter().copied());
            let mean = row.iter().map(|x| x.to_f64()).sum::<f64>() / row.len().max(1) as f64;
            let off = gamma::<T>(row.len() as f64 + 3.0) * size / row.len().max(1) as f64;
            let overflow = if sum.error.is_finite() { 0.0 } else { f64::INFINITY };
            // A distance from the rounded mean; its mean, which rounding took, is what is off.
            let near: Vec<Tracked<T>> = row
                .iter()
                .map(|x| {
                    let d = x.to_f64() - mean;
                    Tracked::new(d, T::STEP * (d.abs() + off) + T::LEAST + overflow)
                })
                .collect();
            let low = Tracked::sum(near.iter().copied()) * share;
            let low = low.widened(gamma::<T>(row.len() as f64 + 3.0) * off);
            centre = near.iter().map(|&d| (d - low).widened(T::STEP * off)).collect();
        }
        let squares = Tracked::sum(centre.iter().map(|&d| d * d)) * share;
        let root = (squares + Tracked::exact(T::from_f64(EPSILON))).sqrt();
        let inv_std = Tracked::exact(T::ONE) / root;
        Self { normal: centre.into_iter().map(|d| d * inv_std).collect(), inv_std }
    }
}

struct Wanted {
    y: Vec<f64>,
    dx: Vec<f64>,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
}

fn twin<T: Real>(case: &Case, inputs: &Inputs<T>) -> Wanted {
    let (rows, cols) = (case.rows, case.cols);
    let zeros = |count| vec![0.0; count];
    let [x, dy, gamma, beta] =
        [&inputs.x, &inputs.dy, &inputs.gamma, &inputs.beta].map(|values| widen(values));
    let mut want = Wanted {
        y: zeros(rows * cols),
        dx: zeros(rows * cols),
        dgamma: zeros(cols),
        dbeta: zeros(if case.centred { cols } else { 0 }),
    };
    let matrix = |values| MatRef::new(values, rows, cols).expect("a dense matrix");
    let y = MatMut::new(&mut want.y, rows, cols).expect("a dense matrix");
    let dx = MatMut::new(&mut want.dx, rows, cols).expect("a dense matrix");
    let grads = NormGrads { dx, dgamma: &mut want.dgamma, dbeta: &mut want.dbeta };
    if case.centred {
        naive::layer_norm(matrix(&x), [&gamma, &beta], EPSILON, y);
        naive::layer_norm_backward(matrix(&x), &gamma, EPSILON, matrix(&dy), grads);
    } else {
        naive::rms_norm(matrix(&x), &gamma, EPSILON, y);
        naive::rms_norm_backward(matrix(&x), &gamma, EPSILON, matrix(&dy), grads);
    }
    want
}

/// y, dx, dγ and dβ.
fn run<T: Real>(
    inputs: &Inputs<T>,
    case: &Case,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let shape = [case.rows, case.cols];
    let [input, output] = case.layouts.map(|layout| layout.rowwise().shifted(shift));
    let (x, dy) = (Field::new(input, shape, &inputs.x), Field::new(output, shape, &inputs.dy));
    let [gamma, beta] =
        [&inputs.gamma, &inputs.beta].map(|values| Field::vector(shift / 2, values));
    let (mut y, mut dx) = (Field::output(output, shape), Field::output(input, shape));
    let mut dgamma = Field::output_vector(shift / 3, case.cols);
    let mut dbeta = Field::output_vector(shift, if case.centred { case.cols } else { 0 });
    let mut stats = RowStats::new(case.rows);
    let epsilon = T::from_f64(EPSILON);
    let op = match case.centred {
        true => RowNorm::layer(x.view(), [gamma.slice(), beta.slice()], epsilon),
        false => RowNorm::rms(x.view(), gamma.slice(), epsilon),
    };
    op.and_then(|op| op.run(y.view_mut(), &mut stats, exec)).map_err(unexpected)?;
    let op = match case.centred {
        true => RowNormBackward::layer(x.view(), gamma.slice(), &stats),
        false => RowNormBackward::rms(x.view(), gamma.slice(), &stats),
    };
    let grads =
        NormGrads { dx: dx.view_mut(), dgamma: dgamma.slice_mut(), dbeta: dbeta.slice_mut() };
    op.and_then(|op| op.run(dy.view(), grads, exec)).map_err(unexpected)?;
    for (field, what) in [(&y, "y"), (&dx, "dx"), (&dgamma, "dgamma"), (&dbeta, "dbeta")] {
        field.intact(what)?;
    }
    Ok([y.values(), dx.values(), dgamma.values(), dbeta.values()].concat())
}
