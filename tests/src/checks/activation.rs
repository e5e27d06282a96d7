//! Activations, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Activate, ActivateBackward, Activation, Exec, Isa, naive};

use crate::compare::{expect, gamma, ulp};
use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// All activations.
pub const ALL: [Activation; 4] =
    [Activation::Identity, Activation::Relu, Activation::Sigmoid, Activation::Tanh];

/// The claimed error of sigmoid.
const SIGMOID_ULPS: f64 = 2.0;
/// The claimed error of tanh.
const TANH_ULPS: f64 = 2.0;

/// One call, forward and backward.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of elements.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 150))]
    pub len: usize,
    /// Which function.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&ALL).copied())]
    pub f: Activation,
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

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let rng = &mut Rng::new(case.seed, 0);
    let x: Vec<T> = case.x.fill(case.len, rng);
    let y = one_result(isa, case.shift, |exec, shift| forward(case.f, &x, exec, shift))?;
    let mut want = vec![0.0; case.len];
    naive::activate(case.f, &widen(&x), &mut want);
    for i in 0..case.len {
        expect("y", i, y[i], want[i], forward_bound::<T>(case.f, want[i]))?;
    }

    // From outputs the function can have, as rounded by the twin: no error of the forward pass.
    let mut y: Vec<T> = vec![T::ZERO; case.len];
    naive::activate(case.f, &x, &mut y);
    let dy: Vec<T> = case.dy.fill(case.len, rng);
    let dx = one_result(isa, case.shift, |exec, shift| backward(case.f, [&y, &dy], exec, shift))?;
    naive::activate_backward(case.f, &widen(&y), &widen(&dy), &mut want);
    for i in 0..case.len {
        let bound = backward_bound::<T>(case.f, y[i].to_f64(), dy[i].to_f64());
        expect("dx", i, dx[i], want[i], bound)?;
    }
    Ok(())
}

fn forward<T: Real>(f: Activation, x: &[T], exec: Exec, shift: usize) -> Result<Vec<T>, String> {
    let x = Field::vector(shift, x);
    let mut y = Field::output_vector(shift / 2, x.slice().len());
    Activate::new(f, x.slice(), y.slice_mut()).and_then(|op| op.run(exec)).map_err(unexpected)?;
    y.intact("y").map(|()| y.values())
}

fn backward<T: Real>(
    f: Activation,
    [y, dy]: [&[T]; 2],
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let (y, dy) = (Field::vector(shift, y), Field::vector(shift / 2, dy));
    let mut dx = Field::output_vector(shift / 3, dy.slice().len());
    let op = ActivateBackward::new(f, y.slice(), dy.slice(), dx.slice_mut());
    op.and_then(|op| op.run(exec)).map_err(unexpected)?;
    dx.intact("dx").map(|()| dx.values())
}

/// The claimed ulps of the function.
pub fn forward_bound<T: Real>(f: Activation, y: f64) -> f64 {
    let ulps = match f {
        Activation::Sigmoid => SIGMOID_ULPS,
        Activation::Tanh => TANH_ULPS,
        _ => return 0.0,
    };
    (ulps + T::REFERENCE_ULPS) * ulp::<T>(y)
}

/// Sigmoid: dy * (y * (1 - y)), three roundings; an underflow of the inner product is scaled by dy.
/// Tanh: dy * (1 - y * y) without fusion rounds y * y, which the subtraction does not shrink.
fn backward_bound<T: Real>(f: Activation, y: f64, dy: f64) -> f64 {
    if !y.is_finite() || !dy.is_finite() {
        return 0.0;
    }
    let dy = dy.abs();
    match f {
        Activation::Sigmoid => {
            gamma::<T>(3.0) * dy * y.abs() * (1.0 - y).abs() + (dy + 1.0) * T::LEAST
        }
        Activation::Tanh => {
            gamma::<T>(3.0) * dy * (y * y + (1.0 - y * y).abs()) + (dy + 1.0) * T::LEAST
        }
        _ => 0.0,
    }
}
