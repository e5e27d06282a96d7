//! Batch normalisation: training forward and backward, inference.

use tilewise_kernels::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchNormInference,
    BatchStats, Exec, Float, Result, Running, naive,
};

use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};

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
    let passes = [
        ("batch_norm", Pass::Forward, 2),
        ("batch_norm_backward", Pass::Backward, 3),
        ("batch_norm_inference", Pass::Inference, 2),
    ];
    let mut list = Vec::new();
    for (name, pass, values) in passes {
        list.extend(shapes.map(|(shape, dims)| {
            let work = Work::values::<T>(values * dims.outer * dims.channels * dims.inner);
            let id = format!("{name}/{}/{shape}", T::NAME);
            Case::new(id, work, move || Batch::<T>::new(pass, dims))
        }));
    }
    list
}

struct Batch<T> {
    pass: Pass,
    dims: BatchNormDims,
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    stats: BatchStats<T>,
    /// `y` or `dx`.
    out: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
}

impl<T: Float> Batch<T> {
    fn new(pass: Pass, dims: BatchNormDims) -> Self {
        let (len, channels) = (dims.outer * dims.channels * dims.inner, dims.channels);
        let mut random = Random::new(1);
        let mut batch = Self {
            pass: Pass::Forward,
            dims,
            x: random.uniform(len, -1.0, 3.0),
            dy: random.uniform(len, -1.0, 1.0),
            gamma: random.uniform(channels, 0.5, 1.5),
            beta: random.uniform(channels, -0.5, 0.5),
            stats: BatchStats::new(channels),
            out: vec![T::ZERO; len],
            dgamma: vec![T::ZERO; channels],
            dbeta: vec![T::ZERO; channels],
        };
        // Statistics for the passes that only read them.
        batch.naive();
        batch.pass = pass;
        batch
    }

    fn fast(&mut self, exec: Exec) -> Result<()> {
        let Self { pass, dims, x, dy, gamma, beta, stats, out, dgamma, dbeta } = self;
        let (affine, epsilon) = (Affine { gamma, beta }, T::from_f64(EPSILON));
        match pass {
            Pass::Forward => {
                BatchNormForward::new(x, *dims, affine, epsilon)?.run(out, stats, exec)
            }
            Pass::Backward => BatchNormBackward::new(x, *dims, affine, stats)?.run(
                dy,
                BatchNormGrads { dx: out, dgamma, dbeta },
                exec,
            ),
            Pass::Inference => {
                let running = Running { mean: &stats.mean, var: &stats.var };
                BatchNormInference::new(x, *dims, affine, running, epsilon)?.run(out, exec)
            }
        }
    }

    fn naive(&mut self) {
        let Self { pass, dims, x, dy, gamma, beta, stats, out, dgamma, dbeta } = self;
        let (affine, epsilon) = (Affine { gamma, beta }, T::from_f64(EPSILON));
        match pass {
            Pass::Forward => naive::batch_norm_forward(x, *dims, affine, epsilon, out, stats),
            Pass::Backward => {
                let grads = BatchNormGrads { dx: out, dgamma, dbeta };
                naive::batch_norm_backward(x, *dims, affine, stats, dy, grads);
            }
            Pass::Inference => {
                let running = Running { mean: &stats.mean, var: &stats.var };
                naive::batch_norm_inference(x, *dims, affine, running, epsilon, out);
            }
        }
    }
}

impl<T: Float> Workload for Batch<T> {
    fn run(&mut self, by: Implementation) {
        match by.exec() {
            Some(exec) => self.fast(exec).expect("valid arguments"),
            None => self.naive(),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        let stats = [&self.stats.mean, &self.stats.var, &self.stats.inv_std];
        for values in [&self.out, &self.dgamma, &self.dbeta].into_iter().chain(stats) {
            append(values, &mut all);
        }
        all
    }

    /// Sums of as many terms of size 1 as a channel has values.
    fn tolerance(&self) -> f64 {
        (self.dims.outer * self.dims.inner + 64) as f64 * T::EPSILON.to_f64()
    }
}
