//! Batch normalisation.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::sync::Mutex;

use tilewise_kernels::BatchNormDims;

use super::super::operation::{Batch, Gradients, Statistics};
use super::{
    Description, Dtype, Handle, Kept, Layout, OneDnn, check, kind, made, purpose, read, run, write,
};

/// `dnnl_batch_normalization_forward_primitive_desc_create`: engine, purpose, source, destination,
/// epsilon, flags, no attributes.
pub(super) type Describe =
    unsafe extern "C" fn(*mut Handle, Handle, c_int, Handle, Handle, f32, c_uint, Handle) -> c_int;

/// `dnnl_batch_normalization_backward_primitive_desc_create`: engine, purpose, gradients of source and
/// destination, source, epsilon, flags, the forward description, no attributes.
pub(super) type DescribeBackward = unsafe extern "C" fn(
    *mut Handle,
    Handle,
    c_int,
    Handle,
    Handle,
    Handle,
    f32,
    c_uint,
    Handle,
    Handle,
) -> c_int;

const GIVEN_STATISTICS: c_uint = 1;
const SCALE_AND_SHIFT: c_uint = 2 | 4;
const RELU: c_uint = 8;

/// What a primitive is compiled for: sizes, epsilon, a ReLU, threads.
type Key = (BatchNormDims, f32, bool, usize);

impl Batch<'_> {
    /// How the elements lie.
    fn layout(&self) -> Layout {
        let BatchNormDims { outer, channels, inner } = self.dims;
        assert_eq!(self.x.len(), outer * channels * inner, "elements of the batch");
        assert!(self.gamma.len() == channels && self.beta.len() == channels, "a value per channel");
        if inner == 1 {
            return Layout::matrix(outer, channels);
        }
        let dims = [[outer, channels * inner], [channels, inner], [inner, 1], [1, 1]];
        Layout::new(Dtype::F32, &dims)
    }

    fn key(&self, threads: usize) -> Key {
        (self.dims, self.epsilon, self.relu, threads)
    }

    fn flags(&self) -> c_uint {
        if self.relu { SCALE_AND_SHIFT | RELU } else { SCALE_AND_SHIFT }
    }
}

/// Describes a forward pass from the descriptions of its source and destination.
fn describe(
    library: &OneDnn,
    engine: Handle,
    [x, y]: [Handle; 2],
    (why, epsilon, flags): (c_int, f32, c_uint),
) -> Result<Handle, String> {
    let none = null_mut();
    // SAFETY: this is the function's type, and the handles are live.
    let describe = |out| unsafe { (library.norm)(out, engine, why, x, y, epsilon, flags, none) };
    made("a batch normalisation", describe)
}

/// A training pass.
pub(in crate::peers) fn forward(
    batch: &Batch,
    y: &mut [f32],
    statistics: Statistics<&mut [f32]>,
    threads: usize,
) {
    static KEPT: Kept<Key> = Mutex::new(None);
    let (layout, channels) = (batch.layout(), batch.dims.channels);
    let Statistics { mean, var } = statistics;
    assert!(y.len() == batch.x.len() && mean.len() == channels && var.len() == channels);
    let data =
        [read(batch.x), write(y), write(mean), write(var), read(batch.gamma), read(batch.beta)];
    let goal = (purpose::TRAINING, batch.epsilon, batch.flags());
    let tensors = || (arguments(layout, channels), pass(goal));
    // SAFETY: the assertions prove that each slice holds as many values as its tensor, and those that
    // are written are borrowed mutably.
    unsafe { run(&KEPT, batch.key(threads), threads, tensors, data) }
}

/// With statistics that are given.
pub(in crate::peers) fn inference(
    batch: &Batch,
    y: &mut [f32],
    statistics: Statistics<&[f32]>,
    threads: usize,
) {
    static KEPT: Kept<Key> = Mutex::new(None);
    let (layout, channels) = (batch.layout(), batch.dims.channels);
    let Statistics { mean, var } = statistics;
    assert!(y.len() == batch.x.len() && mean.len() == channels && var.len() == channels);
    let data =
        [read(batch.x), write(y), read(mean), read(var), read(batch.gamma), read(batch.beta)];
    let goal = (purpose::INFERENCE, batch.epsilon, batch.flags() | GIVEN_STATISTICS);
    let tensors = || (arguments(layout, channels), pass(goal));
    // SAFETY: as in `forward`; statistics that are given are only read.
    unsafe { run(&KEPT, batch.key(threads), threads, tensors, data) }
}

/// Source, destination, statistics, factors and shifts.
fn arguments(layout: Layout, channels: usize) -> [(c_int, Layout); 6] {
    let vector = Layout::vector(channels);
    [
        (kind::SOURCE, layout),
        (kind::DESTINATION, layout),
        (kind::MEAN, vector),
        (kind::VARIANCE, vector),
        (kind::SCALE, vector),
        (kind::SHIFT, vector),
    ]
}

fn pass(goal: (c_int, f32, c_uint)) -> Description<6> {
    Box::new(move |library, [x, y, ..], engine| describe(library, engine, [x, y], goal))
}

/// The gradients. A fused ReLU would need what the forward pass has kept.
pub(in crate::peers) fn backward(
    batch: &Batch,
    statistics: Statistics<&[f32]>,
    dy: &[f32],
    gradients: Gradients,
    threads: usize,
) {
    static KEPT: Kept<Key> = Mutex::new(None);
    assert!(!batch.relu, "no ReLU");
    let (layout, vector) = (batch.layout(), Layout::vector(batch.dims.channels));
    let (len, channels) = (batch.x.len(), batch.dims.channels);
    let Statistics { mean, var } = statistics;
    let Gradients { dx, dgamma, dbeta } = gradients;
    assert!(dy.len() == len && dx.len() == len && dgamma.len() == channels);
    assert!(mean.len() == channels && var.len() == channels && dbeta.len() == channels);
    let data = [
        read(batch.x),
        read(mean),
        read(var),
        read(batch.gamma),
        read(dy),
        write(dx),
        write(dgamma),
        write(dbeta),
    ];
    let (epsilon, flags) = (batch.epsilon, batch.flags());
    let tensors = || {
        let arguments = [
            (kind::SOURCE, layout),
            (kind::MEAN, vector),
            (kind::VARIANCE, vector),
            (kind::SCALE, vector),
            (kind::DESTINATION_GRADIENT, layout),
            (kind::SOURCE_GRADIENT, layout),
            (kind::SCALE_GRADIENT, vector),
            (kind::SHIFT_GRADIENT, vector),
        ];
        (arguments, backward_pass(epsilon, flags))
    };
    // SAFETY: as in `forward`.
    unsafe { run(&KEPT, batch.key(threads), threads, tensors, data) }
}

fn backward_pass(epsilon: f32, flags: c_uint) -> Description<8> {
    Box::new(move |library, [x, _, _, _, dy, dx, _, _], engine| {
        let goal = (purpose::TRAINING, epsilon, flags);
        let hint = describe(library, engine, [x, x], goal)?;
        let (why, none) = (purpose::BACKWARD, null_mut());
        // SAFETY: these are the functions' types, and the handles are live.
        unsafe {
            let describe = |out| {
                (library.norm_backward)(out, engine, why, dx, dy, x, epsilon, flags, hint, none)
            };
            let description = made("its gradient", describe)?;
            check((library.destroy_primitive_description)(hint), "clearing up")?;
            Ok(description)
        }
    })
}
