//! Products of `f32` at every precision are as near to those in `f64` as is said.

use tilewise_kernels::{Exec, Gemm, Isa, MatMut, MatRef, Precision};
use tilewise_tests::isas::each_isa_for_halves;
use tilewise_tests::scaled::{KINDS, SIDE, Scaled};

fn error(isa: Isa, values: &Scaled, k: usize, precision: Precision) -> f64 {
    let mut c = vec![f32::NAN; SIDE * SIDE];
    let (a, b) =
        (MatRef::new(&values.a, SIDE, k).unwrap(), MatRef::new(&values.b, k, SIDE).unwrap());
    let product = Gemm::new(a, b).unwrap().precision(precision).batch_invariant(true);
    let exec = Exec::serial().isa(isa);
    product.run(MatMut::new(&mut c, SIDE, SIDE).unwrap(), exec).unwrap();
    values.error(&c)
}

#[test]
fn six_products_are_nearer_than_plain_ones() {
    for (name, draw) in KINDS {
        for k in [256, 2048, 16384] {
            let values = Scaled::new(k, draw);
            each_isa_for_halves(|isa| {
                let error = |precision| error(isa, &values, k, precision);
                let [plain, six] = [Precision::F32, Precision::Bf16x6].map(error);
                // Where there are no tiles, all but the last are plain.
                let nearer = if isa.name() == "amx" { six < plain } else { six == plain };
                assert!(nearer, "{name}, k {k}, {isa}: {six:e} beside {plain:e}");
                let [three, rounded] = [Precision::Bf16x3, Precision::Bf16].map(error);
                assert!(three < 1e-4 && rounded < 1e-1, "{name}, k {k}: {three:e}, {rounded:e}");
            });
        }
    }
}
