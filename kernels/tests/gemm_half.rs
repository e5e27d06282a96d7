//! Laws of products of half-precision matrices, on every path of this machine.

use tilewise_kernels::{
    Activation, Blocking, Exec, Gemm, Isa, MatMut, MatRef, PackedB, Par, SumsTo,
    available_for_halves, bf16, f16,
};

fn values(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    })
    .take(count)
}

fn brains(count: usize, seed: u32) -> Vec<bf16> {
    values(count, seed).map(bf16::from_f32).collect()
}

fn smalls(count: usize, seed: u32) -> Vec<f16> {
    values(count, seed).map(f16::from_f32).collect()
}

fn product<E: SumsTo<f32>>(a: MatRef<'_, E>, b: MatRef<'_, E>, exec: Exec) -> Vec<f32> {
    let mut c = vec![f32::NAN; a.rows() * b.cols()];
    let out = MatMut::new(&mut c, a.rows(), b.cols()).unwrap();
    Gemm::new(a, b).unwrap().batch_invariant(true).run(out, exec).unwrap();
    c
}

fn same_bits(left: &[f32], right: &[f32]) -> bool {
    left.iter().map(|x| x.to_bits()).eq(right.iter().map(|x| x.to_bits()))
}

/// K10: a row of the product has the same bits alone, in any batch, and for any thread count.
fn a_row_has_the_same_bits_in_any_batch<E: SumsTo<f32>>(values: fn(usize, u32) -> Vec<E>) {
    let (m, n, k) = (67, 130, 700);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    let a_view = MatRef::new(&a, m, k).unwrap();
    let layouts = [MatRef::new(&b, k, n).unwrap(), MatRef::new(&b, n, k).unwrap().t()];
    for &isa in available_for_halves().unwrap() {
        for b_view in layouts {
            let whole = product(a_view, b_view, Exec::serial().isa(isa));
            for threads in [2, 3, 7] {
                let exec = Exec::default().isa(isa).par(Par::Threads(threads));
                let again = product(a_view, b_view, exec);
                assert!(same_bits(&whole, &again), "{isa}, {threads} threads");
            }
            for rows in [1, 2, 5, 9, 16, 17, 40] {
                let part = product(a_view.split_rows(rows).0, b_view, Exec::serial().isa(isa));
                assert!(same_bits(&whole[..rows * n], &part), "{isa}, {rows} rows");
            }
        }
    }
}

#[test]
fn k10_a_row_has_the_same_bits_in_any_batch() {
    a_row_has_the_same_bits_in_any_batch(brains);
    a_row_has_the_same_bits_in_any_batch(smalls);
}

/// K2: a packed operand changes nothing but the speed.
fn a_packed_operand_gives_the_same_bits<E: SumsTo<f32>>(values: fn(usize, u32) -> Vec<E>) {
    for (m, n, k) in [(1, 1, 1), (5, 33, 7), (40, 200, 1100), (16, 64, 0), (3, 0, 4)] {
        let (a, b) = (values(m * k, 3), values(k * n, 4));
        let bias: Vec<f32> = self::values(n, 5).collect();
        let a_view = MatRef::new(&a, m, k).unwrap();
        for b_view in [MatRef::new(&b, k, n).unwrap(), MatRef::new(&b, n, k).unwrap().t()] {
            for &isa in available_for_halves().unwrap() {
                let packed = PackedB::for_isa(b_view, isa).unwrap();
                for par in [Par::Serial, Par::Threads(3)] {
                    let exec = Exec::default().isa(isa).par(par);
                    let run = |gemm: Gemm<'_, f32, E>| {
                        let mut c = vec![1.0; m * n];
                        let out = MatMut::new(&mut c, m, n).unwrap();
                        let gemm = gemm.beta(0.5).bias(&bias).activation(Activation::Relu);
                        let gemm = gemm.batch_invariant(true);
                        gemm.run(out, exec).unwrap();
                        c
                    };
                    let plain = run(Gemm::new(a_view, b_view).unwrap());
                    let again = run(Gemm::with_packed(a_view, &packed).unwrap());
                    assert!(same_bits(&plain, &again), "{isa} {m}x{n}x{k} {par:?}");
                }
            }
        }
    }
}

#[test]
fn k2_a_packed_operand_gives_the_same_bits() {
    a_packed_operand_gives_the_same_bits(brains);
    a_packed_operand_gives_the_same_bits(smalls);
}

