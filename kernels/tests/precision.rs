//! Products of `f32` matrices at other precisions than `f32`.

use tilewise_kernels::{
    ErrorKind, Exec, Gemm, Isa, MatMut, MatRef, PackedA, PackedB, Par, Precision,
    available_for_halves, bf16,
};

const ALL: [Precision; 4] = [Precision::F32, Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];

/// Roughly normal values.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| uniform() + uniform() + uniform() + uniform()).collect()
}

fn product(a: MatRef<'_, f32>, b: MatRef<'_, f32>, precision: Precision, exec: Exec) -> Vec<f32> {
    let mut c = vec![f32::NAN; a.rows() * b.cols()];
    let out = MatMut::new(&mut c, a.rows(), b.cols()).unwrap();
    let gemm = Gemm::new(a, b).unwrap().precision(precision).batch_invariant(true);
    gemm.run(out, exec).unwrap();
    c
}

fn same_bits(left: &[f32], right: &[f32]) -> bool {
    let same = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// The path with tiles, if there is one.
fn tiles() -> Option<Isa> {
    available_for_halves().unwrap().iter().copied().find(|isa| isa.name() == "amx")
}

#[test]
fn bf16_is_the_product_of_rounded_matrices() {
    for (m, n, k) in [(1, 70, 300), (30, 1, 90), (50, 100, 700), (33, 17, 40)] {
        let (mut a, mut b) = (values(m * k, 6), values(n * k, 7));
        // Ties, the largest values, a NaN, an infinity.
        (a[1], a[2]) = (f32::from_bits(0x3F80_8000), f32::from_bits(0x3F81_8000));
        (b[1], b[2]) = (f32::MAX, f32::MIN_POSITIVE);
        (a[m * k - 1], b[n * k - 1]) = (f32::NAN, f32::INFINITY);
        let round = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
        let (a_round, b_round) = (round(&a), round(&b));
        for &isa in available_for_halves().unwrap() {
            for turned in [false, true] {
                let exec = Exec::default().isa(isa);
                let (a, a_round) =
                    (MatRef::new(&a, m, k).unwrap(), MatRef::new(&a_round, m, k).unwrap());
                let got = product(a, turn(&b, [k, n], turned), Precision::Bf16, exec);
                let mut want = vec![f32::NAN; m * n];
                let out = MatMut::new(&mut want, m, n).unwrap();
                let gemm = Gemm::new(a_round, turn(&b_round, [k, n], turned)).unwrap();
                gemm.batch_invariant(true).run(out, exec).unwrap();
                assert!(same_bits(&got, &want), "{isa} {m}x{n}x{k}");
            }
        }
    }
}

fn turn<E>(data: &[E], [rows, cols]: [usize; 2], turned: bool) -> MatRef<'_, E> {
    if turned {
        MatRef::new(data, cols, rows).unwrap().t()
    } else {
        MatRef::new(data, rows, cols).unwrap()
    }
}

/// Without tiles nothing is split.
#[test]
fn without_tiles_split_products_have_the_bits_of_f32() {
    let (m, n, k) = (40, 70, 300);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    for &isa in available_for_halves().unwrap() {
        let exec = Exec::default().isa(isa.without_tiles());
        let want = product(a, b, Precision::F32, exec);
        for precision in [Precision::Bf16x6, Precision::Bf16x3] {
            assert!(same_bits(&product(a, b, precision, exec), &want), "{isa} {precision}");
        }
    }
}

