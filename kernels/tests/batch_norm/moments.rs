//! Statistics from the product that wrote the batch.

use tilewise_kernels::{
    BatchNormDims, BatchNormForward, BatchStats, ColumnMoments, Exec, Float, Gemm, MatMut, MatRef,
    Par, available,
};

use crate::case::{Case, Numbers, close};

/// A batch that is a product, and the statistics that it took. An offset of a thousand standard
/// deviations comes in by the bias.
fn product<T: Float>(dims: BatchNormDims, exec: Exec) -> (Case<T>, ColumnMoments) {
    let BatchNormDims { outer, channels, .. } = dims;
    let mut case = Case::<T>::new(dims, 0.0, 11);
    let mut numbers = Numbers(12);
    let (a, b) =
        (numbers.take::<T>(outer * 9, 0.1, 0.0), numbers.take::<T>(9 * channels, 1.0, 0.0));
    let bias = numbers.take::<T>(channels, 1.0, 300.0);
    let mut moments = ColumnMoments::new();
    Gemm::new(MatRef::new(&a, outer, 9).unwrap(), MatRef::new(&b, 9, channels).unwrap())
        .unwrap()
        .bias(&bias)
        .run_with_moments(MatMut::new(&mut case.x, outer, channels).unwrap(), &mut moments, exec)
        .unwrap();
    (case, moments)
}

fn with_moments<T: Float>(
    case: &Case<T>,
    moments: &ColumnMoments,
    relu: bool,
    exec: Exec,
) -> (Vec<T>, BatchStats<T>) {
    let (mut y, mut stats) = (vec![T::NAN; case.x.len()], BatchStats::new(case.dims.channels));
    let op = BatchNormForward::new(&case.x, case.dims, case.affine(), case.epsilon).unwrap();
    op.relu(relu).moments(moments).run(&mut y, &mut stats, exec).unwrap();
    (y, stats)
}

fn equals<T: Float>() {
    for (n, c) in [(2, 2), (3, 17), (127, 64), (128, 65), (129, 130), (256, 1030), (700, 33)] {
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let (case, moments) = product::<T>(BatchNormDims::rows(n, c), exec);
            for relu in [false, true] {
                let expected = case.forward(relu, exec);
                assert_eq!(with_moments(&case, &moments, relu, exec), expected, "{isa} {n} x {c}");
                let threads = exec.par(Par::Threads(3));
                assert_eq!(with_moments(&case, &moments, relu, threads), expected);
            }
        }
    }
}

#[test]
fn they_give_the_bits_of_statistics_taken_here() {
    equals::<f32>();
    equals::<f64>();
}

/// Where values are merged in another order, the last bits of mean and variance may differ: by the
/// roundings of f64 sums in the mean, and one unit of the type in the inverse deviation.
#[test]
fn they_agree_with_those_of_tall_batches_and_single_channels() {
    for (n, c) in [(9001, 65), (9001, 1)] {
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let (case, moments) = product::<f32>(BatchNormDims::rows(n, c), exec);
            let (y, stats) = with_moments(&case, &moments, false, exec);
            let (expected, expected_stats) = case.forward(false, exec);
            let unit = f64::from(f32::EPSILON);
            close("var", &stats.var, &expected_stats.var, unit);
            let most = expected.iter().fold(0.0, |most: f64, y| most.max(f64::from(y.abs())));
            close("y", &y, &expected, 4.0 * unit * most);
        }
    }
}

#[test]
fn those_of_another_product_are_an_error() {
    let (case, moments) = product::<f32>(BatchNormDims::rows(4, 3), Exec::default());
    let wide = Case::<f32>::new(BatchNormDims::rows(4, 5), 0.0, 1);
    let images = Case::<f32>::new(BatchNormDims::nchw(4, 3, 2, 2).unwrap(), 0.0, 1);
    for (other, what) in [(&wide, "channels"), (&images, "positions")] {
        let (mut y, mut stats) = (vec![7.0; other.x.len()], BatchStats::new(other.dims.channels));
        let op = BatchNormForward::new(&other.x, other.dims, other.affine(), 1e-5).unwrap();
        let run = op.moments(&moments).run(&mut y, &mut stats, Exec::default());
        let error = run.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(y.iter().all(|&y| y == 7.0), "nothing is written");
    }
    assert!(with_moments(&case, &moments, true, Exec::default()).0.iter().all(|y| *y >= 0.0));
}
