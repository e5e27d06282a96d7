//! Elementary functions of vectors.

use tilewise_kernels::{Exp, Float, Ln, naive};

use super::{LENGTHS, counts};
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// exp and ln.
pub fn cases<T: Float>() -> Vec<Case> {
    LENGTHS.into_iter().flat_map(|len| [exp::<T>(len), ln::<T>(len)]).collect()
}

fn exp<T: Float>(len: usize) -> Case {
    Case::new(format!("exp/{}/{len}", T::NAME), Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, -20.0, 20.0)],
            len,
            2.0 * T::EPSILON.to_f64(),
            |inputs, y, exec| Exp::new(&inputs[0], y)?.run(exec),
            |inputs, y| naive::exp(&inputs[0], y),
        )
    })
    .counting(counts::exp::<T>() * len)
}

fn ln<T: Float>(len: usize) -> Case {
    Case::new(format!("ln/{}/{len}", T::NAME), Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, 1e-3, 1e3)],
            len,
            2.0 * T::EPSILON.to_f64(),
            |inputs, y, exec| Ln::new(&inputs[0], y)?.run(exec),
            |inputs, y| naive::ln(&inputs[0], y),
        )
    })
    .counting(counts::ln::<T>() * len)
}
