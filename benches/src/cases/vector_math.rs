//! Elementary functions of vectors.

use tilewise_kernels::{Erf, Exec, Exp, Expm1, Float, Ln, Log1p, Result, Rsqrt, naive};

use super::{LENGTHS, counts};
use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// A function with its twin.
#[derive(Clone, Copy)]
struct Function<T> {
    name: &'static str,
    /// Arguments lie between these.
    range: [f64; 2],
    /// Operations per element.
    flops: usize,
    run: fn(&[T], &mut [T], Exec) -> Result<()>,
    twin: fn(&[T], &mut [T]),
}

/// All functions.
pub fn cases<T: Float>() -> Vec<Case> {
    let [exp, ln] = [counts::exp::<T>(), counts::ln::<T>()];
    let of = |name, range, flops, run, twin| Function::<T> { name, range, flops, run, twin };
    let functions = [
        of("exp", [-20.0, 20.0], exp, |x, y, exec| Exp::new(x, y)?.run(exec), naive::exp),
        of("ln", [1e-3, 1e3], ln, |x, y, exec| Ln::new(x, y)?.run(exec), naive::ln),
        // What is taken off and put back around them.
        of("expm1", [-3.0, 3.0], exp + 2, |x, y, exec| Expm1::new(x, y)?.run(exec), naive::expm1),
        of("log1p", [-0.9, 9.0], ln + 2, |x, y, exec| Log1p::new(x, y)?.run(exec), naive::log1p),
        of(
            "erf",
            [-4.0, 4.0],
            counts::erf::<T>(),
            |x, y, exec| Erf::new(x, y)?.run(exec),
            naive::erf,
        ),
        of("rsqrt", [1e-3, 1e3], 2, |x, y, exec| Rsqrt::new(x, y)?.run(exec), naive::rsqrt),
    ];
    LENGTHS.into_iter().flat_map(|len| functions.map(|function| case(function, len))).collect()
}

fn case<T: Float>(function: Function<T>, len: usize) -> Case {
    let Function { name, range: [low, high], flops, run, twin } = function;
    Case::new(format!("{name}/{}/{len}", T::NAME), Work::values::<T>(2 * len), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(len, low, high)],
            len,
            2.0 * T::EPSILON.to_f64(),
            move |inputs, y, exec| run(&inputs[0], y, exec),
            move |inputs, y| twin(&inputs[0], y),
        )
    })
    .counting(flops * len)
}
