//! Written-down cases at the edges of vectors, tiles, strips and blocks, of every kind of values, at
//! every alignment: what random cases may miss.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::Isa;
use tilewise_tests::checks::{
    self, activation, batch_norm, batch_norm_halves, convert, cross_entropy, dropout, gemm,
    optimizer,
};
use tilewise_tests::checks::{
    linear_cross_entropy, reduce, sigmoid_cross_entropy, softmax, vector_math,
};
use tilewise_tests::data::{FINITE, Values};
use tilewise_tests::field::Layout;
use tilewise_tests::isas::each_isa;

pub(crate) const KINDS: [Values; 11] = [
    FINITE[0],
    FINITE[1],
    FINITE[2],
    FINITE[3],
    FINITE[4],
    FINITE[5],
    FINITE[6],
    FINITE[7],
    FINITE[8],
    Values::Special,
    Values::Infinite,
];

/// One less, one more and exactly: lanes of every path and type, and their first multiples.
pub(crate) const EDGES: [usize; 15] = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65];

/// The least case: what exhausted bytes give.
pub(crate) fn least<C: for<'a> Arbitrary<'a>>() -> C {
    C::arbitrary(&mut Unstructured::new(&[])).expect("exhausted bytes give the least case")
}

/// Checks all cases on every path and reports the first that fails.
#[track_caller]
pub(crate) fn all_hold<C: Debug>(
    cases: impl IntoIterator<Item = C> + Clone,
    check: fn(Isa, &C) -> Result<(), String>,
) {
    each_isa(|isa| {
        for case in cases.clone() {
            check(isa, &case).unwrap_or_else(|finding| panic!("on {isa}: {finding}\n{case:?}"));
        }
    });
}

/// The case with every combination of what follows the sums, by the bits of `i`.
fn with_extras(case: gemm::Case, i: usize) -> gemm::Case {
    let residual = Layout { column_major: i & 8 > 0, gap: i % 3, ..Layout::DENSE };
    gemm::Case {
        bias: i & 1 > 0,
        scale: i & 2 > 0,
        residual: (i & 4 > 0).then_some(residual),
        activation: activation::ALL[i / 16 % activation::ALL.len()],
        ..case
    }
}

#[test]
fn products_at_the_edges_of_tiles() {
    let sizes = [0, 1, 7, 8, 9, 16, 17, 48, 49];
    let shapes = sizes.into_iter().flat_map(|m| sizes.map(|n| (m, n)));
    let cases: Vec<_> = shapes
        .flat_map(|(m, n)| [0, 1, 2, 33].map(|k| gemm::Case::plain(m, n, k)))
        .enumerate()
        .map(|(i, case)| gemm::Case { beta: [0.0, 1.0, -0.5][i % 3], ..with_extras(case, i) })
        .collect();
    all_hold(cases, gemm::check);
}

#[test]
fn products_of_every_transposition_and_stride() {
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
                let plain = gemm::Case::plain(19, 50, 21);
                cases.push(gemm::Case { layouts: [a, b, c], beta: 0.5, ..plain.clone() });
                // Wide and flat ones go other ways.
                let (m, n) = if cases.len() % 4 == 1 { (1, 35) } else { (35, 1) };
                cases.push(gemm::Case { m, n, layouts: [a, b, c], ..plain });
            }
        }
    }
    all_hold(cases, gemm::check);
}

#[test]
fn products_in_tiny_blocks() {
    let mut cases = Vec::new();
    for kc in [0, 1, 7, 16, 40] {
        for mc in [1, 8, 9, 33] {
            for nc in [0, 1, 16, 17, 64] {
                let plain = gemm::Case::plain(34, 65, 41);
                cases.push(gemm::Case { blocking: Some([kc, mc, nc]), beta: 1.0, ..plain });
            }
        }
    }
    all_hold(cases, gemm::check);
}

#[test]
fn products_with_everything_in_every_layout() {
    let layouts = [false, true].map(|column_major| Layout { column_major, ..Layout::DENSE });
    let apart = Layout { step: 2, gap: 1, ..Layout::DENSE };
    let mut cases = Vec::new();
    for c in [layouts[0], layouts[1], apart] {
        for b in layouts {
            for (m, n) in [(1, 19), (19, 1), (20, 51), (130, 3)] {
                for blocking in [None, Some([5, 9, 16])] {
                    for extras in [7, 15] {
                        let plain =
                            gemm::Case { layouts: [c, b, c], ..gemm::Case::plain(m, n, 11) };
                        let case = gemm::Case { blocking, beta: 0.5, shift: 3, ..plain };
                        cases.push(with_extras(case, extras + 16 * (cases.len() % 4)));
                    }
                }
            }
        }
    }
    all_hold(cases, gemm::check);
}

