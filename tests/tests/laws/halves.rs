//! Written-down products of halves, and of `f32` at other precisions, at the edges of vectors, tiles and blocks, of every kind of
//! values, on every path.

use tilewise_tests::checks::activation;
use tilewise_tests::checks::gemm::{Case, check_halves, check_precisions};
use tilewise_tests::data::{FINITE, Values};
use tilewise_tests::field::Layout;
use tilewise_tests::isas::each_isa_for_halves;

/// Checks all cases on every path and reports the first that fails.
#[track_caller]
fn all_hold(cases: impl IntoIterator<Item = Case> + Clone) {
    each_isa_for_halves(|isa| {
        for case in cases.clone() {
            check_halves(isa, &case)
                .and_then(|()| check_precisions(isa, &case))
                .unwrap_or_else(|finding| panic!("on {isa}: {finding}\n{case:?}"));
        }
    });
}

#[test]
fn at_the_edges_of_tiles() {
    let sizes = [0, 1, 2, 15, 16, 17, 33, 63, 64, 65, 130];
    let shapes = sizes.into_iter().flat_map(|m| sizes.map(|n| (m, n)));
    let cases: Vec<_> = shapes
        .flat_map(|(m, n)| [0, 1, 31, 33].map(|k| Case::plain(m, n, k)))
        .enumerate()
        .map(|(i, case)| Case { beta: [0.0, 1.0, -0.5][i % 3], bias: i % 2 == 1, ..case })
        .collect();
    all_hold(cases);
}

#[test]
fn of_every_transposition_and_stride() {
    let layouts: Vec<_> = [(1, 0), (1, 5), (2, 1)]
        .into_iter()
        .flat_map(|(step, gap)| {
            [false, true].map(|column_major| Layout { column_major, step, gap, ..Layout::DENSE })
        })
        .collect();
    let mut cases = Vec::new();
    for &a in &layouts {
        for &b in &layouts {
            for &c in &layouts {
                let plain = Case { layouts: [a, b, c], ..Case::plain(19, 70, 43) };
                let (m, n) = if cases.len() % 4 == 1 { (1, 35) } else { (35, 1) };
                cases.push(Case { beta: 0.5, ..plain.clone() });
                cases.push(Case { m, n, ..plain });
            }
        }
    }
    all_hold(cases);
}

/// A few rows or columns, which are not packed: at the edges of vectors, of steps that are added at once,
/// of strips of columns and of blocks of k.
#[test]
fn of_a_few_rows_or_columns() {
    let transposed = Layout { column_major: true, ..Layout::DENSE };
    let layouts = [Layout::DENSE, transposed, Layout { gap: 3, ..Layout::DENSE }];
    let sizes = [(31, 7), (32, 64), (33, 9), (64, 33), (100, 65), (2100, 17), (40, 1100)];
    let mut cases = Vec::new();
    for (i, &(long, k)) in sizes.iter().enumerate() {
        for few in [1, 2, 3, 4, 5, 8, 9] {
            for turned in [false, true] {
                let (m, n) = if turned { (long, few) } else { (few, long) };
                let at = cases.len();
                let layouts = [at, at / 3, i + at / 2].map(|i| layouts[i % layouts.len()]);
                let beta = [0.0, 0.5][at / 2 % 2];
                let bias = at % 3 == 1;
                cases.push(Case { layouts, beta, bias, ..Case::plain(m, n, k) });
            }
        }
    }
    all_hold(cases);
}

#[test]
fn in_tiny_blocks() {
    let mut cases = Vec::new();
    for kc in [0, 32, 40, 64] {
        for mc in [1, 16, 33] {
            for nc in [0, 64, 65, 128] {
                let plain = Case::plain(50, 135, 100);
                cases.push(Case { blocking: Some([kc, mc, nc]), beta: 1.0, ..plain });
            }
        }
    }
    all_hold(cases);
}

#[test]
fn with_everything_and_statistics() {
    let mut cases = Vec::new();
    for (m, n) in [(1, 70), (70, 1), (127, 33), (129, 5), (300, 40)] {
        for column_major in [false, true] {
            let c = Layout { column_major, ..Layout::DENSE };
            let layouts = [Layout::DENSE, Layout { column_major: true, ..Layout::DENSE }, c];
            let plain = Case { layouts, ..Case::plain(m, n, 37) };
            let (scale, bias, beta) = (true, true, 0.5);
            cases.push(Case { scale, bias, beta, residual: Some(c), ..plain.clone() });
            cases.push(Case { blocking: Some([32, 64, 32]), ..plain.clone() });
            cases.push(plain);
        }
    }
    all_hold(cases);
}

#[test]
fn of_every_kind_of_values() {
    let kinds: Vec<_> = FINITE.into_iter().chain([Values::Special, Values::Infinite]).collect();
    let pairs = kinds.iter().flat_map(|&a| kinds.iter().map(move |&b| [a, b, Values::Special]));
    let cases: Vec<_> = pairs
        .enumerate()
        .map(|(i, values)| {
            let activation = activation::ALL[i % activation::ALL.len()];
            Case {
                values,
                activation,
                beta: 0.3,
                ..Case::plain([9, 3, 60][i % 3], 17, [35, 35, 60][i % 3])
            }
        })
        .collect();
    all_hold(cases);
}

#[test]
fn longer_than_a_block_of_k() {
    let ks = [255, 256, 257, 511, 513, 1024, 1025, 2049];
    all_hold(ks.map(|k| Case::plain(5, 18, k)));
    // Beyond 8192 blocks of parts are twice as long, where parts may not be taken too.
    let values = [Values::Special, Values::Normal, Values::Normal];
    all_hold([Case { values, ..Case::plain(33, 34, 8300) }, Case::plain(70, 66, 8193)]);
}

#[test]
fn larger_than_a_block_of_sums() {
    all_hold([Case::plain(1100, 70, 300), Case::plain(40, 1100, 300)]);
}
