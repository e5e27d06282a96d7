//! Elementary functions along slices.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Erf, Exec, Exp, Expm1, Isa, Ln, Log1p, Rsqrt, naive};

use crate::compare::{expect, ulp};
use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// The claimed error of e^x.
pub const EXP_ULPS: f64 = 1.0;
/// The claimed error of ln x.
pub const LN_ULPS: f64 = 1.0;

/// One call of each function.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of elements.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 150))]
    pub len: usize,
    /// The kind of x.
    pub x: Values,
    /// A factor of x: 30 reaches the limits of `f32`, 300 those of `f64`.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1.0, 0.01, 30.0, 300.0]).copied())]
    pub scale: f64,
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
    let x: Vec<f64> = case.x.fill(case.len, &mut Rng::new(case.seed, 0));
    let x: Vec<T> = x.iter().map(|x| T::from_f64(x * case.scale)).collect();
    let magnitudes: Vec<T> = x.iter().map(|x| x.abs()).collect();
    for function in functions::<T>() {
        function.check(isa, &x, case.shift)?;
        function.check(isa, &magnitudes, case.shift)?;
    }
    Ok(())
}

/// A function, its twin and its claim.
pub struct Function<T> {
    name: &'static str,
    ulps: f64,
    run: fn(&[T], &mut [T], Exec) -> tilewise_kernels::Result<()>,
    twin: fn(&[f64], &mut [f64]),
}

/// All functions.
pub fn functions<T: Real>() -> [Function<T>; 6] {
    let of = |name, ulps, run, twin| Function { name, ulps, run, twin };
    [
        of("exp", EXP_ULPS, |x, y, exec| Exp::new(x, y)?.run(exec), naive::exp),
        of("expm1", 2.0, |x, y, exec| Expm1::new(x, y)?.run(exec), naive::expm1),
        of("ln", LN_ULPS, |x, y, exec| Ln::new(x, y)?.run(exec), naive::ln),
        of("log1p", 2.0, |x, y, exec| Log1p::new(x, y)?.run(exec), naive::log1p),
        of("erf", 2.0, |x, y, exec| Erf::new(x, y)?.run(exec), naive::erf),
        of("rsqrt", 2.0, |x, y, exec| Rsqrt::new(x, y)?.run(exec), naive::rsqrt),
    ]
}

impl<T: Real> Function<T> {
    /// Checks it at the given arguments: within the claimed ulps of the value.
    ///
    /// # Errors
    /// What differs, where and by how much.
    pub fn check(&self, isa: Isa, x: &[T], shift: usize) -> Result<(), String> {
        let got = one_result(isa, shift, |exec, shift| along(self.run, x, exec, shift))?;
        let mut want = vec![0.0; x.len()];
        (self.twin)(&widen(x), &mut want);
        let what = format!("{} at {isa}", self.name);
        for i in 0..x.len() {
            let bound = (self.ulps + T::REFERENCE_ULPS) * ulp::<T>(want[i]);
            expect(&what, (i, x[i]), got[i], want[i], bound)?;
        }
        Ok(())
    }
}

fn along<T: Real>(
    run: impl Fn(&[T], &mut [T], Exec) -> tilewise_kernels::Result<()>,
    x: &[T],
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let x = Field::vector(shift, x);
    let mut y = Field::output_vector(shift / 2, x.slice().len());
    run(x.slice(), y.slice_mut(), exec).map_err(unexpected)?;
    y.intact("y").map(|()| y.values())
}