#[test]
fn statistics_at_the_edges_of_their_blocks() {
    let mut cases = Vec::new();
    for (m, n) in [(1, 5), (127, 1), (128, 49), (129, 20), (257, 5), (400, 70)] {
        for column_major in [false, true] {
            let c = Layout { column_major, ..Layout::DENSE };
            let plain = gemm::Case::plain(m, n, 3);
            let case = gemm::Case { layouts: [Layout::DENSE, Layout::DENSE, c], ..plain };
            cases.push(case.clone());
            // Blocks of rows that end between those of the statistics, and two of k.
            cases.push(gemm::Case { blocking: Some([2, 50, 16]), ..case });
        }
    }
    all_hold(cases, gemm::check);
}

/// A product that is its own bias: A and B are zero or small beside it.
#[test]
fn k3_statistics_of_products_with_large_offsets() {
    let mut cases = Vec::new();
    for residual in [Values::Offset, Values::FarOffset, Values::Huge, Values::Special] {
        for k in [0, 7] {
            for activation in [activation::ALL[0], activation::ALL[1]] {
                let values = [Values::Normal, Values::Subnormal, residual];
                let plain = gemm::Case { values, activation, ..gemm::Case::plain(300, 37, k) };
                cases.push(gemm::Case { residual: Some(Layout::DENSE), ..plain });
            }
        }
    }
    all_hold(cases, gemm::check);
}

#[test]
fn products_of_every_kind_of_values() {
    let kinds = KINDS.into_iter().flat_map(|a| KINDS.map(|b| [a, b, Values::Special]));
    let cases: Vec<_> = kinds
        .enumerate()
        .map(|(i, values)| {
            let activation = activation::ALL[i % activation::ALL.len()];
            let plain = with_extras(gemm::Case::plain(9, 17, 12), i);
            gemm::Case { values, activation, beta: 0.3, ..plain }
        })
        .collect();
    all_hold(cases, gemm::check);
}

#[test]
fn products_longer_than_a_block_of_k() {
    // Blocks are 4 KiB of a row: 1024 of f32, 512 of f64.
    let cases = [511, 513, 1023, 1024, 1025, 2049].map(|k| gemm::Case::plain(5, 18, k));
    all_hold(cases, gemm::check);
}

#[test]
fn masks_of_every_length_kind_and_rate() {
    let mut cases = Vec::new();
    for (i, len) in EDGES.into_iter().enumerate() {
        for (j, x) in KINDS.into_iter().enumerate() {
            let shift = (i * KINDS.len() + j) % 18;
            let first = dropout::FIRST[shift % dropout::FIRST.len()];
            cases.extend(dropout::RATES.map(|rate| {
                let (stream, seed) = (3, 4);
                dropout::Case { len, rate, x, stream, first, shift, seed }
            }));
        }
    }
    all_hold(cases, dropout::check);
}

#[test]
fn slices_of_every_length_kind_and_alignment() {
    let mut places = Vec::new();
    for (i, len) in EDGES.into_iter().enumerate() {
        for (j, kind) in KINDS.into_iter().enumerate() {
            places.push((len, kind, KINDS[(i + j) % KINDS.len()], (i * KINDS.len() + j) % 18));
        }
    }
    let activations: Vec<_> = places
        .iter()
        .flat_map(|&(len, x, dy, shift)| {
            activation::ALL.map(|f| activation::Case { len, f, x, dy, shift, seed: 2 })
        })
        .collect();
    all_hold(activations, checks::activation::check);
    let functions: Vec<_> = places
        .iter()
        .flat_map(|&(len, x, _, shift)| {
            [1.0, 30.0, 300.0].map(|scale| vector_math::Case { len, x, scale, shift, seed: 3 })
        })
        .collect();
    all_hold(functions, vector_math::check);
    let conversions: Vec<_> = places
        .iter()
        .flat_map(|&(len, x, _, shift)| {
            [None, Some(x)].map(|values| convert::Case { len, values, scale: 7e4, shift, seed: 3 })
        })
        .collect();
    all_hold(conversions, convert::check);
    let losses: Vec<_> = places
        .iter()
        .map(|&(len, logits, _, shift)| sigmoid_cross_entropy::Case {
            len,
            logits,
            shift,
            scale: 30.0,
            ..least()
        })
        .collect();
    all_hold(losses, sigmoid_cross_entropy::check);
    let steps: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(i, &(len, w, g, shift))| optimizer::Case {
            len,
            values: [w, g, FINITE[i % FINITE.len()]],
            variant: (i * 37 % 256) as u8,
            weight_decay: 0.01,
            factor: [1.0, 0.125, -2.0][i % 3],
            limit: [f64::INFINITY, 0.5][i / 3 % 2],
            shift,
            ..least()
        })
        .collect();
    all_hold(steps, optimizer::check);
}

