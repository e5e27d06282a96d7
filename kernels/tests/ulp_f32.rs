//! The stated error bounds of the elementary functions in `f32`, against `f64` functions whose own
//! error is some 2^-29 of an `f32` ULP.
//!
//! The sampled test always runs. The exhaustive one covers all 2^32 inputs on every path and prints
//! the table of `docs/numerics.md`:
//! `cargo test --release -p tilewise-kernels --test ulp_f32 -- --ignored --nocapture`

use tilewise_kernels::*;

const CHUNK: usize = 1 << 14;

struct Function {
    name: &'static str,
    bound: f64,
    exact: fn(f64) -> f64,
    run: fn(&[f32], &mut [f32], Exec),
}

const FUNCTIONS: [Function; 4] = [
    Function {
        name: "exp",
        bound: 1.0,
        exact: f64::exp,
        run: |x, y, exec| Exp::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "ln",
        bound: 1.0,
        exact: f64::ln,
        run: |x, y, exec| Ln::new(x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "sigmoid",
        bound: 2.0,
        exact: |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        run: |x, y, exec| Activate::new(Activation::Sigmoid, x, y).unwrap().run(exec).unwrap(),
    },
    Function {
        name: "tanh",
        bound: 2.0,
        exact: f64::tanh,
        run: |x, y, exec| Activate::new(Activation::Tanh, x, y).unwrap().run(exec).unwrap(),
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

/// The largest error of one path and where it is.
#[derive(Clone, Copy, Default)]
struct Worst {
    ulps: f64,
    at: f32,
}

impl Worst {
    fn or(self, other: Self) -> Self {
        if other.ulps > self.ulps { other } else { self }
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
                *worst = worst.or(Worst { ulps: ulps(y[i], want[i]), at: x[i] });
            }
        }
    }
    worst
}

#[track_caller]
fn report(function: &Function, paths: &[Isa], worst: &[Worst]) {
    for (isa, worst) in paths.iter().zip(worst) {
        println!("{:8} {:8} {:.4} ULP at {:e}", function.name, isa, worst.ulps, worst.at);
    }
    for (isa, worst) in paths.iter().zip(worst) {
        let Function { name, bound, .. } = function;
        assert!(worst.ulps <= *bound, "{name} on {isa}: {} ULP at {:e}", worst.ulps, worst.at);
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
        let [exp, ln, sigmoid, tanh] = &FUNCTIONS;
        assert_eq!(of(exp, -infinity), 0.0);
        assert_eq!([of(exp, 0.0), of(exp, infinity)], [1.0, infinity]);
        assert_eq!([of(ln, 0.0), of(ln, -0.0)], [-infinity; 2]);
        assert_eq!([of(ln, 1.0), of(ln, infinity)], [0.0, infinity]);
        assert_eq!([of(sigmoid, -infinity), of(sigmoid, infinity)], [0.0, 1.0]);
        assert_eq!([of(tanh, -infinity), of(tanh, infinity)], [-1.0, 1.0]);
        assert!(of(tanh, -0.0).is_sign_negative());
        for x in [-1.0, -1e-45, -infinity] {
            assert!(of(ln, x).is_nan());
        }
        assert!(FUNCTIONS.iter().all(|function| of(function, f32::NAN).is_nan()));
    }
}

#[test]
#[ignore = "minutes: all 2^32 inputs of four functions on every path"]
fn exhaustive_inputs_are_within_the_bounds() {
    let paths = available().unwrap();
    let half = 1 << 31;
    for function in &FUNCTIONS {
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
