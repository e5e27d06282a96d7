//! The stated error bounds of the elementary functions in `f64`, sampled, against the same functions
//! in double-double arithmetic (two `f64` per number, some 100 bits). Run with `--nocapture` to see
//! the largest errors.

mod dd;

use dd::Dd;
use tilewise_kernels::*;

/// The distance of `got` from `exact` in units of the last place of `exact`, a normal number.
fn ulps(got: f64, exact: Dd) -> f64 {
    let exponent = ((exact.0.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    ((got - exact.0) - exact.1).abs() / 2f64.powi(exponent - 52)
}

struct Function {
    name: &'static str,
    /// In ULP of the exact value, at an argument.
    bound: fn(f64) -> f64,
    exact: fn(f64) -> Dd,
    run: fn(&[f64], &mut [f64], Exec),
    /// Arguments: uniform between these, and of every magnitude up to the larger one.
    range: [f64; 2],
}

fn activate(f: Activation, x: &[f64], y: &mut [f64], exec: Exec) {
    Activate::new(f, x, y).unwrap().run(exec).unwrap();
}

const FUNCTIONS: [Function; 12] = [
    Function {
        name: "exp",
        bound: |_| 1.0,
        exact: |x| Dd::of(x).exp(),
        run: |x, y, exec| Exp::new(x, y).unwrap().run(exec).unwrap(),
        range: [-670.0, 709.0],
    },
    Function {
        name: "ln",
        bound: |_| 1.0,
        exact: Dd::ln,
        run: |x, y, exec| Ln::new(x, y).unwrap().run(exec).unwrap(),
        range: [0.0, 4.0],
    },
    Function {
        name: "sigmoid",
        bound: |_| 2.0,
        exact: |x| Dd::of(x).sigmoid(),
        run: |x, y, exec| activate(Activation::Sigmoid, x, y, exec),
        range: [-40.0, 40.0],
    },
    Function {
        name: "tanh",
        bound: |_| 2.0,
        exact: Dd::tanh,
        run: |x, y, exec| activate(Activation::Tanh, x, y, exec),
        range: [-4.0, 22.0],
    },
    Function {
        name: "expm1",
        bound: |_| 2.0,
        exact: Dd::expm1,
        run: |x, y, exec| Expm1::new(x, y).unwrap().run(exec).unwrap(),
        range: [-4.0, 4.0],
    },
    Function {
        name: "log1p",
        bound: |_| 2.0,
        exact: |x| Dd::of(x).ln_1p(),
        run: |x, y, exec| Log1p::new(x, y).unwrap().run(exec).unwrap(),
        range: [-0.999, 4.0],
    },
    Function {
        name: "erf",
        bound: |_| 2.0,
        exact: |x| Dd::of(x).erf(),
        run: |x, y, exec| Erf::new(x, y).unwrap().run(exec).unwrap(),
        range: [-6.0, 3.0],
    },
    Function {
        name: "rsqrt",
        bound: |_| 2.0,
        exact: Dd::rsqrt,
        run: |x, y, exec| Rsqrt::new(x, y).unwrap().run(exec).unwrap(),
        range: [0.0, 4.0],
    },
    Function {
        name: "softplus",
        bound: |_| 2.0,
        exact: Dd::softplus,
        run: |x, y, exec| activate(Activation::Softplus, x, y, exec),
        range: [-60.0, 40.0],
    },
    Function {
        name: "silu",
        bound: |_| 4.0,
        exact: |x| Dd::of(x) * Dd::of(x).sigmoid(),
        run: |x, y, exec| activate(Activation::Silu, x, y, exec),
        range: [-600.0, 40.0],
    },
    Function {
        name: "gelu",
        bound: |_| 6.0,
        exact: Dd::gelu,
        run: |x, y, exec| activate(Activation::Gelu, x, y, exec),
        range: [-34.0, 8.0],
    },
    Function {
        name: "gelu tanh",
        bound: |x| 4.0 + if x < -1.0 { 5.0 * -Dd::gelu_tanh_argument(x).0 } else { 0.0 },
        exact: |x| Dd::of(x) * Dd::gelu_tanh_argument(x).sigmoid(),
        run: |x, y, exec| activate(Activation::GeluTanh, x, y, exec),
        range: [-20.0, 8.0],
    },
];

/// Half of the arguments uniform in the range, half log-uniform below its end.
fn arguments([low, high]: [f64; 2], count: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut of = |i: usize| match i % 2 {
        0 => low + (high - low) * uniform(),
        _ => high * (-100.0 * uniform() * uniform()).exp2() * if low < 0.0 { -1.0 } else { 1.0 },
    };
    (0..count).map(&mut of).filter(|&x| x >= low).collect()
}

#[test]
fn sampled_inputs_are_within_the_bounds() {
    for function in &FUNCTIONS {
        let x = arguments(function.range, 50_000);
        let exact: Vec<Dd> = x.iter().map(|&x| (function.exact)(x)).collect();
        for &isa in available().unwrap() {
            let mut y = vec![0.0; x.len()];
            (function.run)(&x, &mut y, Exec::serial().isa(isa));
            let mut worst = [0.0; 3];
            for ((&x, &got), &exact) in x.iter().zip(&y).zip(&exact) {
                let error = ulps(got, exact);
                let share = error / (function.bound)(x);
                if share > worst[0] {
                    worst = [share, error, x];
                }
            }
            let (name, [share, worst, at]) = (function.name, worst);
            println!("{name:9} {isa:8} {worst:.4} ULP at {at:e}, {share:.3} of the bound");
            assert!(share <= 1.0, "{name} on {isa}: {worst} ULP at {at:e}");
        }
    }
}

#[test]
fn ln_is_within_its_bound_at_every_magnitude() {
    for &isa in available().unwrap() {
        for exponent in (-1074..1024).step_by(3) {
            let x = (1..8).map(|k| f64::from(k) / 7.0 * 2f64.powi(exponent)).collect::<Vec<_>>();
            let mut y = [0.0; 7];
            Ln::new(&x, &mut y).unwrap().run(Exec::serial().isa(isa)).unwrap();
            for (x, y) in x.into_iter().zip(y).filter(|(x, _)| *x > 0.0) {
                // The f64 logarithm of the standard library errs by half an ULP itself.
                let tolerance = x.ln().abs() * f64::EPSILON;
                assert!((y - x.ln()).abs() <= tolerance, "{isa}: ln {x:e} = {y}");
            }
        }
    }
}

#[test]
fn exp_underflows_gradually_and_overflows_to_infinity() {
    for &isa in available().unwrap() {
        let x: Vec<f64> = (0..600).map(|i| -750.0 + f64::from(i) / 12.0).collect();
        let mut y = vec![9.0; x.len()];
        Exp::new(&x, &mut y).unwrap().run(Exec::serial().isa(isa)).unwrap();
        for (x, y) in x.iter().zip(y) {
            // Consecutive positive values have consecutive bit patterns.
            let steps = y.to_bits().abs_diff(x.exp().to_bits());
            assert!(steps <= 1, "{isa}: exp {x} = {y:e}");
        }
        let x = [f64::NEG_INFINITY, f64::INFINITY, 709.79, 0.0, f64::MAX, f64::MIN];
        let mut y = [9.0; 6];
        Exp::new(&x, &mut y).unwrap().run(Exec::serial().isa(isa)).unwrap();
        assert_eq!(y, [0.0, f64::INFINITY, f64::INFINITY, 1.0, f64::INFINITY, 0.0]);
    }
}

#[test]
fn special_values() {
    for &isa in available().unwrap() {
        let exec = Exec::serial().isa(isa);
        let of = |f: Activation, x: f64| {
            let mut y = [9.0];
            Activate::new(f, &[x], &mut y).unwrap().run(exec).unwrap();
            y[0]
        };
        let infinity = f64::INFINITY;
        assert_eq!([-infinity, infinity].map(|x| of(Activation::Sigmoid, x)), [0.0, 1.0]);
        assert_eq!([-infinity, infinity].map(|x| of(Activation::Tanh, x)), [-1.0, 1.0]);
        assert!(of(Activation::Tanh, -0.0).is_sign_negative());
        assert!(of(Activation::Tanh, f64::NAN).is_nan());
        assert!(of(Activation::Sigmoid, f64::NAN).is_nan());
        assert_eq!([-infinity, infinity].map(|x| of(Activation::Softplus, x)), [0.0, infinity]);
        for f in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            assert_eq!([-infinity, 0.0, infinity].map(|x| of(f, x)), [0.0, 0.0, infinity], "{f:?}");
            assert!(
                [-infinity, -1e300, -0.0].iter().all(|&x| of(f, x).is_sign_negative()),
                "{f:?}"
            );
            assert!(of(f, f64::NAN).is_nan(), "{f:?}");
        }
        let mut y = [9.0; 6];
        let x = [0.0, -0.0, -1.0, f64::NAN, infinity, 1.0];
        Ln::new(&x, &mut y).unwrap().run(exec).unwrap();
        assert_eq!([y[0], y[1], y[4], y[5]], [-infinity, -infinity, infinity, 0.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