#[test]
fn rows_of_every_length_and_kind() {
    let mut rows = Vec::new();
    let mut batches = Vec::new();
    let mut matrices = Vec::new();
    for (i, cols) in EDGES.into_iter().chain([127, 128, 129, 1000]).enumerate() {
        for (j, x) in KINDS.into_iter().enumerate() {
            let (dy, shift) = (KINDS[(i + j) % KINDS.len()], (i + 3 * j) % 18);
            let layouts = [Layout { gap: j % 3, ..Layout::DENSE }; 2];
            rows.push(softmax::Case { rows: 3, cols, layouts, x, dy, shift, seed: 4 });
            let options = i * KINDS.len() + j;
            batches.push(cross_entropy::Case {
                rows: 4,
                classes: cols.max(1),
                logits: x,
                probabilities: options % 2 == 1,
                sum: options % 3 == 1,
                weighted: options % 5 == 1,
                smoothing: [0.0, 0.1][options % 4 / 2],
                shift,
                ..least()
            });
            let layout = layouts[0];
            matrices.push(reduce::Case { rows: 3, cols, layout, values: x, shift, seed: 5 });
            matrices.push(reduce::Case { rows: cols, cols: 3, layout, values: x, shift, seed: 5 });
        }
    }
    all_hold(rows, softmax::check);
    all_hold(batches, cross_entropy::check);
    all_hold(matrices, reduce::check);
}

#[test]
fn linear_layers_at_the_edges_of_tiles() {
    let mut cases = Vec::new();
    for (i, rows) in [0, 1, 5, 6, 11].into_iter().enumerate() {
        for (j, classes) in [1, 15, 16, 17, 33].into_iter().enumerate() {
            for (k, depth) in [0, 1, 17].into_iter().enumerate() {
                let options = i + 2 * j + 3 * k;
                cases.push(linear_cross_entropy::Case {
                    rows,
                    depth,
                    classes,
                    tile: [5, 16],
                    values: [Values::Normal; 2],
                    bias: (options % 4) as u8,
                    sum: options % 3 == 1,
                    ignores_first: options % 5 == 1,
                    smoothing: [0.0, 0.1][options % 2],
                    weighted: options % 7 == 1,
                    shift: options,
                    ..least()
                });
            }
        }
    }
    all_hold(cases, linear_cross_entropy::check);
}

#[test]
fn batches_of_every_shape_and_kind() {
    // Channels at the edges of vectors and strips; rows at those of blocks; planes of every length.
    let channels = EDGES.map(|channels| [5, channels, 1]);
    let rows = [2, 3, 127, 128, 129, 257].map(|outer| [outer, 3, 1]);
    let planes = EDGES.map(|inner| [3, 2, inner]);
    let single = EDGES.map(|inner| [2, 1, inner]);
    let shapes = [&channels[..], &rows, &planes, &single].concat();
    let mut cases = Vec::new();
    for (i, dims) in shapes.into_iter().enumerate() {
        for (j, x) in KINDS.into_iter().enumerate() {
            let (dy, relu, shift) = (KINDS[(i + j) % KINDS.len()], (i + j) % 2 == 0, j);
            let (affine, epsilon, residual, seed) = (Values::Normal, 1e-5, (i + j) % 3 == 0, 6);
            cases.push(batch_norm::Case {
                dims,
                x,
                dy,
                affine,
                epsilon,
                relu,
                residual,
                shift,
                seed,
            });
        }
    }
    all_hold(cases.clone(), batch_norm::check);
    all_hold(cases, batch_norm_halves::check);
}

#[test]
fn batches_and_sums_longer_than_their_blocks() {
    // Batch norm takes 4096 rows, and planes of 4096, at a time; reductions 16 times as many.
    let tall = [[4097, 3, 1], [8193, 2, 1], [2, 2, 4099], [900, 2, 5]];
    let cases: Vec<_> = tall
        .into_iter()
        .flat_map(|dims| [Values::Normal, Values::FarOffset].map(|x| (dims, x)))
        .map(|(dims, x)| batch_norm::Case { dims, x, relu: true, ..least() })
        .collect();
    all_hold(cases.clone(), batch_norm::check);
    all_hold(cases, batch_norm_halves::check);
    let long = [(1, 70_000), (70_000, 1), (300, 300)];
    let cases = long.map(|(rows, cols)| reduce::Case { rows, cols, ..least() });
    all_hold(cases, reduce::check);
}
