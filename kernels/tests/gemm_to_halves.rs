//! Laws of products whose C is stored in halves: they are products in `f32`, rounded once.

use tilewise_kernels::{
    Activation, Exec, Gemm, MatMut, MatRef, PackedA, PackedB, Par, available_for_halves, bf16, f16,
};

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    })
    .take(count)
    .collect()
}

/// A row-major matrix, or one whose columns are contiguous.
fn view<T>(data: &[T], [rows, cols]: [usize; 2], turned: bool) -> MatRef<'_, T> {
    if turned {
        MatRef::new(data, cols, rows).unwrap().t()
    } else {
        MatRef::new(data, rows, cols).unwrap()
    }
}

/// The tests for one type of halves.
macro_rules! laws_of {
    ($name:ident, $half:ident) => {
        mod $name {
            use super::*;

            fn halves(values: &[f32]) -> Vec<$half> {
                values.iter().map(|&x| $half::from_f32(x)).collect()
            }

            fn bits(values: &[$half]) -> Vec<u16> {
                values.iter().map(|x| x.to_bits()).collect()
            }

            /// Everything that may follow the sums, and both orders of C.
            fn check([m, n, k]: [usize; 3], [b_turned, c_turned]: [bool; 2], beta: f32) {
                let (a, b) = (halves(&values(m * k, 1)), halves(&values(k * n, 2)));
                let old = halves(&values(m * n, 3));
                let [scale, bias] = [4, 5].map(|seed| values(n, seed));
                let residual = values(m * n, 6);
                let (a, b) = (view(&a, [m, k], false), view(&b, [k, n], b_turned));
                let residual = view(&residual, [m, n], !c_turned);
                let gemm = Gemm::new(a, b).unwrap().alpha(0.7).beta(beta).scale(&scale).bias(&bias);
                let gemm = gemm.residual(residual).activation(Activation::Tanh);
                for &isa in available_for_halves().unwrap() {
                    let exec = Exec::serial().isa(isa);
                    // In order of rows of C, as both are compared.
                    let order = |all: &[$half]| -> Vec<$half> {
                        let all = view(all, [m, n], c_turned);
                        (0..m * n).map(|at| all.at(at / n, at % n)).collect()
                    };
                    let mut want: Vec<f32> = order(&old).iter().map(|x| x.to_f32()).collect();
                    let cut = m > 128 || n > 2048;
                    let out = MatMut::new(&mut want, m, n).unwrap();
                    gemm.batch_invariant(cut).run(out, exec).unwrap();
                    for threads in [1, 3] {
                        let mut got = old.clone();
                        if beta == 0.0 {
                            got.fill($half::NAN);
                        }
                        let c = if c_turned {
                            MatMut::new(&mut got, n, m).unwrap().t()
                        } else {
                            MatMut::new(&mut got, m, n).unwrap()
                        };
                        gemm.run_to_halves(c, exec.par(Par::Threads(threads))).unwrap();
                        let same = bits(&order(&got)) == bits(&halves(&want));
                        assert!(same, "{isa} {m}x{n}x{k} {b_turned} {c_turned} {threads}");
                    }
                }
            }

            #[test]
            fn are_those_in_f32_rounded() {
                let shapes = [[1, 1, 1], [3, 70, 40], [128, 33, 90], [129, 50, 70], [5, 2050, 40]];
                for (i, shape) in shapes.into_iter().chain([[300, 2049, 33]]).enumerate() {
                    for turned in [[false, false], [true, false], [false, true]] {
                        check(shape, turned, [0.0, -0.5][i % 2]);
                    }
                }
            }

            #[test]
            fn packed_operands_are_not_cut() {
                let [m, n, k] = [200, 70, 50];
                let (a, b) = (halves(&values(m * k, 1)), halves(&values(k * n, 2)));
                let (a, b) = (view(&a, [m, k], false), view(&b, [k, n], false));
                for &isa in available_for_halves().unwrap() {
                    let exec = Exec::serial().isa(isa);
                    let mut want = vec![0.0; m * n];
                    let gemm = Gemm::new(a, b).unwrap().batch_invariant(true);
                    gemm.run(MatMut::new(&mut want, m, n).unwrap(), exec).unwrap();
                    let left = PackedA::for_isa(a, isa).unwrap();
                    let right = PackedB::for_isa(b, isa).unwrap();
                    for gemm in [
                        Gemm::with_packed(a, &right).unwrap(),
                        Gemm::with_packed_lhs(&left, b).unwrap(),
                        Gemm::with_both_packed(&left, &right).unwrap(),
                    ] {
                        let mut got = vec![$half::NAN; m * n];
                        let c = MatMut::new(&mut got, m, n).unwrap();
                        gemm.run_to_halves(c, exec).unwrap();
                        assert_eq!(bits(&got), bits(&halves(&want)), "{isa}");
                    }
                }
            }

            /// NaN stays NaN, what is too large becomes infinite, and ties go to even.
            #[test]
            fn results_at_the_edges_of_halves() {
                let least = $half::EPSILON.to_f32();
                // One, and half of its last place; the largest value; not a number.
                let a = [1.0, 0.5 * least, $half::MAX.to_f32(), f32::NAN].map($half::from_f32);
                let ones = [$half::ONE; 4];
                let rows = [
                    [a[0], a[1], a[1], a[1]],
                    [a[0], a[1], $half::ZERO, $half::ZERO],
                    [a[2]; 4],
                    [a[3]; 4],
                ];
                let want = [1.0 + 2.0 * least, 1.0, f32::INFINITY, f32::NAN];
                let flat: Vec<$half> = rows.into_iter().flatten().collect();
                for &isa in available_for_halves().unwrap() {
                    let mut got = [$half::ZERO; 4];
                    let gemm = Gemm::new(view(&flat, [4, 4], false), view(&ones, [4, 1], false));
                    let c = MatMut::new(&mut got, 4, 1).unwrap();
                    gemm.unwrap().run_to_halves(c, Exec::serial().isa(isa)).unwrap();
                    for (got, want) in got.iter().zip(want) {
                        let same = got.to_f32() == want || got.is_nan() && want.is_nan();
                        assert!(same, "{isa}: {got}, {want}");
                    }
                }
            }

            #[test]
            fn a_wrong_shape_is_an_error_and_no_rows_are_none() {
                let a = [$half::ONE; 6];
                let gemm = Gemm::new(view(&a, [2, 3], false), view(&a, [3, 2], false)).unwrap();
                let mut c = [$half::NAN; 6];
                let out = MatMut::new(&mut c, 3, 2).unwrap();
                let error = gemm.run_to_halves(out, Exec::default()).unwrap_err();
                assert!(error.to_string().contains("gemm output C"), "{error}");
                assert!(c.iter().all(|x| x.is_nan()));
                let gemm =
                    Gemm::new(view(&a[..0], [0, 3], false), view(&a, [3, 2], false)).unwrap();
                gemm.run_to_halves(MatMut::new(&mut c[..0], 0, 2).unwrap(), Exec::default())
                    .unwrap();
            }
        }
    };
}

laws_of!(of_bf16, bf16);
laws_of!(of_f16, f16);
