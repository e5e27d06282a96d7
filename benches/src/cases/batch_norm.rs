//! Batch normalisation: training forward and backward, inference.

use std::any::Any;

use tilewise_kernels::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchNormInference,
    BatchStats, Exec, Float, Result, Running, Storage, naive,
};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};
use crate::peers::{self, Owned, Peer, Statistics};

const EPSILON: f64 = 1e-5;

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    Backward,
    Inference,
}

/// All passes on minibatches of rows, and on images of both layouts; as a residual block has them, on
/// some. Elements are stored as `E`.
pub fn cases<T: Float, E: Storage<T>>() -> Vec<Case> {
    let images = |dims: Result<BatchNormDims>| dims.expect("a size that fits");
    let shapes = [
        ("128x10", BatchNormDims::rows(128, 10)),
        ("64x256", BatchNormDims::rows(64, 256)),
        ("512x1024", BatchNormDims::rows(512, 1024)),
        ("4096x1024", BatchNormDims::rows(4096, 1024)),
        ("64x56x56x64-nhwc", images(BatchNormDims::nhwc(64, 56, 56, 64))),
        ("32x64x56x56-nchw", images(BatchNormDims::nchw(32, 64, 56, 56))),
    ];
    let named = |ending: &'static str, after: After, from: usize| {
        let name = move |(shape, dims)| (format!("{shape}{ending}"), dims, after);
        shapes.into_iter().skip(from).map(name)
    };
    let [relu, add] = [After { relu: true, add: false }, After { relu: true, add: true }];
    let plain = named("", After { relu: false, add: false }, 0);
    let variants: Vec<_> =
        plain.chain(named("-relu", relu, 0)).chain(named("-add-relu", add, 2)).collect();
    let on = |pass: Pass| {
        variants.iter().map(move |(shape, dims, after)| {
            let (dims, after) = (*dims, *after);
            let count = dims.outer * dims.channels * dims.inner;
            let id = format!("{}/{}/{shape}", pass.op(), E::STORED);
            let work = Work::values::<E>(pass.values(after) * count);
            Case::new(id, work, move || Batch::<T, E>::new(pass, dims, after))
                .counting(pass.flops(after) * count)
        })
    };
    [Pass::Forward, Pass::Backward, Pass::Inference].into_iter().flat_map(on).collect()
}

/// What follows the normalisation.
#[derive(Clone, Copy)]
struct After {
    relu: bool,
    add: bool,
}

impl Pass {
    fn op(self) -> &'static str {
        match self {
            Self::Forward => "batch_norm",
            Self::Backward => "batch_norm_backward",
            Self::Inference => "batch_norm_inference",
        }
    }

    /// Values read and written per element.
    fn values(self, after: After) -> usize {
        match (self, after.add) {
            (Self::Backward, true) => 5,
            (Self::Backward, false) | (_, true) => 3,
            (_, false) => 2,
        }
    }

    /// Operations per element.
    fn flops(self, after: After) -> usize {
        let (relu, add) = (usize::from(after.relu), usize::from(after.add));
        add + match self {
            // A sum, a difference and a sum of squares, then a multiply-add with the channel's factors.
            Self::Forward => 6 + relu,
            // Σ dy and Σ dy (x - mean), then dx from dy and x by two multiply-adds; the ReLU's side
            // takes a multiply-add and a comparison.
            Self::Backward => 8 + 3 * relu,
            Self::Inference => 2 + relu,
        }
    }
}

struct Batch<T, E> {
    pass: Pass,
    dims: BatchNormDims,
    after: After,
    x: Vec<E>,
    dy: Vec<E>,
    /// What is added; empty where nothing is.
    residual: Vec<E>,
    gamma: Vec<T>,
    beta: Vec<T>,
    stats: BatchStats<T>,
    /// `y` or `dx`.
    out: Vec<E>,
    /// The residual's gradient.
    dresidual: Vec<E>,
    /// What the naive twin has before its ReLU, and the gradient there; empty where there is none.
    before: Vec<E>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    /// For who takes only memory of his own, and whether the last call computed there.
    owned: Option<Box<dyn Owned>>,
    apart: bool,
}

