//! Laws of matrix products that hold to the last bit, on every path of this machine.

use tilewise_kernels::{
    Activation, Blocking, ColumnMoments, ErrorKind, Exec, Float, Gemm, Isa, MatMut, MatRef,
    PackedA, PackedB, Par, SumsTo, available,
};

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn product(gemm: Gemm<'_, f32>, [m, n]: [usize; 2], isa: Isa, par: Par) -> Vec<f32> {
    let mut c = vec![f32::NAN; m * n];
    let out = MatMut::new(&mut c, m, n).unwrap();
    gemm.run(out, Exec::default().isa(isa).par(par)).unwrap();
    c
}

fn same_bits(left: &[f32], right: &[f32]) -> bool {
    left.iter().map(|x| x.to_bits()).eq(right.iter().map(|x| x.to_bits()))
}

/// K10: a row of a batch-invariant product has the same bits alone and in any batch, and every product
/// has the same bits for any thread count.
#[test]
fn k10_a_row_has_the_same_bits_in_any_batch() {
    let (m, n, k) = (67, 130, 1500);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    let a_view = MatRef::new(&a, m, k).unwrap();
    let layouts = [MatRef::new(&b, k, n).unwrap(), MatRef::new(&b, n, k).unwrap().t()];
    for &isa in available().unwrap() {
        for b_view in layouts {
            let of = |rows: usize, par| {
                let gemm = Gemm::new(a_view.split_rows(rows).0, b_view).unwrap();
                let [any, invariant] = [false, true].map(|wanted| gemm.batch_invariant(wanted));
                [any, invariant].map(|gemm| product(gemm, [rows, n], isa, par))
            };
            let [_, whole] = of(m, Par::Serial);
            for rows in [1, 2, 5, 9, 10, 40, m] {
                let [any, invariant] = of(rows, Par::Serial);
                assert!(same_bits(&whole[..rows * n], &invariant), "{isa}, {rows} rows");
                for threads in [2, 3, 7] {
                    let [any_again, again] = of(rows, Par::Threads(threads));
                    assert!(same_bits(&any, &any_again), "{isa}, {rows} rows, {threads} threads");
                    assert!(same_bits(&invariant, &again), "{isa}, {rows} rows, {threads} threads");
                }
            }
        }
    }
}

/// A matrix whose rows, and one whose columns are contiguous.
fn views<T>(of: &[T], rows: usize, cols: usize) -> [MatRef<'_, T>; 2] {
    [MatRef::new(of, rows, cols).unwrap(), MatRef::new(of, cols, rows).unwrap().t()]
}

/// Products whose tiles pack what they are the first to read, where it lies as panels do, have the bits of
/// those with operands packed before.
fn packs_on_the_way<T: Float + SumsTo<T>>(isa: Isa, [m, n, k]: [usize; 3]) {
    let of = |count, seed| values(count, seed).iter().map(|&x| T::from_f64(x.into())).collect();
    let (a, b): (Vec<T>, Vec<T>) = (of(m * k, 8), of(k * n, 9));
    for (a, b) in views(&a, m, k).into_iter().flat_map(|a| views(&b, k, n).map(|b| (a, b))) {
        let run = |gemm: Gemm<'_, T>| {
            let mut c = vec![T::from_f64(f64::NAN); m * n];
            gemm.run(MatMut::new(&mut c, m, n).unwrap(), Exec::default().isa(isa)).unwrap();
            c
        };
        let packed = (PackedA::for_isa(a, isa).unwrap(), PackedB::for_isa(b, isa).unwrap());
        let before = run(Gemm::with_both_packed(&packed.0, &packed.1).unwrap());
        let gemm = Gemm::new(a, b).unwrap().batch_invariant(true);
        assert!(run(gemm) == before, "{isa} {m}x{n}x{k}");
        for (mc, nc) in [(m, n), (m.div_ceil(2), n.div_ceil(2)), (m.div_ceil(3), 1)] {
            let blocking = Blocking { kc: k, mc, nc };
            assert!(run(gemm.blocking(blocking)) == before, "{isa} {m}x{n}x{k} in {blocking:?}");
        }
    }
}

#[test]
fn tiles_that_pack_on_the_way_change_no_bits() {
    let small = [[9, 48, 1], [10, 49, 7], [18, 64, 12], [40, 97, 33], [50, 300, 200]];
    // Of which one side is far.
    let long = [[20, 9000, 40], [9000, 20, 40]];
    for &isa in available().unwrap() {
        for shape in small.into_iter().chain(long) {
            packs_on_the_way::<f32>(isa, shape);
            packs_on_the_way::<f64>(isa, shape);
        }
    }
}

