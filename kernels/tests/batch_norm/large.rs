//! Outputs beyond a second-level cache, which may be written past it.

use crate::case::Case;
use tilewise_kernels::{
    BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchNormInference,
    BatchStats, Exec, Par, Running, available,
};

/// Rows in strips, rows in the order of memory with whole and broken cache lines, and planes.
fn shapes() -> [BatchNormDims; 5] {
    [
        BatchNormDims::rows(140, 4096),
        BatchNormDims::rows(600, 1024),
        BatchNormDims::rows(9000, 64),
        BatchNormDims::rows(700, 801),
        BatchNormDims::nchw(4, 35, 64, 65).unwrap(),
    ]
}

/// All outputs as bits, written from element `start` of their rooms on.
fn passes(case: &Case<f32>, start: usize, exec: Exec) -> Vec<Vec<u32>> {
    let (len, channels) = (case.x.len(), case.dims.channels);
    let mut stats = BatchStats::new(channels);
    let mut y = vec![f32::NAN; start + len];
    let op = BatchNormForward::new(&case.x, case.dims, case.affine(), case.epsilon).unwrap();
    op.relu(true).run(&mut y[start..], &mut stats, exec).unwrap();
    let mut z = vec![f32::NAN; start + len];
    let running = Running { mean: &stats.mean, var: &stats.var };
    let affine = case.affine();
    let op = BatchNormInference::new(&case.x, case.dims, affine, running, case.epsilon).unwrap();
    op.run(&mut z[start..], exec).unwrap();
    let mut grads = case.room();
    grads[0] = vec![f32::NAN; start + len];
    let [dx, dgamma, dbeta] = &mut grads;
    let into = BatchNormGrads { dx: &mut dx[start..], dgamma, dbeta };
    let op = BatchNormBackward::new(&case.x, case.dims, affine, &stats).unwrap();
    op.relu(true).run(&case.dy, into, exec).unwrap();
    grads[0].drain(..start);
    let outputs = [y.split_off(start), z.split_off(start)].into_iter().chain(grads);
    outputs.map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn large_outputs_do_not_depend_on_alignment_or_threads() {
    for (seed, dims) in shapes().into_iter().enumerate() {
        let case = Case::<f32>::new(dims, 0.5, seed as u64);
        for &isa in available().unwrap() {
            let exec = Exec::serial().isa(isa);
            let expected = passes(&case, 0, exec);
            // Large rooms start four elements behind a line's boundary, small ones anywhere.
            for (start, threads) in [(1, 1), (12, 1), (12, 3), (15, 2), (0, 5)] {
                let got = passes(&case, start, exec.par(Par::Threads(threads)));
                assert!(got == expected, "{isa} {dims:?} from {start}, {threads} threads");
            }
        }
    }
}
