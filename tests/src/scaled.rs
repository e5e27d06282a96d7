//! How far products are from those in `f64`, on values of several kinds and scales.

use crate::data::Rng;

/// Rows and columns of the products.
pub const SIDE: usize = 64;

/// The value at a lane (row of A, column of B) and step of k.
type Draw = fn(&mut Rng, usize, usize) -> f64;

/// Kinds of values.
pub const KINDS: [(&str, Draw); 4] = [
    ("normal", |random, _, _| random.normal()),
    ("uniform, 0 to 1", |random, _, _| random.unit()),
    ("normal times 2^-20 to 2^20", |random, _, _| {
        random.normal() * (40.0 * random.unit() - 20.0).round().exp2()
    }),
    // A large step cancels against the next one, for each lane another one.
    ("ill-scaled", |random, lane, step| {
        let scale = if (step + lane) % 64 < 2 { 1e4 } else { 1.0 };
        random.normal() * scale * if step % 2 == 0 { 1.0 } else { -1.0 }
    }),
];

/// A product of `SIDE` rows of A and `SIDE` columns of B of `k` steps each.
pub struct Scaled {
    /// A by rows.
    pub a: Vec<f32>,
    /// B by rows.
    pub b: Vec<f32>,
    exact: Vec<f64>,
}

impl Scaled {
    /// Values drawn by `draw`, and their product in `f64`.
    pub fn new(k: usize, draw: Draw) -> Self {
        let mut random = Rng::new(k as u64, 0);
        let mut lanes = || -> Vec<f32> {
            (0..SIDE * k).map(|at| draw(&mut random, at / k, at % k) as f32).collect()
        };
        let (a, columns) = (lanes(), lanes());
        let exact = (0..SIDE * SIDE).map(|at| {
            let (row, column) = (&a[at / SIDE * k..][..k], &columns[at % SIDE * k..][..k]);
            row.iter().zip(column).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
        });
        let exact = exact.collect();
        let b = (0..k * SIDE).map(|at| columns[at % SIDE * k + at / SIDE]).collect();
        Self { a, b, exact }
    }

    /// The root of the mean squared error of a result over that of the exact one.
    pub fn error(&self, c: &[f32]) -> f64 {
        let errors = c.iter().zip(&self.exact).map(|(&c, x)| (f64::from(c) - x).powi(2));
        (errors.sum::<f64>() / self.exact.iter().map(|x| x * x).sum::<f64>()).sqrt()
    }
}