/// Vector paths widen, exactly, and then do what tiles do in `f32`.
#[test]
fn without_tiles_halves_give_the_bits_of_their_values_in_f32() {
    fn check<E: SumsTo<f32>>(values: fn(usize, u32) -> Vec<E>) {
        for (m, n, k) in [(1, 70, 300), (30, 1, 90), (50, 100, 1500), (13, 17, 40)] {
            let (a, b) = (values(m * k, 6), values(n * k, 7));
            let wide = |x: &[E]| -> Vec<f32> { x.iter().map(|x| x.widen()).collect() };
            let (a_wide, b_wide) = (wide(&a), wide(&b));
            for &isa in available_for_halves().unwrap() {
                let exec = Exec::default().isa(isa.without_tiles());
                for turned in [false, true] {
                    let halves = [MatRef::new(&a, m, k).unwrap(), turn(&b, [k, n], turned)];
                    let floats =
                        [MatRef::new(&a_wide, m, k).unwrap(), turn(&b_wide, [k, n], turned)];
                    let got = product(halves[0], halves[1], exec);
                    let want = product(floats[0], floats[1], exec);
                    assert!(same_bits(&got, &want), "{isa} {m}x{n}x{k}");
                }
            }
        }
    }
    check(brains);
    check(smalls);
}

fn turn<E>(data: &[E], [rows, cols]: [usize; 2], turned: bool) -> MatRef<'_, E> {
    if turned {
        MatRef::new(data, cols, rows).unwrap().t()
    } else {
        MatRef::new(data, rows, cols).unwrap()
    }
}

#[test]
fn the_plan_tells_which_path_runs() {
    let (a, b) = ([bf16::ZERO; 64 * 64], [f16::ZERO; 64 * 64]);
    let (a, b) = (MatRef::new(&a, 64, 64).unwrap(), MatRef::new(&b, 64, 64).unwrap());
    for &isa in available_for_halves().unwrap() {
        let exec = Exec::serial().isa(isa);
        let plan = Gemm::new(a, a).unwrap().plan(exec).unwrap();
        assert_eq!(plan.isa(), isa);
        assert!(plan.to_string().starts_with(isa.name()), "{plan}");
        assert_eq!(Gemm::new(b, b).unwrap().plan(exec).unwrap().isa(), isa);
        assert_eq!(PackedB::for_isa(b, isa).unwrap().isa(), isa);
    }
    assert_eq!(Gemm::new(a, a).unwrap().plan(Exec::default()).unwrap().isa(), best());
}

fn best() -> Isa {
    Isa::best_for_halves().unwrap()
}

/// On tiles a sum goes on from block to block as if there were none.
#[test]
fn on_tiles_block_sizes_do_not_show() {
    if best().name() != "amx" {
        return;
    }
    let (m, n, k) = (150, 200, 333);
    let (a, b) = (brains(m * k, 8), brains(k * n, 9));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    let want = product(a, b, Exec::serial());
    for (kc, mc, nc) in [(0, 0, 0), (32, 16, 64), (64, 48, 128), (320, 33, 65), (1000, 16, 1000)] {
        let mut c = vec![f32::NAN; m * n];
        let gemm = Gemm::new(a, b).unwrap().blocking(Blocking { kc, mc, nc });
        gemm.run(MatMut::new(&mut c, m, n).unwrap(), Exec::serial()).unwrap();
        assert!(same_bits(&c, &want), "kc {kc}, mc {mc}, nc {nc}");
    }
}

/// A C that outgrows the caches is written past them, from its first whole line on.
#[test]
fn a_large_c_of_few_steps_has_the_bits_of_its_rows() {
    let (m, n, k) = (2100, 4112, 3);
    let (a, b) = (brains(m * k, 10), brains(k * n, 11));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    for shift in [0, 3] {
        let mut all = vec![f32::NAN; shift + m * n];
        for threads in [1, 3] {
            all.fill(f32::NAN);
            let out = MatMut::new(&mut all[shift..], m, n).unwrap();
            let exec = Exec::default().par(Par::Threads(threads));
            Gemm::new(a, b).unwrap().alpha(0.5).run(out, exec).unwrap();
            for first in [0, 1, 33, 1000, m - 40] {
                let rows = a.split_rows(first).1.split_rows(40).0;
                let mut want = vec![f32::NAN; 40 * n];
                let out = MatMut::new(&mut want, 40, n).unwrap();
                Gemm::new(rows, b).unwrap().alpha(0.5).run(out, Exec::serial()).unwrap();
                let got = &all[shift + first * n..][..40 * n];
                assert!(same_bits(got, &want), "shift {shift}, {threads} threads, row {first}");
            }
            assert!(all[shift..].iter().all(|x| x.is_finite()));
        }
    }
}
