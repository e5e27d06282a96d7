//! Operations on batches and rows that others can do: what they are given, and who does it. All of them
//! take `f32`.

#![cfg_attr(not(feature = "all-peers"), allow(unused_variables, reason = "somebody is missing"))]

use tilewise_kernels::{BatchNormDims, Float, MatMut, MatRef};

use super::Peer;
#[cfg(feature = "peers")]
use super::{Native, onednn};
#[cfg(feature = "all-peers")]
use super::{RustCrate, candle};

/// What a batch normalisation reads.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The elements.
    pub x: &'a [f32],
    /// How they lie.
    pub dims: BatchNormDims,
    /// A factor per channel.
    pub gamma: &'a [f32],
    /// A shift per channel.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// Of each channel: as `S` says, slices to read or to write.
#[derive(Debug)]
pub struct Statistics<S> {
    /// The means.
    pub mean: S,
    /// The biased variances.
    pub var: S,
}

/// What a backward pass writes.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the elements.
    pub dx: &'a mut [f32],
    /// Of the factors.
    pub dgamma: &'a mut [f32],
    /// Of the shifts.
    pub dbeta: &'a mut [f32],
}

/// What a training step of a network is made of: layers with weights, each but the last with batch
/// normalisation and ReLU behind it, and layers of images, by planes, with pooling of 2 x 2; softmax
/// cross-entropy; and Adam at a learning rate of 0.
#[derive(Debug)]
pub struct Network<'a, T> {
    /// Shapes and values: of each layer the weight, then factor and shift, or the last one's bias. Linear
    /// weights are by outputs first, filters have four dimensions.
    pub parameters: Vec<(&'a [usize], &'a [T])>,
    /// The features.
    pub x: &'a [T],
    /// Their shape: rows, or images.
    pub dims: &'a [usize],
    /// A class for each.
    pub labels: &'a [usize],
    /// Added to variances.
    pub epsilon: f64,
}

/// Normalises a batch and takes its statistics.
///
/// # Panics
/// If the lengths do not fit, or if the peer does not do this or is not there; so do the functions below.
pub fn batch_norm(
    who: Peer,
    batch: &Batch,
    y: &mut [f32],
    statistics: Statistics<&mut [f32]>,
    threads: usize,
) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => onednn::forward(batch, y, statistics, threads),
        _ => panic!("{who} has no batch normalisation"),
    }
}

/// The gradients of a batch whose statistics are given, from those of its output.
pub fn batch_norm_backward(
    who: Peer,
    batch: &Batch,
    statistics: Statistics<&[f32]>,
    dy: &[f32],
    gradients: Gradients,
    threads: usize,
) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => {
            onednn::backward(batch, statistics, dy, gradients, threads);
        }
        _ => panic!("{who} has no batch normalisation"),
    }
}

/// Normalises a batch with statistics that are given.
pub fn batch_norm_inference(
    who: Peer,
    batch: &Batch,
    y: &mut [f32],
    statistics: Statistics<&[f32]>,
    threads: usize,
) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => onednn::inference(batch, y, statistics, threads),
        _ => panic!("{who} has no batch normalisation"),
    }
}

/// The softmax of each row, or its logarithm.
pub fn softmax(who: Peer, x: MatRef<f32>, y: MatMut<f32>, log: bool, threads: usize) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => onednn::softmax(x, y, log, threads),
        _ => panic!("{who} has no softmax"),
    }
}

/// The gradient of a softmax, or of its logarithm, from its output and the gradient of that.
pub fn softmax_backward(
    who: Peer,
    [y, dy]: [MatRef<f32>; 2],
    dx: MatMut<f32>,
    log: bool,
    threads: usize,
) {
    match who {
        #[cfg(feature = "peers")]
        Peer::Native(Native::OneDnn) => onednn::softmax_backward(y, dy, dx, log, threads),
        _ => panic!("{who} has no softmax"),
    }
}

/// A problem in memory of the peer's own, for those who compute in no one else's: inputs are copied there
/// before the first call and outputs back after the last.
pub trait Owned: Send {
    /// One call.
    fn run(&mut self);

    /// What the last call computed.
    fn outputs(&self) -> Vec<f64>;
}

impl Peer {
    /// Whether it computes in memory of its own, by the functions below.
    pub fn owns_memory(self) -> bool {
        matches!(self, Self::Crate(super::RustCrate::Candle))
    }
}

/// `C = A B`: row by row, all of C.
pub fn own_product<T: Float>(who: Peer, a: MatRef<T>, b: MatRef<T>) -> Box<dyn Owned> {
    match who {
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Candle) => Box::new(candle::product(a, b)),
        _ => panic!("{who} has no memory of its own"),
    }
}

/// A training pass of a batch normalisation: the output, means and biased variances.
pub fn own_batch_norm(who: Peer, batch: &Batch) -> Box<dyn Owned> {
    match who {
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Candle) => Box::new(candle::batch_norm(batch)),
        _ => panic!("{who} has no memory of its own"),
    }
}

/// The softmax of each row, or its logarithm.
pub fn own_softmax(who: Peer, x: MatRef<f32>, log: bool) -> Box<dyn Owned> {
    match who {
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Candle) => Box::new(candle::softmax(x, log)),
        _ => panic!("{who} has no memory of its own"),
    }
}

/// The gradient of the mean cross-entropy of rows of logits with a class each, then the loss itself.
pub fn own_cross_entropy(who: Peer, logits: MatRef<f32>, labels: &[usize]) -> Box<dyn Owned> {
    match who {
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Candle) => Box::new(candle::cross_entropy(logits, labels)),
        _ => panic!("{who} has no memory of its own"),
    }
}

/// The gradients by each parameter, one after the other, then the loss.
pub fn own_training_step<T: Float>(who: Peer, network: &Network<T>) -> Box<dyn Owned> {
    match who {
        #[cfg(feature = "all-peers")]
        Peer::Crate(RustCrate::Candle) => Box::new(candle::training_step(network)),
        _ => panic!("{who} has no memory of its own"),
    }
}
