//! Activations, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Activate, ActivateBackward, Activation, Exec, Isa, naive};

use crate::compare::{expect, gamma, ulp};
use crate::data::{Rng, Values, size};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// All activations; those with a parameter with one that is exact in every type, one that is not and one
/// that leaves the output ambiguous.
pub const ALL: [Activation; 14] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Softplus,
    Activation::Elu { alpha: 1.0 },
    Activation::Elu { alpha: 0.3 },
    Activation::Elu { alpha: -0.5 },
    Activation::LeakyRelu { slope: 0.125 },
    Activation::LeakyRelu { slope: 0.01 },
    Activation::LeakyRelu { slope: -1.5 },
];

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
    let (f, shift) = (case.f, case.shift);
    let x: Vec<T> = case.x.fill(case.len, rng);
    let y = one_result(isa, shift, |exec, shift| forward(f, &x, exec, shift))?;
    let mut want = vec![0.0; case.len];
    naive::activate(f, &widen(&x), &mut want);
    for i in 0..case.len {
        expect("y", (i, x[i]), y[i], want[i], forward_bound::<T>(f, want[i]))?;
    }

    let dy: Vec<T> = case.dy.fill(case.len, rng);
    check_backward(isa, case, Saved::Input(&x), &dy)?;
    // Outputs the function can have, as rounded by the twin: no error of the forward pass.
    let mut y: Vec<T> = vec![T::ZERO; case.len];
    naive::activate(f, &x, &mut y);
    if f.needs_input() {
        let mut dx = vec![T::ZERO; case.len];
        return match ActivateBackward::new(f, &y, &dy, &mut dx) {
            Ok(_) => Err(format!("{f:?} takes its output for its input")),
            Err(_) => Ok(()),
        };
    }
    check_backward(isa, case, Saved::Output(&y), &dy)
}