/// Rows and columns with values that no sum of bf16 holds do not disturb the others, and are summed in
/// `f32`: the bits are those of sums of blocks of 384 steps at most.
#[test]
fn values_out_of_range_are_multiplied_in_f32() {
    let Some(isa) = tiles() else { return };
    let (m, n, k) = (70, 90, 600);
    let odd = [f32::NAN, f32::INFINITY, f32::MAX, 1e35, -f32::INFINITY];
    for precision in [Precision::Bf16x6, Precision::Bf16x3] {
        let (mut a, mut b) = (values(m * k, 1), values(k * n, 2));
        let plain = product(
            MatRef::new(&a, m, k).unwrap(),
            MatRef::new(&b, k, n).unwrap(),
            precision,
            Exec::default().isa(isa),
        );
        for (i, &x) in odd.iter().enumerate() {
            a[(7 * i + 3) * k + 97 * i] = x;
            b[(450 - 50 * i) * n + 11 * i + 40] = x;
        }
        // A row and a column of tiny values, and one with nothing but subnormal ones.
        a[60 * k..61 * k].iter_mut().for_each(|x| *x *= 1e-30);
        a[61 * k..62 * k].iter_mut().for_each(|x| *x *= 1e-40);
        b.iter_mut().skip(89).step_by(n).for_each(|x| *x *= 1e-12);
        let (a_view, b_view) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
        let got = product(a_view, b_view, precision, Exec::default().isa(isa));
        let rows: Vec<_> = (0..odd.len()).map(|i| 7 * i + 3).chain([60, 61]).collect();
        let cols: Vec<_> = (0..odd.len()).map(|i| 11 * i + 40).chain([89]).collect();
        for i in 0..m {
            for j in 0..n {
                let at = i * n + j;
                if !rows.contains(&i) && !cols.contains(&j) {
                    assert_eq!(got[at].to_bits(), plain[at].to_bits(), "{precision} {i} {j}");
                }
            }
        }
        // Row 61 lies beyond the range throughout: 19 steps of 32, in the fewest even blocks.
        let blocks = [(0, 320), (320, 600)];
        for j in (0..n).filter(|j| !cols.contains(j)) {
            let mut want = 0.0_f32;
            for (first, end) in blocks {
                let block =
                    (first..end).fold(0.0_f32, |sum, p| a[61 * k + p].mul_add(b[p * n + j], sum));
                want += block;
            }
            let got = got[61 * n + j];
            // Columns within the range are sums of parts, which two are but nearly.
            let bound = if precision == Precision::Bf16x6 { 0.0 } else { 1e-43 };
            let same = (got - want).abs() <= bound;
            assert!(same, "{precision} column {j}: {got:e}, {want:e}");
        }
    }
}

#[test]
fn packed_operands_bring_their_precision() {
    let (a, b) = (values(40 * 50, 1), values(50 * 60, 2));
    let (a, b) = (MatRef::new(&a, 40, 50).unwrap(), MatRef::new(&b, 50, 60).unwrap());
    for &isa in available_for_halves().unwrap() {
        for precision in ALL {
            let panels = PackedB::for_precision(b, precision, isa).unwrap();
            assert_eq!(panels.precision(), precision);
            let mut c = vec![f32::NAN; 40 * 60];
            // Asked for too late.
            let gemm = Gemm::with_packed(a, &panels).unwrap().precision(Precision::F32);
            gemm.run(MatMut::new(&mut c, 40, 60).unwrap(), Exec::default()).unwrap();
            let want = product(a, b, precision, Exec::default().isa(isa));
            assert!(same_bits(&c, &want), "{isa} {precision}");
            let other = PackedA::for_precision(a, ALL[usize::from(precision == ALL[0])], isa);
            let error = Gemm::with_both_packed(&other.unwrap(), &panels).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Isa);
            assert!(error.to_string().contains(precision.name()), "{error}");
        }
    }
}

#[test]
fn threads_do_not_show_and_neither_does_the_batch() {
    let Some(isa) = tiles() else { return };
    let (m, n, k) = (300, 400, 700);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    for precision in ALL {
        let exec = Exec::serial().isa(isa);
        let want = product(a, b, precision, exec);
        for threads in [2, 5] {
            let exec = exec.par(Par::Threads(threads));
            assert!(same_bits(&product(a, b, precision, exec), &want), "{precision} {threads}");
        }
        for rows in [1, 7, 33] {
            let part = product(a.split_rows(rows).0, b, precision, exec);
            assert!(same_bits(&part, &want[..rows * n]), "{precision} {rows} rows");
        }
    }
}

#[test]
fn the_plan_tells_whether_tiles_run() {
    let a = values(64 * 64, 1);
    let a = MatRef::new(&a, 64, 64).unwrap();
    for &isa in available_for_halves().unwrap() {
        let on = |precision| {
            Gemm::new(a, a)
                .unwrap()
                .precision(precision)
                .plan(Exec::serial().isa(isa))
                .unwrap()
                .isa()
        };
        assert_eq!(ALL.map(on), [isa.without_tiles(), isa, isa, isa]);
    }
}