impl<T: Float, E: Storage<T>> Batch<T, E> {
    fn new(pass: Pass, dims: BatchNormDims, after: After) -> Self {
        let (len, channels) = (dims.outer * dims.channels * dims.inner, dims.channels);
        let mut random = Random::new(1);
        let mut stored = |len: usize, low: f64, high: f64| -> Vec<E> {
            random.uniform(len, low, high).into_iter().map(E::narrow).collect()
        };
        let added = if after.add { len } else { 0 };
        let (x, dy) = (stored(len, -1.0, 3.0), stored(len, -1.0, 1.0));
        let residual = stored(added, -1.0, 1.0);
        let mut batch = Self {
            pass: Pass::Forward,
            dims,
            after,
            x,
            dy,
            residual,
            gamma: random.uniform(channels, 0.5, 1.5),
            beta: random.uniform(channels, -0.5, 0.5),
            stats: BatchStats::new(channels),
            out: vec![E::default(); len],
            dresidual: vec![E::default(); added],
            before: vec![E::default(); if after.relu { len } else { 0 }],
            dgamma: vec![T::ZERO; channels],
            dbeta: vec![T::ZERO; channels],
            owned: None,
            apart: false,
        };
        // Statistics for the passes that only read them.
        batch.naive();
        batch.pass = pass;
        // Where the input of a ReLU is within rounding of zero, it may be on for one and off for
        // another: no gradient comes from there, so that both sides give the same.
        let near = Self::unit().max(1e-5);
        let residual = batch.residual.iter().map(|r| r.widen()).chain(std::iter::repeat(T::ZERO));
        for ((y, r), dy) in batch.before.iter().zip(residual).zip(&mut batch.dy) {
            if (y.widen() + r).abs() < T::from_f64(near) {
                *dy = E::default();
            }
        }
        batch
    }

    /// The rounding of a stored value of at most 8.
    fn unit() -> f64 {
        if size_of::<E>() < size_of::<T>() { 8.0 / 256.0 } else { T::EPSILON.to_f64() }
    }

    fn fast(&mut self, exec: Exec) -> Result<()> {
        let Self { pass, dims, after, x, dy, residual, gamma, beta, stats, .. } = self;
        let Self { out, dresidual, dgamma, dbeta, .. } = self;
        let (affine, epsilon, After { relu, add }) =
            (Affine { gamma, beta }, T::from_f64(EPSILON), *after);
        match pass {
            Pass::Forward => {
                let op = BatchNormForward::new(x, *dims, affine, epsilon)?.relu(relu);
                let op = if add { op.residual(residual) } else { op };
                op.run(out, stats, exec)
            }
            Pass::Backward => {
                let grads = BatchNormGrads { dx: out, dgamma, dbeta };
                let op = BatchNormBackward::new(x, *dims, affine, stats)?.relu(relu);
                let op = if add { op.residual(residual, dresidual) } else { op };
                op.run(dy, grads, exec)
            }
            Pass::Inference => {
                let running = Running { mean: &stats.mean, var: &stats.var };
                let op = BatchNormInference::new(x, *dims, affine, running, epsilon)?.relu(relu);
                let op = if add { op.residual(residual) } else { op };
                op.run(out, exec)
            }
        }
    }

