//! Matrix multiplication, of floats and of halves.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Activation, Blocking, Exec, Gemm, Isa, MatMut, MatRef, Precision, bf16, f16, naive,
};

use super::activation::{ALL, forward_bound, lipschitz};
use super::gemm_ways;
use crate::compare::{Magnitude, expect, limited};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::multiplied::{Multiplied, Rounding, is_moderate};
use crate::real::{Real, widen};

/// Factors that matter: the special-cased ones, signs, and one that rounds.
const FACTORS: [f64; 6] = [1.0, 0.0, -1.0, 0.5, 0.3, -2.7];

/// One product.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows of A and C; statistics take blocks of 128.
    #[arbitrary(with = rows)]
    pub m: usize,
    /// Columns of B and C.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 70))]
    pub n: usize,
    /// Columns of A, rows of B.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 90))]
    pub k: usize,
    /// Where A, B and C lie.
    pub layouts: [Layout; 3],
    /// The kinds of values of A, B and C.
    pub values: [Values; 3],
    /// The factor of the product.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&FACTORS).copied())]
    pub alpha: f64,
    /// The factor of the old C; at zero C holds NaN, which must not be read.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&FACTORS).copied())]
    pub beta: f64,
    /// Whether columns are scaled.
    pub scale: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Where a residual lies that is added.
    pub residual: Option<Layout>,
    /// What is applied last.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&ALL).copied())]
    pub activation: Activation,
    /// Forced block sizes `kc`, `mc`, `nc`.
    #[arbitrary(with = blocking)]
    pub blocking: Option<[usize; 3]>,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

fn rows(u: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    if u.ratio(1u8, 8)? { size(u, 300) } else { size(u, 70) }
}

fn blocking(u: &mut Unstructured<'_>) -> arbitrary::Result<Option<[usize; 3]>> {
    let mut below = |most| u.int_in_range(0..=most);
    let blocks = [below(40)?, below(40)?, below(80)?];
    Ok(u.arbitrary::<bool>()?.then_some(blocks))
}

impl Case {
    /// A plain product of dense matrices.
    pub fn plain(m: usize, n: usize, k: usize) -> Self {
        Self {
            m,
            n,
            k,
            layouts: [Layout::DENSE; 3],
            values: [Values::Normal; 3],
            alpha: 1.0,
            beta: 0.0,
            scale: false,
            bias: false,
            residual: None,
            activation: Activation::Identity,
            blocking: None,
            shift: 0,
            seed: 1,
        }
    }
}

/// The operands of a case.
pub(super) struct Operands<T, E> {
    pub(super) a: Vec<E>,
    pub(super) b: Vec<E>,
    pub(super) c: Vec<T>,
    pub(super) scale: Vec<T>,
    pub(super) bias: Vec<T>,
    pub(super) residual: Vec<T>,
}

impl<T: Real, E: Multiplied<T>> Operands<T, E> {
    fn new(case: &Case) -> Self {
        let &Case { m, n, k, .. } = case;
        let stream = |i: u64| Rng::new(case.seed, i);
        // A repeated operand is what its field holds.
        let held = |i: usize, shape: [usize; 2]| {
            let values = case.values[i].fill::<T>(shape[0] * shape[1], &mut stream(i as u64));
            let values: Vec<E> = values.into_iter().map(E::narrow).collect();
            Field::new(case.layouts[i], shape, &values).values()
        };
        Self {
            a: held(0, [m, k]),
            b: held(1, [k, n]),
            c: match case.beta {
                0.0 => vec![T::NAN; m * n],
                _ => case.values[2].fill(m * n, &mut stream(2)),
            },
            // Finite ones only: an infinite factor of a sum that is nearly zero has no right result.
            scale: Values::Normal.fill(n, &mut stream(5)),
            bias: case.values[2].fill(n, &mut stream(3)),
            residual: {
                let values = case.values[2].fill(m * n, &mut stream(6));
                let layout = case.residual.unwrap_or(Layout::DENSE);
                Field::new(layout, [m, n], &values).values()
            },
        }
    }

    /// The same with other A and B.
    fn with<F>(&self, a: Vec<F>, b: Vec<F>) -> Operands<T, F> {
        let Self { c, scale, bias, residual, .. } = self;
        let [c, scale, bias, residual] = [c, scale, bias, residual].map(Vec::clone);
        Operands { a, b, c, scale, bias, residual }
    }
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32, f32>(isa, case, Precision::F32)?;
    check_as::<f64, f64>(isa, case, Precision::F32)
}

/// Checks `f32` at every other precision.
///
/// # Errors
/// What differs, where and by how much.
pub fn check_precisions(isa: Isa, case: &Case) -> Result<(), String> {
    [Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16].into_iter().try_for_each(|precision| {
        check_as::<f32, f32>(isa, case, precision)
            .map_err(|finding| format!("{precision}: {finding}"))
    })
}

