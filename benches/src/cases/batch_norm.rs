//! Batch normalisation: training forward and backward, inference.

use std::any::Any;

use tilewise_kernels::{
    Activation, Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads,
    BatchNormInference, BatchStats, Exec, Float, Result, Running, naive,
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

/// All passes on minibatches of rows, and on images of both layouts.
pub fn cases<T: Float>() -> Vec<Case> {
    let images = |dims: Result<BatchNormDims>| dims.expect("a size that fits");
    let shapes = [
        ("128x10", BatchNormDims::rows(128, 10)),
        ("64x256", BatchNormDims::rows(64, 256)),
        ("512x1024", BatchNormDims::rows(512, 1024)),
        ("4096x1024", BatchNormDims::rows(4096, 1024)),
        ("64x56x56x64-nhwc", images(BatchNormDims::nhwc(64, 56, 56, 64))),
        ("32x64x56x56-nchw", images(BatchNormDims::nchw(32, 64, 56, 56))),
    ];
    let plain = shapes.into_iter().map(|(shape, dims)| (shape.to_owned(), dims, false));
    let fused = shapes.into_iter().map(|(shape, dims)| (format!("{shape}-relu"), dims, true));
    let variants: Vec<_> = plain.chain(fused).collect();
    let on = |pass: Pass| {
        variants.iter().map(move |(shape, dims, relu)| {
            let (dims, relu) = (*dims, *relu);
            let count = dims.outer * dims.channels * dims.inner;
            let id = format!("{}/{}/{shape}", pass.op(), T::NAME);
            let work = Work::values::<T>(pass.values() * count);
            Case::new(id, work, move || Batch::<T>::new(pass, dims, relu))
                .counting(pass.flops(relu) * count)
        })
    };
    [Pass::Forward, Pass::Backward, Pass::Inference].into_iter().flat_map(on).collect()
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
    fn values(self) -> usize {
        if let Self::Backward = self { 3 } else { 2 }
    }

    /// Operations per element.
    fn flops(self, relu: bool) -> usize {
        let relu = usize::from(relu);
        match self {
            // A sum, a difference and a sum of squares, then a multiply-add with the channel's factors.
            Self::Forward => 6 + relu,
            // Σ dy and Σ dy (x - mean), then dx from dy and x by two multiply-adds; the ReLU's side
            // takes a multiply-add and a comparison.
            Self::Backward => 8 + 3 * relu,
            Self::Inference => 2 + relu,
        }
    }
}

struct Batch<T> {
    pass: Pass,
    dims: BatchNormDims,
    relu: bool,
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    stats: BatchStats<T>,
    /// `y` or `dx`.
    out: Vec<T>,
    /// What the naive twin has before its ReLU, and the gradient there; empty where there is none.
    before: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    /// For who takes only memory of his own, and whether the last call computed there.
    owned: Option<Box<dyn Owned>>,
    apart: bool,
}

impl<T: Float> Batch<T> {
    fn new(pass: Pass, dims: BatchNormDims, relu: bool) -> Self {
        let (len, channels) = (dims.outer * dims.channels * dims.inner, dims.channels);
        let mut random = Random::new(1);
        let mut batch = Self {
            pass: Pass::Forward,
            dims,
            relu,
            x: random.uniform(len, -1.0, 3.0),
            dy: random.uniform(len, -1.0, 1.0),
            gamma: random.uniform(channels, 0.5, 1.5),
            beta: random.uniform(channels, -0.5, 0.5),
            stats: BatchStats::new(channels),
            out: vec![T::ZERO; len],
            before: vec![T::ZERO; if relu { len } else { 0 }],
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
        let unsure = |y: &T| y.abs() < T::from_f64(1e-5);
        let pairs = batch.before.iter().zip(&mut batch.dy);
        pairs.filter(|(y, _)| unsure(y)).for_each(|(_, dy)| *dy = T::ZERO);
        batch
    }

    fn fast(&mut self, exec: Exec) -> Result<()> {
        let Self { pass, dims, relu, x, dy, gamma, beta, stats, out, dgamma, dbeta, .. } = self;
        let (affine, epsilon, relu) = (Affine { gamma, beta }, T::from_f64(EPSILON), *relu);
        match pass {
            Pass::Forward => {
                let op = BatchNormForward::new(x, *dims, affine, epsilon)?;
                op.relu(relu).run(out, stats, exec)
            }
            Pass::Backward => {
                let grads = BatchNormGrads { dx: out, dgamma, dbeta };
                BatchNormBackward::new(x, *dims, affine, stats)?.relu(relu).run(dy, grads, exec)
            }
            Pass::Inference => {
                let running = Running { mean: &stats.mean, var: &stats.var };
                let op = BatchNormInference::new(x, *dims, affine, running, epsilon)?;
                op.relu(relu).run(out, exec)
            }
        }
    }

    /// Other people know `f32` only.
    fn theirs(&mut self, peer: Peer, threads: usize) {
        let own = (self as &mut dyn Any).downcast_mut::<Batch<f32>>().expect("a case in f32");
        let Batch {
            pass, dims, relu, x, dy, gamma, beta, stats, out, dgamma, dbeta, owned, ..
        } = own;
        let epsilon = EPSILON as f32;
        let batch = peers::Batch { x, dims: *dims, gamma, beta, epsilon, relu: *relu };
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
        let Self {
            pass, dims, relu, x, dy, gamma, beta, stats, out, before, dgamma, dbeta, ..
        } = self;
        let (affine, epsilon) = (Affine { gamma, beta }, T::from_f64(EPSILON));
        let running = || Running { mean: &stats.mean, var: &stats.var };
        // The twin knows no ReLU: one follows it, or comes before it on the way back.
        let to = if *relu { &mut *before } else { &mut *out };
        match pass {
            Pass::Forward => naive::batch_norm_forward(x, *dims, affine, epsilon, to, stats),
            Pass::Inference => {
                naive::batch_norm_inference(x, *dims, affine, running(), epsilon, to);
            }
            Pass::Backward => {
                if *relu {
                    // What inference computes with the batch's own statistics is the forward output.
                    naive::batch_norm_inference(x, *dims, affine, running(), epsilon, out);
                    naive::activate_backward(Activation::Relu, out, dy, before);
                }
                let dy = if *relu { before } else { dy };
                let grads = BatchNormGrads { dx: out, dgamma, dbeta };
                return naive::batch_norm_backward(x, *dims, affine, stats, dy, grads);
            }
        }
        if *relu {
            naive::activate(Activation::Relu, before, out);
        }
    }
}

impl<T: Float> Workload for Batch<T> {
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
        self.out.fill(T::NAN);
        match self.pass {
            Pass::Forward => {
                self.stats.mean.fill(T::NAN);
                self.stats.var.fill(T::NAN);
            }
            Pass::Backward => {
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
            _ => [&self.out, &self.stats.mean, &self.stats.var]
                .into_iter()
                .for_each(|values| append(values, &mut all)),
        }
        for values in [&self.stats.inv_std, &self.dgamma, &self.dbeta] {
            append(values, &mut all);
        }
        all
    }

    /// Sums of as many terms of size 1 as a channel has values.
    fn tolerance(&self) -> f64 {
        (self.dims.outer * self.dims.inner + 64) as f64 * T::EPSILON.to_f64()
    }
}
