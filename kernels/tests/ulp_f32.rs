//! The stated error bounds of the elementary functions in `f32`, against `f64` functions whose own
//! error is some 2^-29 of an `f32` ULP.
//!
//! The sampled test always runs. The exhaustive one covers all 2^32 inputs on every path and prints
//! the table of `docs/numerics.md`:
//! `cargo test --release -p tilewise-kernels --test ulp_f32 -- --ignored --nocapture`

use tilewise_kernels::*;

/// Names of functions, with commas between, to which the exhaustive test keeps.
const ONLY_VARIABLE: &str = "TILEWISE_ULP_ONLY";

const CHUNK: usize = 1 << 14;

struct Function {
    name: &'static str,
    /// In ULP of the exact value, at an argument.
    bound: fn(f64) -> f64,
    exact: fn(f64) -> f64,
    run: fn(&[f32], &mut [f32], Exec),
}

fn activate(f: Activation, x: &[f32], y: &mut [f32], exec: Exec) {
    Activate::new(f, x, y).unwrap().run(exec).unwrap();
}

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

/// `x * factor` with the limit 0 where the factor has vanished.
fn times(x: f64, factor: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { x * factor }
}

/// Twice the argument of the tangent in the tanh form of GELU.
fn gelu_tanh_argument(x: f64) -> f64 {
    1.595_769_121_605_730_7 * (x + 0.044715 * x * x * x)
}

const FUNCTIONS: [Function; 12] = [
    Function {
        name: "exp",
        bound: |_| 1.0,
        exact: f64::exp,
        run: |x, y, exec| Exp::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "ln",
        bound: |_| 1.0,
        exact: f64::ln,
        run: |x, y, exec| Ln::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "sigmoid",
        bound: |_| 2.0,
        exact: sigmoid,
        run: |x, y, exec| activate(Activation::Sigmoid, x, y, exec),
    },
    Function {
        name: "tanh",
        bound: |_| 2.0,
        exact: f64::tanh,
        run: |x, y, exec| activate(Activation::Tanh, x, y, exec),
    },
    Function {
        name: "expm1",
        bound: |_| 2.0,
        exact: f64::exp_m1,
        run: |x, y, exec| Expm1::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "log1p",
        bound: |_| 2.0,
        exact: f64::ln_1p,
        run: |x, y, exec| Log1p::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "erf",
        bound: |_| 2.0,
        exact: libm::erf,
        run: |x, y, exec| Erf::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "rsqrt",
        bound: |_| 2.0,
        exact: |x| 1.0 / x.sqrt(),
        run: |x, y, exec| Rsqrt::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "softplus",
        bound: |_| 2.0,
        exact: |x| if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() },
        run: |x, y, exec| activate(Activation::Softplus, x, y, exec),
    },
    Function {
        name: "silu",
        bound: |_| 4.0,
        exact: |x| times(x, sigmoid(x)),
        run: |x, y, exec| activate(Activation::Silu, x, y, exec),
    },
    Function {
        name: "gelu",
        bound: |_| 6.0,
        exact: |x| times(x, 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)),
        run: |x, y, exec| activate(Activation::Gelu, x, y, exec),
    },
    Function {
        name: "gelu tanh",
        // Nothing but 0 where the argument is infinite.
        bound: |x| 4.0 + if x < -1.0 { 5.0 * gelu_tanh_argument(x).abs().min(1e3) } else { 0.0 },
        exact: |x| times(x, sigmoid(gelu_tanh_argument(x))),
        run: |x, y, exec| activate(Activation::GeluTanh, x, y, exec),
    },
];

