//! Batch normalisation on buffers among canaries, for any type that they are stored as.

use std::ops::Range;

use tilewise_kernels::{
    Activation, Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads,
    BatchNormInference, BatchStats, Exec, Running, Storage, naive,
};

use super::batch_norm::Case;
use crate::data::Rng;
use crate::field::Field;
use crate::laws::unexpected;
use crate::real::{Real, Stored, widen};

/// The operands of a case: batches stored as `E`, computed in `T`.
pub(super) struct Operands<T, E = T> {
    pub(super) x: Vec<E>,
    pub(super) dy: Vec<E>,
    /// Empty where there is none.
    pub(super) residual: Vec<E>,
    pub(super) gamma: Vec<T>,
    pub(super) beta: Vec<T>,
    pub(super) epsilon: T,
    pub(super) dims: BatchNormDims,
}

impl<T: Real> Operands<T> {
    pub(super) fn new(case: &Case) -> Self {
        let [outer, channels, inner] = case.dims;
        let stream = |i| Rng::new(case.seed, i);
        let count = outer * channels * inner;
        let added = if case.residual { count } else { 0 };
        Self {
            x: case.x.fill::<T>(count, &mut stream(0)),
            dy: case.dy.fill(count, &mut stream(1)),
            residual: case.dy.fill(added, &mut stream(5)),
            gamma: case.affine.fill(channels, &mut stream(2)),
            beta: case.affine.fill(channels, &mut stream(3)),
            epsilon: T::from_f64(case.epsilon),
            dims: BatchNormDims { outer, channels, inner },
        }
    }

    /// What the residual and the ReLU make of the twin's output.
    pub(super) fn ended(&self, case: &Case, y: &mut [f64]) {
        let before = y.to_vec();
        if case.residual {
            naive::add_residual(&before, &widen(&self.residual), case.relu, y);
        } else if case.relu {
            naive::activate(Activation::Relu, &before, y);
        }
    }
}

impl<T, E> Operands<T, E> {
    pub(super) fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: &self.gamma, beta: &self.beta }
    }

    /// The places of a channel's values.
    pub(super) fn places(&self, c: usize) -> Vec<usize> {
        let BatchNormDims { outer, channels, inner } = self.dims;
        let run = move |o: usize| (0..inner).map(move |i| (o * channels + c) * inner + i);
        (0..outer).flat_map(run).collect()
    }
}

/// The output, then the statistics.
pub(super) fn run_forward<T: Real, E: Storage<T> + Stored>(
    case: &Case,
    operands: &Operands<T, E>,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let Operands { x, residual, dims, epsilon, .. } = operands;
    let (x, r) = (Field::vector(shift, x), Field::vector(shift / 3, residual));
    let mut y = unwritten::<T, E>(shift / 2, x.slice().len());
    let mut stats = BatchStats::new(dims.channels);
    let op = BatchNormForward::new(x.slice(), *dims, operands.affine(), *epsilon);
    op.map(|op| if case.residual { op.residual(r.slice()) } else { op })
        .and_then(|op| op.relu(case.relu).run(y.slice_mut(), &mut stats, exec))
        .map_err(unexpected)?;
    y.intact("y")?;
    Ok([widened(&y), stats.mean, stats.mean_low, stats.var, stats.inv_std].concat())
}

/// An output full of NaN, which no operation may read.
fn unwritten<T: Real, E: Storage<T> + Stored>(shift: usize, len: usize) -> Field<E> {
    Field::vector(shift, &vec![E::narrow(T::NAN); len])
}

fn widened<T: Real, E: Storage<T> + Stored>(field: &Field<E>) -> Vec<T> {
    field.values().into_iter().map(E::widen).collect()
}

/// The output for a part of the batch.
pub(super) fn run_inference<T: Real, E: Storage<T> + Stored>(
    case: &Case,
    operands: &Operands<T, E>,
    (running, dims, part): (Running<'_, T>, BatchNormDims, Range<usize>),
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let Operands { x, residual, epsilon, .. } = operands;
    let r = if case.residual { &residual[part.clone()] } else { &[] };
    let (x, r) = (Field::vector(shift, &x[part]), Field::vector(shift / 3, r));
    let mut y = unwritten::<T, E>(shift / 2, x.slice().len());
    let op = BatchNormInference::new(x.slice(), dims, operands.affine(), running, *epsilon);
    op.map(|op| if case.residual { op.residual(r.slice()) } else { op })
        .and_then(|op| op.relu(case.relu).run(y.slice_mut(), exec))
        .map_err(unexpected)?;
    y.intact("y").map(|()| widened(&y))
}

/// The gradients of the input, scale and shift, then that of the residual.
pub(super) fn run_backward<T: Real, E: Storage<T> + Stored>(
    case: &Case,
    operands: &Operands<T, E>,
    stats: &BatchStats<T>,
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let Operands { x, dy, residual, dims, .. } = operands;
    let (x, dy) = (Field::vector(shift, x), Field::vector(shift / 2, dy));
    let r = Field::vector(shift / 4, residual);
    let mut dx = unwritten::<T, E>(shift / 3, x.slice().len());
    let mut dr = unwritten::<T, E>(shift, residual.len());
    let mut dgamma = Field::output_vector(shift, dims.channels);
    let mut dbeta = Field::output_vector(shift / 2, dims.channels);
    let grads =
        BatchNormGrads { dx: dx.slice_mut(), dgamma: dgamma.slice_mut(), dbeta: dbeta.slice_mut() };
    let op = BatchNormBackward::new(x.slice(), *dims, operands.affine(), stats);
    op.map(|op| if case.residual { op.residual(r.slice(), dr.slice_mut()) } else { op })
        .and_then(|op| op.relu(case.relu).run(dy.slice(), grads, exec))
        .map_err(unexpected)?;
    dx.intact("dx")?;
    dr.intact("dr")?;
    dgamma.intact("dgamma")?;
    dbeta.intact("dbeta")?;
    Ok([widened(&dx), dgamma.values(), dbeta.values(), widened(&dr)].concat())
}
