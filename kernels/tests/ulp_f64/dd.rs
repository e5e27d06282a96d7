//! Numbers of twice the precision, and functions of them.

use std::ops::{Add, Div, Mul, Sub};

/// The unevaluated sum of two `f64`, the second below half an ULP of the first.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Dd(pub(crate) f64, pub(crate) f64);

impl Dd {
    /// 2 / √π.
    const TWO_OVER_ROOT_PI: Self =
        Self(std::f64::consts::FRAC_2_SQRT_PI, 1.533_545_961_316_588e-17);
    /// 1 / √2.
    const ROOT_HALF: Self = Self(std::f64::consts::FRAC_1_SQRT_2, -4.833_646_656_726_457e-17);
    /// 1 / √(2π).
    const DENSITY: Self = Self(0.398_942_280_401_432_7, -2.492_327_202_277_73e-17);
    /// 2 √(2/π) and 0.044715.
    const GELU_TANH: [Self; 2] = [
        Self(1.595_769_121_605_730_8, -9.969_308_809_110_92e-17),
        Self(0.044_715, 2.196_021_142_708_559_5e-18),
    ];
    /// ln 2.
    const LN_2: Self = Self(std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

    pub(crate) fn of(x: f64) -> Self {
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

    pub(crate) fn exp(self) -> Self {
        let n = (self.0 / std::f64::consts::LN_2).round();
        let r = self - Self::LN_2 * Self::of(n);
        let power = r.exp_m1_small() + Self::of(1.0);
        // In two steps: 2^n alone may overflow.
        let (half, rest) = (2f64.powi(n as i32 / 2), 2f64.powi(n as i32 - n as i32 / 2));
        Self(power.0 * half * rest, power.1 * half * rest)
    }

    /// e^x - 1.
    pub(crate) fn expm1(x: f64) -> Self {
        let x = Self::of(x);
        if x.0.abs() < 0.3 { x.exp_m1_small() } else { x.exp() - Self::of(1.0) }
    }

    /// ln(1 + f).
    pub(crate) fn ln_1p(self) -> Self {
        if self.0.abs() < 1.0 / 1024.0 {
            let mut sum = Self::of(0.0);
            for k in (1..=14).rev() {
                sum = (Self::of(1.0) / Self::of(f64::from(k)) - sum) * self;
            }
            return sum;
        }
        (self + Self::of(1.0)).ln_near(self.0.ln_1p())
    }

    pub(crate) fn ln(x: f64) -> Self {
        let f = x - 1.0;
        if f.abs() < 1.0 / 1024.0 { Self::of(f).ln_1p() } else { Self::of(x).ln_near(x.ln()) }
    }

    /// One Newton step from the f64 logarithm.
    fn ln_near(self, guess: f64) -> Self {
        let d = Self::of(guess).neg().exp() * self - Self::of(1.0);
        Self::of(guess) + d - d * d * Self::of(0.5)
    }

    /// ln(1 + e^x).
    pub(crate) fn softplus(x: f64) -> Self {
        Self::of(x.max(0.0)) + Self::of(-x.abs()).exp().ln_1p()
    }

    /// 1 / √x.
    pub(crate) fn rsqrt(x: f64) -> Self {
        let guess = Self::of(1.0 / x.sqrt());
        let rest = Self::of(1.0) - Self::of(x) * guess * guess;
        guess + guess * rest * Self::of(0.5)
    }

    pub(crate) fn sigmoid(self) -> Self {
        let decay = if self.0 < 0.0 { self.exp() } else { self.neg().exp() };
        let top = if self.0 < 0.0 { decay } else { Self::of(1.0) };
        top / (Self::of(1.0) + decay)
    }

    pub(crate) fn tanh(x: f64) -> Self {
        let twice = Self::of(2.0 * x);
        let m = if x.abs() < 0.2 { twice.exp_m1_small() } else { twice.exp() - Self::of(1.0) };
        m / (m + Self::of(2.0))
    }

    /// erf x for |x| up to 6, by 2/√π e^(-x²) x (1 + 2x²/3 (1 + 2x²/5 (…))), where nothing cancels.
    pub(crate) fn erf(self) -> Self {
        let square = self * self;
        let mut sum = Self::of(1.0);
        for k in (1..=240).rev() {
            sum = square * sum * Self::of(2.0) / Self::of(f64::from(2 * k + 1)) + Self::of(1.0);
        }
        Self::TWO_OVER_ROOT_PI * square.neg().exp() * self * sum
    }

    /// x Φ(x).
    pub(crate) fn gelu(x: f64) -> Self {
        let x = Self::of(x);
        if x.0 > -6.0 {
            // Cancels 30 of some 100 bits at most.
            let erf = if x.0 > 8.0 { Self::of(1.0) } else { (x * Self::ROOT_HALF).erf() };
            return x * (Self::of(1.0) + erf) * Self::of(0.5);
        }
        // Φ(-w) = φ(w) / (w + 1 / (w + 2 / (w + 3 / …))).
        let w = x.neg();
        let mut fraction = w;
        for k in (1..=200).rev() {
            fraction = w + Self::of(f64::from(k)) / fraction;
        }
        x * Self::DENSITY * (w * w * Self::of(-0.5)).exp() / fraction
    }

    /// z of the tanh form of GELU, which is x σ(z).
    pub(crate) fn gelu_tanh_argument(x: f64) -> Self {
        let x = Self::of(x);
        let [linear, cubic] = Self::GELU_TANH;
        linear * (x + cubic * x * x * x)
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