/// The distance of `got` from `exact` in units of the last place of `exact` as an `f32`; infinite
/// where only one of them is NaN. An infinite `got` counts as 2^128, the value beyond the largest.
fn ulps(got: f32, exact: f64) -> f64 {
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    const BEYOND: f64 = 2.0 * (1u128 << 127) as f64;
    let exact = exact.clamp(-BEYOND, BEYOND);
    let got = f64::from(got).clamp(-BEYOND, BEYOND);
    let exponent = ((exact.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    let exponent = exponent.clamp(-126, 127) - 23;
    let inverse_ulp = f64::from_bits(((1023 - exponent) as u64) << 52);
    (got - exact).abs() * inverse_ulp
}

/// The largest error of one path as a share of its bound, and where it is.
#[derive(Clone, Copy, Default)]
struct Worst {
    share: f64,
    ulps: f64,
    at: f32,
}

impl Worst {
    fn or(self, other: Self) -> Self {
        if other.share > self.share { other } else { self }
    }
}

/// The worst error of every path over the inputs `first + i * step`, `i < count`.
fn scan(function: &Function, paths: &[Isa], [first, step, count]: [u64; 3]) -> Vec<Worst> {
    let mut worst = vec![Worst::default(); paths.len()];
    let (mut x, mut y, mut want) = (vec![0f32; CHUNK], vec![0f32; CHUNK], vec![0f64; CHUNK]);
    for chunk in (0..count).step_by(CHUNK) {
        let len = CHUNK.min((count - chunk) as usize);
        for i in 0..len {
            x[i] = f32::from_bits((first + (chunk + i as u64) * step) as u32);
            want[i] = (function.exact)(f64::from(x[i]));
        }
        for (&isa, worst) in paths.iter().zip(&mut worst) {
            (function.run)(&x[..len], &mut y[..len], Exec::serial().isa(isa));
            for i in 0..len {
                let (ulps, at) = (ulps(y[i], want[i]), x[i]);
                *worst = worst.or(Worst { share: ulps / (function.bound)(at.into()), ulps, at });
            }
        }
    }
    worst
}

#[track_caller]
fn report(function: &Function, paths: &[Isa], worst: &[Worst]) {
    let name = function.name;
    for (isa, Worst { share, ulps, at }) in paths.iter().zip(worst) {
        println!("{name:9} {isa:8} {ulps:.4} ULP at {at:e}, {share:.3} of the bound");
    }
    for (isa, Worst { share, ulps, at }) in paths.iter().zip(worst) {
        assert!(*share <= 1.0, "{name} on {isa}: {ulps} ULP at {at:e}");
    }
}

#[test]
fn sampled_inputs_are_within_the_bounds() {
    let paths = available().unwrap();
    for function in &FUNCTIONS {
        // A step without small factors visits every exponent and all kinds of fractions.
        let worst = scan(function, paths, [0, 10_007, (1 << 32) / 10_007]);
        report(function, paths, &worst);
    }
}

#[test]
fn special_values() {
    let infinity = f32::INFINITY;
    for &isa in available().unwrap() {
        let of = |function: &Function, x: f32| {
            let mut y = [9.0];
            (function.run)(&[x], &mut y, Exec::serial().isa(isa));
            y[0]
        };
        let [exp, ln, sigmoid, tanh, expm1, log1p, erf, rsqrt, softplus, rest @ ..] = &FUNCTIONS;
        assert_eq!(of(exp, -infinity), 0.0);
        assert_eq!([of(exp, 0.0), of(exp, infinity)], [1.0, infinity]);
        assert_eq!([of(ln, 0.0), of(ln, -0.0)], [-infinity; 2]);
        assert_eq!([of(ln, 1.0), of(ln, infinity)], [0.0, infinity]);
        assert_eq!([of(sigmoid, -infinity), of(sigmoid, infinity)], [0.0, 1.0]);
        assert_eq!([of(tanh, -infinity), of(tanh, infinity)], [-1.0, 1.0]);
        assert_eq!([of(expm1, -infinity), of(expm1, infinity)], [-1.0, infinity]);
        assert_eq!([of(log1p, -1.0), of(log1p, infinity)], [-infinity, infinity]);
        assert_eq!([of(erf, -infinity), of(erf, infinity)], [-1.0, 1.0]);
        assert_eq!([0.0, -0.0, infinity].map(|x| of(rsqrt, x)), [infinity, -infinity, 0.0]);
        assert_eq!([of(softplus, -infinity), of(softplus, infinity)], [0.0, infinity]);
        // SiLU and both forms of GELU, whose limit below is -0.
        for function in rest {
            assert_eq!([-infinity, 0.0, infinity].map(|x| of(function, x)), [0.0, 0.0, infinity]);
            assert!([-infinity, -1e30].iter().all(|&x| of(function, x).is_sign_negative()));
        }
        for function in [tanh, expm1, log1p, erf].into_iter().chain(rest) {
            assert!(of(function, -0.0).is_sign_negative(), "{}", function.name);
            assert!(of(function, 0.0).is_sign_positive(), "{}", function.name);
            assert_eq!([0.0, -0.0].map(|x| of(function, x)), [0.0; 2]);
        }
        for x in [-1.0, -1e-45, -infinity] {
            assert!(of(ln, x).is_nan() && of(rsqrt, x).is_nan());
        }
        assert!([-1.5, -infinity].iter().all(|&x| of(log1p, x).is_nan()));
        assert!(FUNCTIONS.iter().all(|function| of(function, f32::NAN).is_nan()));
    }
}

#[test]
#[ignore = "minutes for each function: all 2^32 inputs on every path"]
fn exhaustive_inputs_are_within_the_bounds() {
    let paths = available().unwrap();
    let half = 1 << 31;
    // One function, or some, where that is all that changed.
    let chosen = std::env::var(ONLY_VARIABLE).ok();
    let chosen = |function: &&Function| {
        chosen.as_ref().is_none_or(|names| names.split(',').any(|name| name == function.name))
    };
    for function in FUNCTIONS.iter().filter(chosen) {
        let worst = std::thread::scope(|scope| {
            let halves =
                [0, half].map(|first| scope.spawn(move || scan(function, paths, [first, 1, half])));
            halves
                .map(|half| half.join().expect("a scan does not panic"))
                .into_iter()
                .reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.or(b)).collect())
        });
        report(function, paths, &worst.expect("two halves"));
    }
}
