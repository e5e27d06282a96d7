//! Dropout, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Dropout, Exec, Isa, naive};

use crate::compare::{expect, gamma};
use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// Rates at the ends, and where they meet the levels of the draws.
pub const RATES: [f64; 8] = [0.0, 1.0, 0.5, 0.1, 0.999, 1e-10, 2.4e-10, 1.0 - 1e-12];

/// Positions around which keys and counters turn over.
pub const FIRST: [u64; 4] = [0, 1_000_003, (1 << 32) - 21, u64::MAX - 20];

/// One call in each direction.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of elements.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 150))]
    pub len: usize,
    /// The probability that an element is dropped.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&RATES).copied())]
    pub rate: f64,
    /// The kind of x.
    pub x: Values,
    /// Which mask.
    pub stream: u64,
    /// The position of the first element.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&FIRST).copied())]
    pub first: u64,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the mask and the values.
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
    let &Case { len, rate, stream, first, seed, shift, .. } = case;
    let x: Vec<T> = case.x.fill(len, &mut Rng::new(seed, 0));
    let dropout = Dropout::new(rate, seed).map_err(unexpected)?.stream(stream).first(first);
    let mut want = vec![0.0; len];
    naive::dropout(rate, [seed, stream, first], &widen(&x), &mut want);
    for (what, call) in
        [("y", Dropout::forward as fn(&_, &[T], &mut [T], Exec) -> _), ("dx", Dropout::backward)]
    {
        let got = one_result(isa, shift, |exec, shift| {
            let x = Field::vector(shift, &x);
            let mut y = Field::output_vector(shift / 2, len);
            call(&dropout, x.slice(), y.slice_mut(), exec).map_err(unexpected)?;
            y.intact(what).map(|()| y.values())
        })?;
        for i in 0..len {
            // The factor and the product; what is dropped is exactly 0.
            let off = gamma::<T>(2.0) * want[i].abs() + T::LEAST;
            let bound = if want[i] == 0.0 { 0.0 } else { off };
            let bound = if bound.is_finite() { bound } else { 0.0 };
            expect(what, (i, x[i]), got[i], want[i], bound)?;
        }
    }
    Ok(())
}
