//! The rate of multiply-adds.

use std::hint::black_box;

use tilewise_kernels::simd::{Kernel, Simd};
use tilewise_kernels::{Float, Isa};

/// Independent sums: more than latency times units on any CPU, and few enough for 16 registers.
const SUMS: usize = 12;

struct MultiplyAdds {
    steps: usize,
}

impl<T: Float> Kernel<T> for MultiplyAdds {
    /// A value that depends on every step, and the number of operations.
    type Output = (T, f64);

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> (T, f64) {
        // Sums approach 1: numbers stay normal, which keeps the rate that of usual data.
        let half = simd.splat(black_box(T::HALF));
        let mut sums = [simd.splat(T::ONE); SUMS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, half, half);
            }
        }
        let mut total = simd.zero();
        for sum in sums {
            total = simd.add(total, sum);
        }
        (simd.sum_lanes(total), (2 * S::LANES * SUMS * self.steps) as f64)
    }
}

/// One call of a body that does nothing but multiply and add; returns the number of operations.
pub(super) fn flops<T: Float>(isa: Isa) -> impl FnMut() -> f64 {
    move || {
        let (value, count) = isa.run::<T, _>(MultiplyAdds { steps: 20_000 });
        black_box(value);
        count
    }
}