/// K2: a packed operand changes nothing but the speed of a batch-invariant product.
#[test]
fn k2_a_packed_operand_gives_the_same_bits() {
    for (m, n, k) in [(1, 1, 1), (5, 33, 7), (40, 200, 1100), (9, 48, 0), (3, 0, 4)] {
        let (a, b) = (values(m * k, 3), values(k * n, 4));
        let (bias, a_view) = (values(n, 5), MatRef::new(&a, m, k).unwrap());
        for b_view in [MatRef::new(&b, k, n).unwrap(), MatRef::new(&b, n, k).unwrap().t()] {
            for &isa in available().unwrap() {
                let packed = PackedB::for_isa(b_view, isa).unwrap();
                for par in [Par::Serial, Par::Threads(3)] {
                    let exec = Exec::default().isa(isa).par(par);
                    let run = |gemm: Gemm<'_, f32>| {
                        let mut c = vec![1.0; m * n];
                        let out = MatMut::new(&mut c, m, n).unwrap();
                        let gemm = gemm.beta(0.5).bias(&bias).activation(Activation::Relu);
                        gemm.run(out, exec).unwrap();
                        c
                    };
                    let plain = run(Gemm::new(a_view, b_view).unwrap().batch_invariant(true));
                    let again = run(Gemm::with_packed(a_view, &packed).unwrap());
                    assert!(same_bits(&plain, &again), "{isa} {m}x{n}x{k} {par:?}");
                }
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors_that_name_the_operand() {
    let a = [0.0f32; 6];
    let (left, right) = (MatRef::new(&a, 2, 3).unwrap(), MatRef::new(&a, 2, 3).unwrap());
    let error = Gemm::new(left, right).unwrap_err().to_string();
    assert!(error.contains('B') && error.contains("3 rows") && error.contains("2 x 3"), "{error}");
    let mut c = [7.0f32; 4];
    let gemm = Gemm::new(left, right.t()).unwrap();
    let out = MatMut::new(&mut c[..2], 1, 2).unwrap();
    let error = gemm.run(out, Exec::default()).unwrap_err().to_string();
    assert!(error.contains('C') && error.contains("2 x 2") && error.contains("1 x 2"), "{error}");
    let out = MatMut::new(&mut c, 2, 2).unwrap();
    let error = gemm.bias(&[1.0]).run(out, Exec::default()).unwrap_err().to_string();
    assert!(error.contains("bias"), "{error}");
    assert_eq!(c, [7.0; 4]);
}

#[test]
fn the_plan_tells_which_path_runs() {
    let a = [0.0f32; 64 * 64];
    let view = MatRef::new(&a, 64, 64).unwrap();
    for &isa in available().unwrap() {
        let plan = Gemm::new(view, view).unwrap().plan(Exec::serial().isa(isa)).unwrap();
        assert_eq!(plan.isa(), isa);
        assert_eq!(plan.tasks(), 1);
        assert!(plan.to_string().starts_with(isa.name()), "{plan}");
    }
}

#[test]
fn what_does_not_fit_the_store_is_an_error_that_names_it() {
    let a = [1.0f32; 6];
    let view = MatRef::new(&a, 2, 3).unwrap();
    let gemm = Gemm::new(view, view.t()).unwrap();
    let mut c = [7.0f32; 4];
    for (wrong, what, got) in [
        (gemm.scale(&[1.0]), "gemm scale", "1 elements"),
        (gemm.bias(&[1.0; 3]), "gemm bias", "3 elements"),
        (gemm.residual(view), "gemm residual", "2 x 3"),
    ] {
        let out = MatMut::new(&mut c, 2, 2).unwrap();
        let error = wrong.run(out, Exec::default()).unwrap_err();
        assert_eq!((error.kind(), error.what()), (ErrorKind::Shape, what));
        assert_eq!(error.got(), got);
        let out = MatMut::new(&mut c, 2, 2).unwrap();
        let error = wrong.batched(1, [0; 2]).unwrap().run(out, 0, Exec::default()).unwrap_err();
        assert_eq!(error.what(), what);
    }
    let mut moments = ColumnMoments::new();
    let out = MatMut::new(&mut c[..3], 1, 3).unwrap();
    let error = gemm.run_with_moments(out, &mut moments, Exec::default()).unwrap_err();
    assert_eq!(error.what(), "gemm output C");
    let none = MatRef::new(&a, 0, 3).unwrap();
    let out = MatMut::new(&mut [], 0, 2).unwrap();
    let empty = Gemm::new(none, view.t()).unwrap();
    let error = empty.run_with_moments(out, &mut moments, Exec::default()).unwrap_err();
    assert_eq!(error.what(), "gemm column moments");
    assert_eq!((c, moments.mean().len()), ([7.0; 4], 0));
}

#[test]
fn operands_packed_for_different_paths_are_an_error() {
    let a = [1.0f32; 4];
    let view = MatRef::new(&a, 2, 2).unwrap();
    for &left in available().unwrap() {
        for &right in available().unwrap() {
            let a = PackedA::for_isa(view, left).unwrap();
            let b = PackedB::for_isa(view, right).unwrap();
            let gemm = Gemm::with_both_packed(&a, &b);
            if left == right {
                assert!(gemm.is_ok());
                continue;
            }
            let error = gemm.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Isa);
            let text = error.to_string();
            assert!(text.contains(left.name()) && text.contains(right.name()), "{text}");
        }
    }
}

/// Strides of zero describe matrices larger than any memory.
#[test]
fn sizes_beyond_the_address_space_are_errors() {
    let one = [1.0f32];
    let huge = MatRef::with_strides(&one, [1 << 31, 1 << 32], [0; 2]).unwrap();
    for error in [PackedA::new(huge).unwrap_err(), PackedB::new(huge).unwrap_err()] {
        assert_eq!((error.kind(), error.what()), (ErrorKind::Overflow, "packed matrix"));
    }
    let tall = MatRef::with_strides(&one, [usize::MAX, 1], [0; 2]).unwrap();
    assert_eq!(PackedA::new(tall).unwrap_err().kind(), ErrorKind::Overflow);
    let product = Gemm::new(tall, MatRef::row_vector(&one)).unwrap();
    let mut c = [7.0f32];
    let out = MatMut::new(&mut c, 1, 1).unwrap();
    assert!(product.run(out, Exec::default()).unwrap_err().got().contains("1 x 1"));
    assert_eq!(c, [7.0]);
}

/// K3: a large offset, from a bias here, costs the statistics no precision. With g = 68 u for chains of
/// 65 additions and three roundings, and squares about the pivot that sum to Q <= 18 M2 (the pivot is
/// rounded by less than a standard deviation), a mean is off by g sqrt(Q / m), M2 by 3 g Q.
#[test]
fn k3_moments_do_not_feel_an_offset() {
    let (m, n, k) = (1000, 7, 16);
    let (a, b) = (values(m * k, 5), values(k * n, 6));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    for offset in [0.0, 1e4, 1e6] {
        let (bias, mut moments) = (vec![offset; n], ColumnMoments::new());
        for &isa in available().unwrap() {
            let mut c = vec![0.0; m * n];
            let out = MatMut::new(&mut c, m, n).unwrap();
            let product = Gemm::new(a, b).unwrap().alpha(0.25).bias(&bias);
            product.run_with_moments(out, &mut moments, Exec::default().isa(isa)).unwrap();
            for j in 0..n {
                let column = || c.iter().skip(j).step_by(n).map(|&x| f64::from(x));
                let mean = column().sum::<f64>() / m as f64;
                let m2 = column().map(|x| (x - mean).powi(2)).sum::<f64>();
                let (g, q) = (68.0 * f64::from(f32::EPSILON) / 2.0, 18.0 * m2);
                let off = (moments.mean()[j] - mean).abs();
                assert!(off <= g * (q / m as f64).sqrt(), "{isa}, {offset}: mean off by {off}");
                let off = (moments.m2()[j] - m2).abs();
                assert!(off <= 3.0 * g * q, "{isa}, {offset}: m2 off by {off} of {m2}");
            }
        }
    }
}

/// A row times contiguous columns takes dot products, unless its bits must be those of a larger batch.
#[test]
fn narrow_products_read_contiguous_operands_where_they_lie() {
    let data = vec![1.0_f32; 64 * 512];
    let (row, weights) = (&data[..512], &data);
    let row = MatRef::new(row, 1, 512).unwrap();
    let weights = MatRef::new(weights, 64, 512).unwrap();
    for &isa in available().unwrap() {
        let exec = Exec::serial().isa(isa);
        let product = Gemm::new(row, weights.t()).unwrap();
        let plan = product.plan(exec).unwrap();
        assert!(plan.takes_dot_products() && plan.packs() == [false; 2], "{plan}");
        assert!(plan.to_string().contains("dot products"), "{plan}");
        let plan = product.batch_invariant(true).plan(exec).unwrap();
        assert!(!plan.takes_dot_products(), "{plan}");
        let many = Gemm::new(weights, weights.t()).unwrap().plan(exec).unwrap();
        assert!(!many.takes_dot_products(), "{many}");
    }
}
