//! The stated error bounds of the elementary functions in `f64`, sampled, against the same functions
//! in double-double arithmetic (two `f64` per number, some 100 bits). Run with `--nocapture` to see
//! the largest errors.

use std::ops::{Add, Div, Mul, Sub};

use tilewise_kernels::*;

/// The unevaluated sum of two `f64`, the second below half an ULP of the first.
#[derive(Clone, Copy, PartialEq)]
struct Dd(f64, f64);

impl Dd {
    /// ln 2.
    const LN_2: Self = Self(std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

    fn of(x: f64) -> Self {
        Self(x, 0.0)
    }

    /// a + b without error.
    fn sum(a: f64, b: f64) -> Self {
        let s = a + b;
        let t = s - a;
        Self(s, (a - (s - t)) + (b - t))
    }

    fn neg(self) -> Self {
        Self(-self.0, -self.1)
    }

    /// e^x - 1 for |x| < 1/2, relatively exact.
    fn exp_m1_small(self) -> Self {
        let mut sum = Self::of(0.0);
        for k in (1..=30).rev() {
            // x/1 (1 + x/2 (1 + x/3 (…)))
            sum = (sum + Self::of(1.0)) * self / Self::of(f64::from(k));
        }
        sum
    }

    fn exp(self) -> Self {
        let n = (self.0 / std::f64::consts::LN_2).round();
        let r = self - Self::LN_2 * Self::of(n);
        let power = r.exp_m1_small() + Self::of(1.0);
        // In two steps: 2^n alone may overflow.
        let (half, rest) = (2f64.powi(n as i32 / 2), 2f64.powi(n as i32 - n as i32 / 2));
        Self(power.0 * half * rest, power.1 * half * rest)
    }

    fn ln(x: f64) -> Self {
        let f = x - 1.0;
        if f.abs() < 1.0 / 1024.0 {
            let f = Self::of(f);
            let mut sum = Self::of(0.0);
            for k in (1..=14).rev() {
                sum = (Self::of(1.0) / Self::of(f64::from(k)) - sum) * f;
            }
            return sum;
        }
        // One Newton step from the f64 logarithm.
        let guess = x.ln();
        let d = Self::of(guess).neg().exp() * Self::of(x) - Self::of(1.0);
        Self::of(guess) + d - d * d * Self::of(0.5)
    }

    fn sigmoid(x: f64) -> Self {
        let decay = Self::of(-x.abs()).exp();
        let top = if x < 0.0 { decay } else { Self::of(1.0) };
        top / (Self::of(1.0) + decay)
    }

    fn tanh(x: f64) -> Self {
        let twice = Self::of(2.0 * x);
        let m = if x.abs() < 0.2 { twice.exp_m1_small() } else { twice.exp() - Self::of(1.0) };
        m / (m + Self::of(2.0))
    }
}

impl Add for Dd {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        let s = Self::sum(self.0, b.0);
        let t = Self::sum(self.1, b.1);
        let s = Self::sum(s.0, s.1 + t.0);
        Self::sum(s.0, s.1 + t.1)
    }
}

impl Sub for Dd {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self.add(b.neg())
    }
}

impl Mul for Dd {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let p = self.0 * b.0;
        let e = self.0.mul_add(b.0, -p);
        Self::sum(p, e + (self.0 * b.1 + self.1 * b.0))
    }
}

impl Div for Dd {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let first = self.0 / b.0;
        let rest = self - b * Self::of(first);
        let second = rest.0 / b.0;
        let rest = rest - b * Self::of(second);
        Self::sum(first, second) + Self::of(rest.0 / b.0)
    }
}

/// The distance of `got` from `exact` in units of the last place of `exact`, a normal number.
fn ulps(got: f64, exact: Dd) -> f64 {
    let exponent = ((exact.0.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    ((got - exact.0) - exact.1).abs() / 2f64.powi(exponent - 52)
}

struct Function {
    name: &'static str,
    bound: f64,
    exact: fn(f64) -> Dd,
    run: fn(&[f64], &mut [f64], Exec),
    /// Arguments: uniform between these, and of every magnitude up to the larger one.
    range: [f64; 2],
}

const FUNCTIONS: [Function; 4] = [
    Function {
        name: "exp",
        bound: 1.0,
        exact: |x| Dd::of(x).exp(),
        run: |x, y, exec| Exp::new(x, y).unwrap().run(exec).unwrap(),
        range: [-670.0, 709.0],
    },
    Function {
        name: "ln",
        bound: 1.0,
        exact: Dd::ln,
        run: |x, y, exec| Ln::new(x, y).unwrap().run(exec).unwrap(),
        range: [0.0, 4.0],
    },
    Function {
        name: "sigmoid",
        bound: 2.0,
        exact: Dd::sigmoid,
        run: |x, y, exec| Activate::new(Activation::Sigmoid, x, y).unwrap().run(exec).unwrap(),
        range: [-40.0, 40.0],
    },
    Function {
        name: "tanh",
        bound: 2.0,
        exact: Dd::tanh,
        run: |x, y, exec| Activate::new(Activation::Tanh, x, y).unwrap().run(exec).unwrap(),
        range: [-4.0, 22.0],
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
            let errors = y.iter().zip(&exact).map(|(&got, &exact)| ulps(got, exact));
            let (worst, at) =
                errors.zip(&x).fold((0.0, 0.0), |a, (e, &x)| if e > a.0 { (e, x) } else { a });
            println!("{:8} {isa:8} {worst:.4} ULP at {at:e}", function.name);
            assert!(worst <= function.bound, "{} on {isa}: {worst} at {at:e}", function.name);
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
        let mut y = [9.0; 6];
        let x = [0.0, -0.0, -1.0, f64::NAN, infinity, 1.0];
        Ln::new(&x, &mut y).unwrap().run(exec).unwrap();
        assert_eq!([y[0], y[1], y[4], y[5]], [-infinity, -infinity, infinity, 0.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
