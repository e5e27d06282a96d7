//! Products in AMX tiles, bit for bit against a model of the instruction.

use tilewise_kernels::{Exec, Gemm, MatMut, MatRef, available_for_halves, bf16};

/// A value as the tiles see it: subnormal ones are zero, going in and coming out.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// TDPBF16PS for one element: a chain of fused multiply-adds over the even steps and one over the odd
/// ones, then their sum, then `c` plus that; every result rounded to the nearest.
fn tdpbf16ps(c: f32, a: &[bf16], b: &[bf16]) -> f32 {
    let mut sums = [0.0f32; 2];
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        let [a, b] = [a, b].map(|x| flushed(x.to_f32()));
        sums[step % 2] = flushed(a.mul_add(b, sums[step % 2]));
    }
    flushed(c + flushed(sums[0] + sums[1]))
}

struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }

    /// Any sign and fraction, and an exponent of `exponents`.
    fn draw(&mut self, exponents: std::ops::Range<u64>) -> bf16 {
        let exponent = exponents.start + self.bits() % (exponents.end - exponents.start);
        let (sign, fraction) = (self.bits() % 2, self.bits() % 128);
        bf16::from_bits((sign << 15 | exponent << 7 | fraction) as u16)
    }
}

#[test]
fn products_are_those_of_the_instruction() {
    let Some(&isa) = available_for_halves().unwrap().iter().find(|isa| isa.name() == "amx") else {
        return;
    };
    // Near one; where products underflow; subnormal ones; where sums overflow; NaN and infinities.
    let ranges = [120..135, 55..75, 0..3, 185..200, 0..256];
    let mut random = Random(7);
    for (m, n, k) in [(16, 64, 32), (1, 16, 96), (33, 130, 70), (5, 7, 1), (20, 100, 1000)] {
        for range in &ranges {
            let mut fill =
                |count| -> Vec<bf16> { (0..count).map(|_| random.draw(range.clone())).collect() };
            let (a, b) = (fill(m * k), fill(k * n));
            let mut c = vec![f32::NAN; m * n];
            // Columns of B are contiguous.
            let (left, right) =
                (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, n, k).unwrap().t());
            Gemm::new(left, right)
                .unwrap()
                .batch_invariant(true)
                .run(MatMut::new(&mut c, m, n).unwrap(), Exec::serial().isa(isa))
                .unwrap();
            for (at, &got) in c.iter().enumerate() {
                let (row, column) = (&a[at / n * k..][..k], &b[at % n * k..][..k]);
                let steps = row.chunks(32).zip(column.chunks(32));
                let want = steps.fold(0.0, |c, (a, b)| tdpbf16ps(c, a, b));
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{m}x{n}x{k} {range:?} element {at}: {got:e}, model {want:e}");
            }
        }
    }
}