    /// Other people know `f32` only.
    fn theirs(&mut self, peer: Peer, threads: usize) {
        let own = (self as &mut dyn Any).downcast_mut::<Batch<f32, f32>>().expect("a case in f32");
        let Batch {
            pass, dims, after, x, dy, gamma, beta, stats, out, dgamma, dbeta, owned, ..
        } = own;
        let epsilon = EPSILON as f32;
        let batch = peers::Batch { x, dims: *dims, gamma, beta, epsilon, relu: after.relu };
        if peer.owns_memory() {
            return owned.get_or_insert_with(|| peers::own_batch_norm(peer, &batch)).run();
        }
        let BatchStats { mean, var, .. } = stats;
        match pass {
            Pass::Forward => {
                peers::batch_norm(peer, &batch, out, Statistics { mean, var }, threads);
            }
            Pass::Backward => {
                let gradients = peers::Gradients { dx: out, dgamma, dbeta };
                let statistics = Statistics { mean: &**mean, var: &**var };
                peers::batch_norm_backward(peer, &batch, statistics, dy, gradients, threads);
            }
            Pass::Inference => {
                let statistics = Statistics { mean: &**mean, var: &**var };
                peers::batch_norm_inference(peer, &batch, out, statistics, threads);
            }
        }
    }

    fn naive(&mut self) {
        let Self { pass, dims, after, x, dy, residual, gamma, beta, stats, .. } = self;
        let Self { out, before, dresidual, dgamma, dbeta, .. } = self;
        let After { relu, add } = *after;
        let (affine, epsilon) = (Affine { gamma, beta }, T::from_f64(EPSILON));
        let running = || Running { mean: &stats.mean, var: &stats.var };
        // The twin knows no ReLU: one follows it, or comes before it on the way back.
        let none = vec![E::default(); if relu && !add { x.len() } else { 0 }];
        let residual = if add { &*residual } else { &none };
        let to = if relu { &mut *before } else { &mut *out };
        match pass {
            Pass::Forward => naive::batch_norm_forward(x, *dims, affine, epsilon, to, stats),
            Pass::Inference => {
                naive::batch_norm_inference(x, *dims, affine, running(), epsilon, to);
            }
            Pass::Backward => {
                if relu {
                    // What inference computes with the batch's own statistics is the forward output.
                    naive::batch_norm_inference(x, *dims, affine, running(), epsilon, out);
                    naive::add_residual_backward([&**out, residual], relu, dy, before);
                    let len = dresidual.len();
                    dresidual.clone_from_slice(&before[..len]);
                }
                let dy = if relu { before } else { dy };
                let grads = BatchNormGrads { dx: out, dgamma, dbeta };
                return naive::batch_norm_backward(x, *dims, affine, stats, dy, grads);
            }
        }
        if relu {
            naive::add_residual(before, residual, relu, out);
        }
    }
}

impl<T: Float, E: Storage<T>> Workload for Batch<T, E> {
    fn run(&mut self, by: Implementation) {
        self.apart = by.owns_memory();
        match (by.exec(), by.peer()) {
            (Some(exec), _) => self.fast(exec).expect("valid arguments"),
            (_, Some(peer)) => self.theirs(peer, by.threads),
            _ => self.naive(),
        }
    }

    /// Whoever writes nothing must not pass for the one before. (Nobody else writes `inv_std`.)
    fn reset(&mut self) {
        self.out.fill(E::narrow(T::NAN));
        match self.pass {
            Pass::Forward => {
                self.stats.mean.fill(T::NAN);
                self.stats.var.fill(T::NAN);
            }
            Pass::Backward => {
                self.dresidual.fill(E::narrow(T::NAN));
                self.dgamma.fill(T::NAN);
                self.dbeta.fill(T::NAN);
            }
            Pass::Inference => {}
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        match &self.owned {
            Some(owned) if self.apart => all.extend(owned.outputs()),
            _ => {
                let stored = self.out.iter().chain(&self.dresidual);
                all.extend(stored.map(|value| value.widen().to_f64()));
                append(&self.stats.mean, &mut all);
                append(&self.stats.var, &mut all);
            }
        }
        for values in [&self.stats.inv_std, &self.dgamma, &self.dbeta] {
            append(values, &mut all);
        }
        all
    }

    /// Sums of as many terms of size 1 as a channel has values, and the rounding of what is stored.
    fn tolerance(&self) -> f64 {
        let sums = (self.dims.outer * self.dims.inner + 64) as f64 * T::EPSILON.to_f64();
        sums + if size_of::<E>() < size_of::<T>() { Self::unit() / 4.0 } else { 0.0 }
    }
}
