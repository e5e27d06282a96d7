//! Matrix products of halves whose C is stored in halves too, `C = A B`, row-major.

use tilewise_kernels::{Gemm, MatMut, MatRef, available_for_halves, bf16, f16, naive};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

/// Rows, columns, depth: a small one, squares, layers of transformers, a C that outweighs both operands.
const SHAPES: [[usize; 3]; 6] = [
    [64, 64, 64],
    [256, 256, 256],
    [1024, 1024, 1024],
    [512, 3072, 768],
    [512, 768, 3072],
    [4096, 4096, 32],
];

/// Above this many multiplications the naive twin is not timed.
const NAIVE_LIMIT: usize = 1 << 21;

/// The cases of a type.
macro_rules! cases_of {
    ($($name:ident of $half:ident;)*) => {$(
        /// One case per shape.
        pub mod $name {
            use super::*;

            /// The cases.
            pub fn cases() -> Vec<Case> {
                SHAPES.into_iter().map(case).collect()
            }

            fn case(shape: [usize; 3]) -> Case {
                let [m, n, k] = shape;
                let id = format!("gemm_to_halves/{}/{m}x{n}x{k}", stringify!($half));
                let bytes = (m * k + k * n + m * n) * 2;
                let work = Work::Flops((2 * m * n * k) as u64);
                let mut case = Case::new(id, work, move || Product::new(shape)).moving(bytes);
                case.paths = available_for_halves;
                case.naive = m * n * k <= NAIVE_LIMIT;
                case
            }

            struct Product {
                shape: [usize; 3],
                a: Vec<$half>,
                b: Vec<$half>,
                c: Vec<$half>,
            }

            impl Product {
                fn new(shape: [usize; 3]) -> Self {
                    let [m, n, k] = shape;
                    let mut random = Random::new(4);
                    // Small multiples of 1/8: every order of sums gives the same ones.
                    let mut fill = |len| random.eighths(len).into_iter().map($half::from_f64);
                    let (a, b) = (fill(m * k).collect(), fill(k * n).collect());
                    Self { shape, a, b, c: vec![$half::ZERO; m * n] }
                }
            }

            impl Workload for Product {
                fn run(&mut self, by: Implementation) {
                    let [m, n, k] = self.shape;
                    let a = MatRef::new(&self.a, m, k).expect("a matrix of this shape");
                    let b = MatRef::new(&self.b, k, n).expect("a matrix of this shape");
                    if let Some(exec) = by.exec() {
                        let c = MatMut::new(&mut self.c, m, n).expect("an output of this shape");
                        let done = Gemm::new(a, b).and_then(|op| op.run_to_halves(c, exec));
                        return done.expect("valid arguments");
                    }
                    let mut wide = vec![0.0_f32; m * n];
                    let c = MatMut::new(&mut wide, m, n).expect("an output of this shape");
                    naive::gemm(1.0, a, b, 0.0, c);
                    for (to, x) in self.c.iter_mut().zip(wide) {
                        *to = $half::from_f32(x);
                    }
                }

                fn outputs(&self) -> Vec<f64> {
                    let mut all = Vec::new();
                    let wide: Vec<f32> = self.c.iter().map(|x| x.to_f32()).collect();
                    append(&wide, &mut all);
                    all
                }

                fn tolerance(&self) -> f64 {
                    0.0
                }
            }
        }
    )*};
}

cases_of! {
    to_bf16 of bf16;
    to_f16 of f16;
}
