//! How far products at every precision are from those in `f64`. Prints the table of `docs/numerics.md`.

use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, Precision, available_for_halves};

const PRECISIONS: [Precision; 4] =
    [Precision::F32, Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];
/// Rows and columns.
const SIDE: usize = 64;

struct Random(u64);

impl Random {
    /// Between 0 and 1.
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The value at a place `lane`, `step` of an operand.
type Draw = fn(&mut Random, usize, usize) -> f64;

const KINDS: [(&str, Draw); 4] = [
    ("normal", |random, _, _| random.normal()),
    ("uniform, 0 to 1", |random, _, _| random.uniform()),
    ("normal times 2^-20 to 2^20", |random, _, _| {
        random.normal() * (40.0 * random.uniform() - 20.0).round().exp2()
    }),
    // A large step cancels against the next one, for each lane another one.
    ("ill-scaled", |random, lane, step| {
        let scale = if (step + lane) % 64 < 2 { 1e4 } else { 1.0 };
        random.normal() * scale * if step % 2 == 0 { 1.0 } else { -1.0 }
    }),
];

/// Roots of the mean squares of errors over that of the result, of every precision.
fn errors(k: usize, draw: Draw) -> [f64; 4] {
    let mut random = Random(k as u64);
    let mut fill = || -> Vec<f32> {
        (0..SIDE * k).map(|at| draw(&mut random, at / k, at % k) as f32).collect()
    };
    let (a, b) = (fill(), fill());
    let exact: Vec<f64> = (0..SIDE * SIDE)
        .map(|at| {
            let (row, column) = (&a[at / SIDE * k..][..k], &b[at % SIDE * k..][..k]);
            row.iter().zip(column).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
        })
        .collect();
    PRECISIONS.map(|precision| {
        let mut c = vec![f32::NAN; SIDE * SIDE];
        let (a, b) = (MatRef::new(&a, SIDE, k).unwrap(), MatRef::new(&b, SIDE, k).unwrap().t());
        let product = Gemm::new(a, b).unwrap().precision(precision).batch_invariant(true);
        product.run(MatMut::new(&mut c, SIDE, SIDE).unwrap(), Exec::serial()).unwrap();
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
        let errors = squares(&mut c.iter().zip(&exact).map(|(&c, x)| f64::from(c) - x));
        (errors / squares(&mut exact.iter().copied())).sqrt()
    })
}

/// Whether the machine has what splits `f32`; without, all but the last column are those of `f32`.
fn has_tiles() -> bool {
    available_for_halves().unwrap().iter().any(|isa| isa.name() == "amx")
}

#[test]
fn six_products_are_nearer_than_plain_ones() {
    for (name, draw) in KINDS {
        for k in [256, 2048] {
            let [plain, six, three, rounded] = errors(k, draw);
            assert!(!has_tiles() || six < plain, "{name}, k {k}: {six:e} is not below {plain:e}");
            assert!(three < 1e-4 && rounded < 1e-1, "{name}, k {k}: {three:e}, {rounded:e}");
        }
    }
}

#[test]
#[ignore = "prints the table of the documentation"]
fn table() {
    println!("| values | k | f32 | bf16x6 | bf16x3 | bf16 |\n|---|---|---|---|---|---|");
    for (name, draw) in KINDS {
        for k in [64, 256, 1024, 4096, 16384] {
            let [plain, six, three, rounded] = errors(k, draw);
            println!("| {name} | {k} | {plain:.1e} | {six:.1e} | {three:.1e} | {rounded:.1e} |");
        }
    }
}
