//! Worked examples and invariances.

use tilewise_kernels::{BatchNormDims, Exec};

use crate::case::{Case, Numbers, close};

/// One channel in f64 with the given values.
fn column(x: &[f64], gamma: f64, beta: f64) -> Case<f64> {
    let dims = BatchNormDims::rows(x.len(), 1);
    let (x, dy) = (x.to_vec(), vec![0.0; x.len()]);
    Case { dims, x, dy, gamma: vec![gamma], beta: vec![beta], epsilon: 1e-5 }
}

#[test]
fn b3_statistics_match_worked_example() {
    let (y, stats) = column(&[1.0, 2.0, 3.0, 4.0], 1.0, 0.0).forward(false, Exec::default());
    close("mean", &stats.mean, &[2.5], 0.0);
    close("var", &stats.var, &[1.25], 1e-15);
    close("y", &y, &[-1.341635, -0.447212, 0.447212, 1.341635], 5e-7);
}

#[test]
fn b4_scale_and_shift_match_worked_example() {
    let (y, _) = column(&[1.0, 2.0, 3.0, 4.0], 2.0, 0.5).forward(false, Exec::default());
    close("y", &y, &[-2.183271, -0.394424, 1.394424, 3.183271], 1e-6);
}

#[test]
fn b5_scale_and_shift_can_undo_the_normalisation() {
    let x: Vec<f64> = Numbers(5).take(200, 3.0, 7.0);
    let (_, stats) = column(&x, 1.0, 0.0).forward(false, Exec::default());
    let gamma = (stats.var[0] + 1e-5).sqrt();
    let (y, _) = column(&x, gamma, stats.mean[0]).forward(false, Exec::default());
    close("y", &y, &x, 1e-6 * 10.0);
}

#[test]
fn b7_a_constant_added_to_the_input_changes_nothing() {
    for dims in [BatchNormDims::rows(300, 20), BatchNormDims::nchw(4, 5, 9, 9).unwrap()] {
        let mut case = Case::<f64>::new(dims, 0.0, 7);
        let (y, _) = case.forward(false, Exec::default());
        case.x.iter_mut().for_each(|x| *x += 3.25);
        close("y", &case.forward(false, Exec::default()).0, &y, 1e-12);
    }
}

#[test]
fn b7_input_gradients_sum_to_zero() {
    for dims in [BatchNormDims::rows(300, 20), BatchNormDims::nchw(4, 5, 9, 9).unwrap()] {
        for relu in [false, true] {
            let case = Case::<f64>::new(dims, 10.0, 8);
            let (_, stats) = case.forward(relu, Exec::default());
            let [dx, ..] = case.backward(&case.dy, &stats, relu, Exec::default());
            let mut sums = vec![0.0; dims.channels];
            dx.iter().enumerate().for_each(|(i, dx)| sums[i / dims.inner % dims.channels] += dx);
            // 300 terms below 50 with a few roundings each.
            close("sum of dx", &sums, &vec![0.0; dims.channels], 300.0 * 50.0 * 1e-15);
        }
    }
}

#[test]
fn b12_backward_matches_worked_example() {
    let case = column(&[1.0, 2.0, 3.0, 4.0], 2.0, 0.5);
    let (_, stats) = case.forward(false, Exec::default());
    let [dx, dgamma, dbeta] = case.backward(&[1.0, 0.0, 0.0, 0.0], &stats, false, Exec::default());
    close("dgamma", &dgamma, &[-1.3416354], 5e-8);
    close("dbeta", &dbeta, &[1.0], 0.0);
    close("dx", &dx, &[0.5366606, -0.7155367, -0.1788869, 0.3577630], 5e-8);
}

#[test]
fn b14_scaling_the_input_changes_the_output_little() {
    let mut case = Case::<f64>::new(BatchNormDims::rows(512, 10), 0.0, 14);
    case.x.iter_mut().for_each(|x| *x *= 10.0);
    let (y, _) = case.forward(false, Exec::default());
    case.x.iter_mut().for_each(|x| *x *= 10.0);
    // Epsilon against a variance of 1 and of 100.
    close("y", &case.forward(false, Exec::default()).0, &y, 1e-4);
}

#[test]
fn b18_statistics_of_two_minibatches_together() {
    let x = [1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0, 8.0];
    let (_, stats) = column(&x, 1.0, 0.0).forward(false, Exec::default());
    close("mean", &stats.mean, &[3.75], 0.0);
    close("var", &stats.var, &[4.6875], 1e-15);
}
