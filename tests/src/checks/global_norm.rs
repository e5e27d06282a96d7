//! The norm of many tensors together.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{GlobalNorm, Isa, naive};

use crate::compare::{expect, gamma};
use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// Tensors of one kind of values.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// The number of elements of each, around vectors and blocks.
    #[arbitrary(with = |u: &mut Unstructured<'_>| {
        let len = |u: &mut Unstructured<'_>| match u.ratio(1u8, 3)? {
            true => u.int_in_range(1000..=2100),
            false => size(u, 140),
        };
        Ok([len(u)?, len(u)?, len(u)?, len(u)?])
    })]
    pub lens: [usize; 4],
    /// The kind of the values.
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
/// What differs, and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let draw = |i: usize| case.values.fill(case.lens[i], &mut Rng::new(case.seed, i as u64));
    let tensors: [Vec<T>; 4] = [0, 1, 2, 3].map(draw);
    let got = one_result(isa, case.shift, |exec, shift| {
        let fields = tensors.each_ref().map(|values| Field::vector(shift, values));
        let slices = fields.each_ref().map(Field::slice);
        Ok(vec![GlobalNorm::new(&slices).run(exec).map_err(unexpected)?])
    })?[0];
    let wide = tensors.each_ref().map(|values| widen(values));
    let want = naive::global_norm(&wide.each_ref().map(|values| &values[..]));
    // The sum of a block errs by 140 roundings, the scale of its elements, which is exact but for
    // subnormal ones, and the squares below the normal range by two more. Half of it is left behind
    // the root. The twin divides, squares and adds one element after the other.
    let count = case.lens.iter().sum::<usize>() as f64;
    let bound = gamma::<T>(143.0) / 2.0 + gamma::<f64>(count + 6.0);
    expect("norm", T::NAME, got, want, if want.is_finite() { bound * want } else { 0.0 })
}
