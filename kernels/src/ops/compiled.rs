//! The kernels of all operations, compiled here once for each element type.
//!
//! Operations are generic, and what is generic is compiled again by every crate that uses it: a few
//! hundred loops for three instruction sets. A table that is not generic keeps them in this crate. What
//! a caller compiles is the checks, and one call through the table.

use super::cross_entropy::{Matrices, Wanted};
use super::*;
use crate::error::Result;
use crate::exec::Exec;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// Entries to the operations on `T`, one each.
#[derive(Debug)]
#[expect(clippy::type_complexity, reason = "an entry's type is what its operation takes and gives")]
pub struct Table<T> {
    pub(super) activate: fn(Activate<'_, T>, Exec) -> Result<()>,
    pub(super) activate_backward: fn(ActivateBackward<'_, T>, Exec) -> Result<()>,
    pub(super) softmax: fn(Softmax<'_, T>, Exec) -> Result<()>,
    pub(super) softmax_backward: fn(SoftmaxBackward<'_, T>, Exec) -> Result<()>,
    pub(super) log_softmax: fn(LogSoftmax<'_, T>, Exec) -> Result<()>,
    pub(super) log_softmax_backward: fn(LogSoftmaxBackward<'_, T>, Exec) -> Result<()>,
    pub(super) log_sum_exp: fn(LogSumExp<'_, T>, Exec) -> Result<()>,
    pub(super) cross_entropy:
        fn(SoftmaxCrossEntropy<'_, T, Matrices<'_, T>>, Option<&mut [T]>, Exec) -> Result<Loss<T>>,
    pub(super) linear_cross_entropy:
        fn(LinearCrossEntropy<'_, T>, Wanted<'_, T>, &mut [T], Exec) -> Result<Loss<T>>,
    pub(super) sigmoid_cross_entropy:
        fn(SigmoidCrossEntropy<'_, T>, Option<&mut [T]>, Exec) -> Result<Loss<T>>,
    pub(super) regression: fn(RegressionLoss<'_, T>, Option<&mut [T]>, Exec) -> Result<Loss<T>>,
    pub(super) row_norm: fn(RowNorm<'_, T>, MatMut<'_, T>, &mut RowStats<T>, Exec) -> Result<()>,
    pub(super) row_norm_backward:
        fn(RowNormBackward<'_, T>, MatRef<'_, T>, NormGrads<'_, T>, Exec) -> Result<()>,
    pub(super) im2col: fn(&Patches, &[T], &mut [T], Exec) -> Result<()>,
    pub(super) col2im: fn(&Patches, &[T], &mut [T], Exec) -> Result<()>,
    pub(super) pool: fn(&Pool, &[T], &mut [T], Exec) -> Result<()>,
    pub(super) pool_backward: fn(&Pool, [&[T]; 2], &mut [T], Exec) -> Result<()>,
    pub(super) sum: fn(Sum<'_, T>, Exec) -> Result<T>,
    pub(super) mean: fn(Mean<'_, T>, Exec) -> Result<T>,
    pub(super) mean_var: fn(MeanVar<'_, T>, Exec) -> Result<(T, T)>,
    pub(super) max: fn(Max<'_, T>, Exec) -> Result<T>,
    pub(super) argmax: fn(Argmax<'_, T>, Exec) -> Result<usize>,
    pub(super) l2_norm: fn(L2Norm<'_, T>, Exec) -> Result<T>,
    pub(super) column_sums: fn(ColumnSums<'_, T>, Exec) -> Result<()>,
    pub(super) column_mean_var: fn(ColumnMeanVar<'_, T>, Exec) -> Result<()>,
    pub(super) row_sums: fn(RowSums<'_, T>, Exec) -> Result<()>,
    pub(super) argmax_rows: fn(ArgmaxRows<'_, T>, Exec) -> Result<()>,
    pub(super) sgd: fn(&SgdStep, &mut [StepTensor<'_, T, 0>], Exec) -> Result<()>,
    pub(super) global_norm: fn(GlobalNorm<'_, T>, Exec) -> Result<f64>,
    pub(super) exp: fn(Exp<'_, T>, Exec) -> Result<()>,
    pub(super) ln: fn(Ln<'_, T>, Exec) -> Result<()>,
    pub(super) dropout: fn(&Dropout, &[T], &mut [T], Exec) -> Result<()>,
    pub(super) log1p: fn(Log1p<'_, T>, Exec) -> Result<()>,
    pub(super) expm1: fn(Expm1<'_, T>, Exec) -> Result<()>,
    pub(super) erf: fn(Erf<'_, T>, Exec) -> Result<()>,
    pub(super) rsqrt: fn(Rsqrt<'_, T>, Exec) -> Result<()>,
}

impl<T: Float> Table<T> {
    const fn new() -> Self {
        Self {
            activate: |op, exec| op.execute(exec),
            activate_backward: |op, exec| op.execute(exec),
            softmax: |op, exec| op.execute(exec),
            softmax_backward: |op, exec| op.execute(exec),
            log_softmax: |op, exec| op.execute(exec),
            log_softmax_backward: |op, exec| op.execute(exec),
            log_sum_exp: |op, exec| op.execute(exec),
            cross_entropy: |op, losses, exec| op.execute(losses, exec),
            linear_cross_entropy: |op, wanted, room, exec| op.execute(wanted, room, exec),
            sigmoid_cross_entropy: |op, dlogits, exec| op.execute(dlogits, exec),
            regression: |op, doutputs, exec| op.execute(doutputs, exec),
            row_norm: |op, y, stats, exec| op.execute(y, stats, exec),
            row_norm_backward: |op, dy, grads, exec| op.execute(dy, grads, exec),
            im2col: Patches::execute_gather,
            col2im: Patches::execute_scatter,
            pool: Pool::execute_forward,
            pool_backward: Pool::execute_backward,
            sum: |op, exec| op.execute(exec),
            mean: |op, exec| op.execute(exec),
            mean_var: |op, exec| op.execute(exec),
            max: |op, exec| op.execute(exec),
            argmax: |op, exec| op.execute(exec),
            l2_norm: |op, exec| op.execute(exec),
            column_sums: |op, exec| op.execute(exec),
            column_mean_var: |op, exec| op.execute(exec),
            row_sums: |op, exec| op.execute(exec),
            argmax_rows: |op, exec| op.execute(exec),
            sgd: SgdStep::execute,
            global_norm: |op, exec| op.execute(exec),
            exp: |op, exec| op.execute(exec),
            ln: |op, exec| op.execute(exec),
            dropout: Dropout::execute,
            log1p: |op, exec| op.execute(exec),
            expm1: |op, exec| op.execute(exec),
            erf: |op, exec| op.execute(exec),
            rsqrt: |op, exec| op.execute(exec),
        }
    }
}

/// Element types whose operations are compiled in this crate.
pub trait Compiled: Sized + 'static {
    /// Their table.
    fn compiled() -> &'static Table<Self>;
}

static F32: Table<f32> = Table::new();
static F64: Table<f64> = Table::new();

impl Compiled for f32 {
    fn compiled() -> &'static Table<f32> {
        &F32
    }
}

impl Compiled for f64 {
    fn compiled() -> &'static Table<f64> {
        &F64
    }
}