/// What is there of the forward pass.
#[derive(Clone, Copy)]
enum Saved<'a, T> {
    Input(&'a [T]),
    Output(&'a [T]),
}

fn check_backward<T: Real>(
    isa: Isa,
    case: &Case,
    saved: Saved<'_, T>,
    dy: &[T],
) -> Result<(), String> {
    let f = case.f;
    let (Saved::Input(values) | Saved::Output(values)) = saved;
    let dx = one_result(isa, case.shift, |exec, shift| backward(f, saved, dy, exec, shift))?;
    let (mut want, mut slopes) = (vec![0.0; case.len], vec![0.0; case.len]);
    let twin = match saved {
        Saved::Input(_) => naive::activate_backward_from_input,
        Saved::Output(_) => naive::activate_backward,
    };
    twin(f, &widen(values), &widen(dy), &mut want);
    twin(f, &widen(values), &vec![1.0; case.len], &mut slopes);
    for i in 0..case.len {
        let (value, slope) = (values[i].to_f64(), slopes[i]);
        let off = match saved {
            Saved::Input(_) => off_by_input::<T>(f, value, slope),
            Saved::Output(_) => off_by_output::<T>(f, value, slope),
        };
        let bound = backward_bound::<T>(dy[i].to_f64(), slope, off);
        expect("dx", (i, values[i], dy[i]), dx[i], want[i], bound)?;
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
    saved: Saved<'_, T>,
    dy: &[T],
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let (Saved::Input(values) | Saved::Output(values)) = saved;
    let (values, dy) = (Field::vector(shift, values), Field::vector(shift / 2, dy));
    let mut dx = Field::output_vector(shift / 3, dy.slice().len());
    let new = match saved {
        Saved::Input(_) => ActivateBackward::from_input,
        Saved::Output(_) => ActivateBackward::new,
    };
    let op = new(f, values.slice(), dy.slice(), dx.slice_mut());
    op.and_then(|op| op.run(exec)).map_err(unexpected)?;
    dx.intact("dx").map(|()| dx.values())
}

/// The claimed ulps of the function where its value is y, and those of the twin.
pub fn forward_bound<T: Real>(f: Activation, y: f64) -> f64 {
    // The tails below 0 of the two forms of GELU. The twin's erfc and e^z get an argument that was rounded
    // once or five times, which counts as often as its exponent is large: e^-z >= |y| / |x| and |x| < z, so
    // that z is below this.
    let z = if y < 0.0 { 2.0 + 1.5 * (-(-y).ln()).max(0.0) } else { 1.0 };
    let (ulps, twin) = match f {
        Activation::Sigmoid | Activation::Tanh => (2.0, 1.0),
        Activation::Softplus => (2.0, 2.0),
        Activation::Silu => (4.0, 3.0),
        Activation::Gelu => (6.0, 4.0 + 4.0 * z),
        Activation::GeluTanh if y < 0.0 => (4.0 + 5.0 * z, 4.0 + 8.0 * z),
        Activation::GeluTanh => (4.0, 6.0),
        // The alpha and the product beside e^x - 1; the slope and the product.
        Activation::Elu { .. } if y != 0.0 => (4.0, 2.0),
        Activation::LeakyRelu { .. } if y != 0.0 => (2.0, 2.0),
        _ => return 0.0,
    };
    // The twin's factor of x may be subnormal where the product hardly is: x is above -760 then.
    (ulps + twin * T::REFERENCE_ULPS) * ulp::<T>(y) + 760.0 * T::REFERENCE_ULPS * T::LEAST
}

/// By how much an activation can enlarge an error of its input.
pub fn lipschitz(f: Activation) -> f64 {
    match f {
        Activation::Sigmoid => 0.25,
        // Their slopes at √2, and near 2.4.
        Activation::Gelu | Activation::GeluTanh => 1.13,
        Activation::Silu => 1.1,
        Activation::Elu { alpha: parameter } | Activation::LeakyRelu { slope: parameter } => {
            parameter.abs().max(1.0)
        }
        _ => 1.0,
    }
}

/// How far the derivative at x may be off, by its roundings and those of its parts.
fn off_by_input<T: Real>(f: Activation, x: f64, slope: f64) -> f64 {
    let w = x.abs().min(1e3);
    // What lies below -w: of the logistic and the normal distribution, and the density of the latter.
    let below = 1.0 / (1.0 + w.exp());
    let density = (-0.5 * w * w).exp() * 0.4;
    // Those that count what is not normal as 0.
    let flush = 20.0 * (1.0 + w) * T::MIN_POSITIVE.to_f64();
    match f {
        // y (1 - y) with 2 ulp of y.
        Activation::Sigmoid => gamma::<T>(8.0) * (1.0 - below) + T::LEAST,
        // 1 - y y likewise.
        Activation::Tanh => gamma::<T>(12.0) + T::LEAST,
        // s - w s (1 - s) below 0: five roundings each of s and of 1 - s, three more of the rest.
        Activation::Silu => gamma::<T>(10.0) * (below * (1.0 + w) + slope.abs()) + flush,
        // The same of z, which rounds five times itself, and its slope.
        Activation::GeluTanh => {
            let z = 1.6 * (w + 0.0448 * w * w * w);
            let rise = 1.6 * (w + 0.1342 * w * w * w);
            let below = (-z).exp();
            let twin = gamma::<T>(12.0) * below * (1.0 + rise) * (1.0 + z);
            twin + gamma::<T>(12.0) * slope.abs() + flush
        }
        // Eleven roundings of the polynomial, the quotient and the power, three of the rest; the power of
        // the twin rounds w w.
        Activation::Gelu => {
            let twin = f64::EPSILON * (1.0 + w * w) * density * (1.0 + w);
            gamma::<T>(14.0) * (density * (2.0 + w) + slope.abs()) + twin + flush
        }
        // Two ulp of a sigmoid.
        Activation::Softplus => gamma::<T>(5.0) * slope.abs() + 2.0 * T::LEAST,
        // An ulp of e^x, alpha and a product.
        Activation::Elu { .. } if x <= 0.0 => gamma::<T>(5.0) * slope.abs() + 2.0 * T::LEAST,
        Activation::LeakyRelu { .. } if x <= 0.0 => gamma::<T>(1.0) * slope.abs(),
        _ => 0.0,
    }
}

/// The same from the output y.
fn off_by_output<T: Real>(f: Activation, y: f64, slope: f64) -> f64 {
    match f {
        Activation::Sigmoid => gamma::<T>(2.0) * slope.abs() + T::LEAST,
        // Without fusion y y is rounded, which the subtraction does not shrink.
        Activation::Tanh => gamma::<T>(2.0) * (y * y + slope.abs()) + T::LEAST,
        // Two ulp of e^-y - 1.
        Activation::Softplus => gamma::<T>(5.0) * slope.abs() + 2.0 * T::LEAST,
        // alpha and the sum.
        Activation::Elu { alpha } if y <= 0.0 => gamma::<T>(2.0) * (alpha.abs() + slope.abs()),
        Activation::LeakyRelu { .. } if y <= 0.0 => gamma::<T>(1.0) * slope.abs(),
        _ => 0.0,
    }
}

/// A derivative that is off by `off` times dy, one more rounding.
fn backward_bound<T: Real>(dy: f64, slope: f64, off: f64) -> f64 {
    if off == 0.0 || !slope.is_finite() || dy.is_nan() {
        return 0.0;
    }
    if dy.is_infinite() {
        // The sign, and whether it is 0, is not certain of a derivative that may as well be 0.
        return if slope.abs() <= 2.0 * off { f64::INFINITY } else { 0.0 };
    }
    dy.abs() * (off + gamma::<T>(1.0) * slope.abs()) * (1.0 + gamma::<T>(1.0)) + T::LEAST
}
