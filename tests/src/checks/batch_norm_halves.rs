//! Batch normalisation of halves: the bits of the passes over the widened values, rounded once.

use tilewise_kernels::{
    Affine, BatchNormDims, BatchStats, Exec, Isa, Running, Storage, bf16, f16, naive,
};

pub use super::batch_norm::Case;
use super::batch_norm_runs::{Operands, run_backward, run_forward, run_inference};
use crate::compare::same_bits;
use crate::laws::one_result;
use crate::real::Stored;

/// Checks `bf16` and `f16`.
///
/// # Errors
/// What differs, and where.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<bf16>(isa, case)?;
    check_as::<f16>(isa, case)
}

fn check_as<H: Storage<f32> + Stored>(isa: Isa, case: &Case) -> Result<(), String> {
    let singles = Operands::<f32>::new(case);
    let Operands { x, dy, residual, gamma, beta, epsilon, dims } = singles;
    let halves = [x, dy, residual].map(|values| narrowed::<H>(&values));
    let [x, dy, residual] = halves.each_ref().map(|values| widened(values));
    let (gammas, betas) = (gamma.clone(), beta.clone());
    let wide = Operands { x, dy, residual, gamma, beta, epsilon, dims };
    let [x, dy, residual] = halves;
    let halves = Operands { x, dy, residual, gamma: gammas, beta: betas, epsilon, dims };

    let count = wide.x.len();
    // Running statistics of the shift and the scale's magnitude will do.
    let var: Vec<f32> = wide.gamma.iter().map(|gamma| gamma.abs()).collect();
    let how = || (Running { mean: &wide.beta, var: &var }, dims, 0..count);
    let got = one_result(isa, case.shift, |exec, shift| {
        run_inference(case, &halves, how(), exec, shift)
    })?;
    let want = run_inference(case, &wide, how(), Exec::serial().isa(isa), 0)?;
    same_bits("inference", &got, &rounded::<H>(&want, count))?;
    if dims.channels == 0 || dims.outer * dims.inner < 2 {
        return Ok(());
    }
    let got = one_result(isa, case.shift, |exec, shift| run_forward(case, &halves, exec, shift))?;
    let want = run_forward(case, &wide, Exec::serial().isa(isa), 0)?;
    same_bits("y, then statistics", &got, &rounded::<H>(&want, count))?;

    let stats = statistics(&wide.x, dims, wide.affine(), epsilon);
    let got = one_result(isa, case.shift, |exec, shift| {
        run_backward(case, &halves, &stats, exec, shift)
    })?;
    let mut want = run_backward(case, &wide, &stats, Exec::serial().isa(isa), 0)?;
    // What comes behind dx, dgamma and dbeta is a half of dy or nothing, and stays so.
    want = rounded::<H>(&want, count);
    same_bits("dx, dgamma, dbeta, then dr", &got, &want)
}

/// Those of the twin.
fn statistics(
    x: &[f32],
    dims: BatchNormDims,
    affine: Affine<'_, f32>,
    epsilon: f32,
) -> BatchStats<f32> {
    let (mut y, mut stats) = (vec![0.0; x.len()], BatchStats::new(dims.channels));
    naive::batch_norm_forward(x, dims, affine, epsilon, &mut y, &mut stats);
    stats
}

fn narrowed<H: Storage<f32>>(values: &[f32]) -> Vec<H> {
    values.iter().map(|&x| H::narrow(x)).collect()
}

fn widened<H: Storage<f32>>(values: &[H]) -> Vec<f32> {
    values.iter().map(|x| x.widen()).collect()
}

/// The first `count` as they are when stored as halves.
fn rounded<H: Storage<f32>>(values: &[f32], count: usize) -> Vec<f32> {
    let mut all = widened(&narrowed::<H>(&values[..count]));
    all.extend(&values[count..]);
    all
}