/// Checks `bf16` and `f16`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check_halves(isa: Isa, case: &Case) -> Result<(), String> {
    let plain = Precision::F32;
    check_as::<f32, bf16>(isa, case, plain).map_err(|finding| format!("bf16: {finding}"))?;
    check_as::<f32, f16>(isa, case, plain).map_err(|finding| format!("f16: {finding}"))
}

fn check_as<T: Real, E: Multiplied<T>>(
    isa: Isa,
    case: &Case,
    precision: Precision,
) -> Result<(), String> {
    let operands = Operands::<T, E>::new(case);
    // In any order of the sums, and in one that does not depend on the number of rows.
    let [any, invariant] = [false, true].map(|invariant| {
        let asked = (precision, invariant);
        one_result(isa, case.shift, |exec, shift| multiply(case, &operands, asked, exec, shift))
    });
    let (any, invariant) = (any?, invariant?);
    gemm_ways::check((isa, precision), case, &operands, [&any, &invariant])?;
    for (what, got, asked) in [("c", any, false), ("batch-invariant c", invariant, true)] {
        near_the_exact_one(case, &operands, (precision, asked), isa, (what, &got))?;
    }
    Ok(())
}

/// Checks a product against the exact one of the values that its path sees.
fn near_the_exact_one<T: Real, E: Multiplied<T>>(
    case: &Case,
    operands: &Operands<T, E>,
    (precision, invariant): (Precision, bool),
    isa: Isa,
    (what, got): (&str, &[T]),
) -> Result<(), String> {
    let &Case { m, n, k, .. } = case;
    // Few rows of halves leave tiles for vectors.
    let a = Field::new(case.layouts[0], [m, k], &operands.a);
    let b = Field::new(case.layouts[1], [k, n], &operands.b);
    let after = After::new(case, operands, [0, m], 0);
    let gemm = Gemm::new(a.view(), b.view()).map_err(unexpected)?;
    let gemm = gemm.precision(precision).batch_invariant(invariant);
    let plan = after.configured(case, gemm).plan(Exec::serial().isa(isa)).map_err(unexpected)?;
    let seen = |values: &[E]| -> Vec<T> {
        values.iter().map(|x| x.seen_on(plan.isa(), precision)).collect()
    };
    let exact = operands.with(seen(&operands.a), seen(&operands.b));
    let rounding = E::rounding(plan.isa(), precision, k);
    for (at, (&got, want)) in got.iter().zip(reference(case, &exact)?).enumerate() {
        let place = [at / n, at % n];
        expect(what, place, got, want, bound(case, &exact, rounding, place, want))?;
    }
    Ok(())
}

fn multiply<T: Real, E: Multiplied<T>>(
    case: &Case,
    operands: &Operands<T, E>,
    (precision, invariant): (Precision, bool),
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let &Case { m, n, k, .. } = case;
    let [a, b, c] = case.layouts.map(|layout| layout.shifted(shift));
    let a = Field::new(a, [m, k], &operands.a);
    let b = Field::new(b, [k, n], &operands.b);
    let mut c = Field::new(c.apart(), [m, n], &operands.c);
    let after = After::new(case, operands, [0, m], shift);
    let gemm = Gemm::new(a.view(), b.view()).map_err(unexpected)?;
    let gemm = gemm.precision(precision).batch_invariant(invariant);
    after.configured(case, gemm).run(c.view_mut(), exec).map_err(unexpected)?;
    c.intact("c").map(|()| c.values())
}

/// What is done to some rows of the product.
pub(super) struct After<T> {
    scale: Field<T>,
    bias: Field<T>,
    residual: Field<T>,
}

impl<T: Real> After<T> {
    /// To rows `first` to `end`, from buffers that are moved by `shift` elements.
    pub(super) fn new<E>(
        case: &Case,
        operands: &Operands<T, E>,
        [first, end]: [usize; 2],
        shift: usize,
    ) -> Self {
        let layout = case.residual.unwrap_or(Layout::DENSE).shifted(shift);
        let residual = &operands.residual[first * case.n..end * case.n];
        Self {
            scale: Field::vector(shift / 2, &operands.scale),
            bias: Field::vector(shift, &operands.bias),
            residual: Field::new(layout, [end - first, case.n], residual),
        }
    }

