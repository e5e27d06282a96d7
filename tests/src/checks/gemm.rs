//! Matrix multiplication, of floats and of halves.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{
    Activation, Blocking, Exec, Gemm, Isa, MatMut, MatRef, PackedB, bf16, f16, naive,
};

use super::activation::{ALL, forward_bound, lipschitz};
use crate::compare::{Magnitude, expect, limited, same_bits};
use crate::data::{Rng, Values, size};
use crate::field::{Field, Layout};
use crate::laws::{one_result, unexpected};
use crate::multiplied::{Multiplied, Rounding};
use crate::real::{Real, widen};

/// Factors that matter: the special-cased ones, signs, and one that rounds.
const FACTORS: [f64; 6] = [1.0, 0.0, -1.0, 0.5, 0.3, -2.7];

/// One product.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Rows of A and C.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 70))]
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
    /// Whether a bias is added.
    pub bias: bool,
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
            bias: false,
            activation: Activation::Identity,
            blocking: None,
            shift: 0,
            seed: 1,
        }
    }
}

/// The operands of a case.
struct Operands<T, E> {
    a: Vec<E>,
    b: Vec<E>,
    c: Vec<T>,
    bias: Vec<T>,
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
            bias: case.values[2].fill(n, &mut stream(3)),
        }
    }
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32, f32>(isa, case)?;
    check_as::<f64, f64>(isa, case)
}

/// Checks `bf16` and `f16`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check_halves(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32, bf16>(isa, case).map_err(|finding| format!("bf16: {finding}"))?;
    check_as::<f32, f16>(isa, case).map_err(|finding| format!("f16: {finding}"))
}

fn check_as<T: Real, E: Multiplied<T>>(isa: Isa, case: &Case) -> Result<(), String> {
    let operands = Operands::<T, E>::new(case);
    let got = one_result(isa, case.shift, |exec, shift| multiply(case, &operands, exec, shift))?;
    batch_and_packing_do_not_show(isa, case, &operands, &got)?;
    let seen = |values: &[E]| -> Vec<T> { values.iter().map(|x| x.seen_on(isa)).collect() };
    let exact =
        Operands { a: seen(&operands.a), b: seen(&operands.b), c: operands.c, bias: operands.bias };
    let want = reference(case, &exact)?;
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let place = [at / case.n, at % case.n];
        let bound = bound(case, &exact, E::rounding(isa, case.k), place, want);
        expect("c", place, *got, want, bound)?;
    }
    Ok(())
}

fn multiply<T: Real, E: Multiplied<T>>(
    case: &Case,
    operands: &Operands<T, E>,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let &Case { m, n, k, .. } = case;
    let [a, b, c] = case.layouts.map(|layout| layout.shifted(shift));
    let a = Field::new(a, [m, k], &operands.a);
    let b = Field::new(b, [k, n], &operands.b);
    let mut c = Field::new(c.apart(), [m, n], &operands.c);
    let bias = Field::vector(shift, &operands.bias);
    let gemm = Gemm::new(a.view(), b.view()).map_err(unexpected)?;
    configured(case, gemm, bias.slice()).run(c.view_mut(), exec).map_err(unexpected)?;
    c.intact("c").map(|()| c.values())
}

fn configured<'a, T: Real, E: Multiplied<T>>(
    case: &Case,
    gemm: Gemm<'a, T, E>,
    bias: &'a [T],
) -> Gemm<'a, T, E> {
    let [alpha, beta] = [case.alpha, case.beta].map(T::from_f64);
    let mut gemm = gemm.alpha(alpha).beta(beta).activation(case.activation);
    if case.bias {
        gemm = gemm.bias(bias);
    }
    if let Some([kc, mc, nc]) = case.blocking {
        gemm = gemm.blocking(Blocking { kc, mc, nc });
    }
    gemm
}

/// Rows from `first` on, alone and with B packed beforehand, have the bits they have among all.
/// Forced blocks are left out: packed panels come with blocks of their own.
fn batch_and_packing_do_not_show<T: Real, E: Multiplied<T>>(
    isa: Isa,
    case: &Case,
    operands: &Operands<T, E>,
    all: &[T],
) -> Result<(), String> {
    let &Case { m, n, k, .. } = case;
    if m == 0 || case.blocking.is_some() {
        return Ok(());
    }
    let first = Rng::new(case.seed, 4).below(m);
    let a = Field::new(case.layouts[0], [m, k], &operands.a);
    let b = Field::new(case.layouts[1], [k, n], &operands.b);
    let packed = PackedB::for_isa(b.view(), isa).map_err(unexpected)?;
    let rows = a.view().split_rows(first).1;
    for (what, gemm) in [
        ("rows in a smaller batch", Gemm::new(rows, b.view())),
        ("rows with packed columns", Gemm::with_packed(rows, &packed)),
    ] {
        let old = &operands.c[first * n..];
        let mut c = Field::new(case.layouts[2].apart(), [m - first, n], old);
        configured(case, gemm.map_err(unexpected)?, &operands.bias)
            .run(c.view_mut(), Exec::serial().isa(isa))
            .map_err(unexpected)?;
        c.intact(what)?;
        same_bits(what, &c.values(), &all[first * n..])?;
    }
    Ok(())
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
    if case.bias {
        let bias = operands.bias.iter().cycle();
        c.iter_mut().zip(bias).for_each(|(c, bias)| *c += bias.to_f64());
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
/// Beside the roundings of its sum, a product a*b meets one by alpha and one by the bias; beta * C
/// meets no more. The activation multiplies the error by its Lipschitz constant and adds its own
/// ulps.
fn bound<T: Real>(
    case: &Case,
    operands: &Operands<T, T>,
    rounding: Rounding,
    [i, j]: [usize; 2],
    want: f64,
) -> f64 {
    let &Case { n, k, .. } = case;
    let [alpha, beta] = factors::<T>(case);
    let (mut magnitude, mut before_alpha) = (Magnitude::default(), Magnitude::default());
    for p in 0..k {
        let product = operands.a[i * k + p].to_f64() * operands.b[p * n + j].to_f64();
        before_alpha.add(product);
        magnitude.add(alpha * product);
    }
    if beta != 0.0 {
        magnitude.add(beta * operands.c[i * n + j].to_f64());
    }
    if case.bias {
        magnitude.add(operands.bias[j].to_f64());
    }
    let roundings = rounding.times + 2.0;
    // What overflows before a small alpha has overflowed; what underflows before it is scaled.
    let underflow = (rounding.underflow + 2.0 * T::LEAST) * alpha.abs();
    let before = limited::<T>(before_alpha.total(), magnitude.bound::<T>(roundings) + underflow);
    lipschitz(case.activation) * before + forward_bound::<T>(case.activation, want)
}
