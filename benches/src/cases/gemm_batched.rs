//! Many matrix products of one shape in one call.

use tilewise_kernels::{Gemm, MatMut, MatRef, Result, naive};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};
use crate::peers::{self, Element};

/// Products, rows, columns, depth: small blocks, heads of attention, and the smallest worth a call.
const SHAPES: [[usize; 4]; 4] =
    [[64, 16, 16, 16], [64, 32, 32, 32], [96, 64, 64, 64], [1024, 8, 8, 8]];

/// One case per shape; every product has operands of its own.
pub fn cases<T: Element>() -> Vec<Case> {
    SHAPES.into_iter().map(case::<T>).collect()
}

fn case<T: Element>(shape: [usize; 4]) -> Case {
    let [count, m, n, k] = shape;
    let id = format!("gemm_batched/{}/{count}x{m}x{n}x{k}", T::NAME);
    let work = Work::Flops((2 * count * m * n * k) as u64);
    Case::new(id, work, move || Batch::<T>::new(shape))
        .moving(count * (m * k + k * n + m * n) * size_of::<T>())
}

struct Batch<T> {
    shape: [usize; 4],
    a: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
}

impl<T: Element> Batch<T> {
    fn new(shape: [usize; 4]) -> Self {
        let [count, m, n, k] = shape;
        let mut random = Random::new(1);
        Self {
            shape,
            a: random.uniform(count * m * k, -1.0, 1.0),
            b: random.uniform(count * k * n, -1.0, 1.0),
            c: vec![T::ZERO; count * m * n],
        }
    }

    fn multiply(&mut self, by: Implementation) -> Result<()> {
        let [count, m, n, k] = self.shape;
        if let Some(peer) = by.peer() {
            peers::multiply_batch(peer, self.shape, [&self.a, &self.b], &mut self.c, by.threads);
            return Ok(());
        }
        let (a, b) = (MatRef::new(&self.a, m, k)?, MatRef::new(&self.b, k, n)?);
        let c = MatMut::new(&mut self.c, m, n)?;
        match by.exec() {
            Some(exec) => Gemm::new(a, b)?.batched(count, [m * k, k * n])?.run(c, m * n, exec)?,
            None => {
                naive::batched_gemm(count, T::ONE, (a, m * k), (b, k * n), T::ZERO, (c, m * n));
            }
        }
        Ok(())
    }
}

impl<T: Element> Workload for Batch<T> {
    fn run(&mut self, by: Implementation) {
        self.multiply(by).expect("valid arguments");
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        append(&self.c, &mut all);
        all
    }

    /// Sums of k products of size 1.
    fn tolerance(&self) -> f64 {
        self.shape[3] as f64 * T::EPSILON.to_f64()
    }
}