    /// `gemm` with all that the case asks for.
    pub(super) fn configured<'a, E: Multiplied<T>>(
        &'a self,
        case: &Case,
        gemm: Gemm<'a, T, E>,
    ) -> Gemm<'a, T, E> {
        let [alpha, beta] = [case.alpha, case.beta].map(T::from_f64);
        let mut gemm = gemm.alpha(alpha).beta(beta).activation(case.activation);
        if case.scale {
            gemm = gemm.scale(self.scale.slice());
        }
        if case.bias {
            gemm = gemm.bias(self.bias.slice());
        }
        if case.residual.is_some() {
            gemm = gemm.residual(self.residual.view());
        }
        if let Some([kc, mc, nc]) = case.blocking {
            gemm = gemm.blocking(Blocking { kc, mc, nc });
        }
        gemm
    }
}

/// The twin in f64, and then the extras that it leaves out.
fn reference<T: Real>(case: &Case, operands: &Operands<T, T>) -> Result<Vec<f64>, String> {
    let &Case { m, n, k, .. } = case;
    let [a, b] = [widen(&operands.a), widen(&operands.b)];
    let mut c = widen(&operands.c);
    let a = MatRef::new(&a, m, k).map_err(unexpected)?;
    let b = MatRef::new(&b, k, n).map_err(unexpected)?;
    let [alpha, beta] = factors::<T>(case);
    naive::gemm(alpha, a, b, beta, MatMut::new(&mut c, m, n).map_err(unexpected)?);
    for (at, c) in c.iter_mut().enumerate() {
        let j = at % n;
        *c *= if case.scale { operands.scale[j].to_f64() } else { 1.0 };
        *c += if case.bias { operands.bias[j].to_f64() } else { 0.0 };
        *c += if case.residual.is_some() { operands.residual[at].to_f64() } else { 0.0 };
    }
    let mut result = vec![0.0; m * n];
    naive::activate(case.activation, &c, &mut result);
    Ok(result)
}

/// The factors as the operation gets them.
fn factors<T: Real>(case: &Case) -> [f64; 2] {
    [case.alpha, case.beta].map(|x| T::from_f64(x).to_f64())
}

/// How far a correct element `(i, j)` may be from the reference `want`.
///
/// Beside the roundings of its sum, a product a*b meets one by each of alpha, scale, bias and residual;
/// beta * C meets no more. The activation multiplies the error by its Lipschitz constant and adds its
/// own ulps.
fn bound<T: Real>(
    case: &Case,
    operands: &Operands<T, T>,
    rounding: Rounding,
    [i, j]: [usize; 2],
    want: f64,
) -> f64 {
    let &Case { n, k, .. } = case;
    let [alpha, beta] = factors::<T>(case);
    let scale = if case.scale { operands.scale[j].to_f64() } else { 1.0 };
    let [mut all, mut scaled, mut before_alpha] = [Magnitude::default(); 3];
    let (mut largest, mut moderate, mut vanishes) = ([0.0_f64; 2], true, false);
    for p in 0..k {
        let factors = [operands.a[i * k + p], operands.b[p * n + j]].map(|x| x.to_f64());
        moderate &= factors.into_iter().all(is_moderate);
        vanishes |= factors.iter().any(|x| x.is_infinite())
            && factors.iter().any(|x| x.abs() < f64::from(f32::MIN_POSITIVE));
        largest = [0, 1].map(|side| largest[side].max(factors[side].abs()));
        let product = factors[0] * factors[1];
        before_alpha.add(product);
        scaled.add(alpha * product);
        all.add(scale * alpha * product);
    }
    if beta != 0.0 {
        let old = beta * operands.c[i * n + j].to_f64();
        scaled.add(old);
        all.add(scale * old);
    }
    if case.bias {
        all.add(operands.bias[j].to_f64());
    }
    if case.residual.is_some() {
        all.add(operands.residual[i * n + j].to_f64());
    }
    let extras = [case.scale, case.residual.is_some()].map(usize::from).iter().sum::<usize>();
    if vanishes && rounding.tiny_vanishes {
        return f64::INFINITY;
    }
    let in_sum = if moderate { rounding.times } else { rounding.times.max(rounding.at_extremes) };
    let roundings = in_sum + 2.0 + extras as f64;
    // What overflows before a small factor has overflowed; what underflows before it is scaled.
    let lost = rounding.underflow + limited_product(rounding.of_largest, largest);
    let in_sums = (lost + 2.0 * T::LEAST) * alpha.abs();
    let underflow = (in_sums + 2.0 * T::LEAST) * scale.abs();
    let before = all.bound::<T>(roundings) + underflow;
    let before = limited::<T>(scaled.total(), limited::<T>(before_alpha.total(), before));
    lipschitz(case.activation) * before + forward_bound::<T>(case.activation, want)
}

/// `factor` times both magnitudes; where one is infinite nothing of it is lost.
fn limited_product(factor: f64, [a, b]: [f64; 2]) -> f64 {
    if factor == 0.0 || !a.is_finite() || !b.is_finite() { 0.0 } else { factor * a * b }
}
