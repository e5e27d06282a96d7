//! Softmax and its logarithm.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::Mutex;

use tilewise_kernels::{MatMut, MatRef};

use super::{
    Description, Dtype, Handle, Kept, Layout, OneDnn, check, kind, made, purpose, read, run, write,
};

/// `dnnl_softmax_forward_primitive_desc_create`: engine, purpose, algorithm, source, destination, axis,
/// no attributes.
pub(super) type Describe =
    unsafe extern "C" fn(*mut Handle, Handle, c_int, c_int, Handle, Handle, c_int, Handle) -> c_int;

/// `dnnl_softmax_backward_primitive_desc_create`: engine, algorithm, gradients of source and destination,
/// destination, axis, the forward description, no attributes.
pub(super) type DescribeBackward = unsafe extern "C" fn(
    *mut Handle,
    Handle,
    c_int,
    Handle,
    Handle,
    Handle,
    c_int,
    Handle,
    Handle,
) -> c_int;

/// What a primitive is compiled for: layouts of input and output, logarithm, threads.
type Key = ([Layout; 3], bool, usize);

const AXIS: c_int = 1;

/// The plain function, or its logarithm.
fn algorithm(log: bool) -> c_int {
    if log { 0x30001 } else { 0x30000 }
}

fn layout([rows, row_stride]: [usize; 2], [cols, col_stride]: [usize; 2]) -> Layout {
    Layout::new(Dtype::F32, &[[rows, row_stride], [cols, col_stride]])
}

fn of(m: &MatRef<f32>) -> Layout {
    layout([m.rows(), m.row_stride()], [m.cols(), m.col_stride()])
}

fn of_mut(m: &MatMut<f32>) -> Layout {
    layout([m.rows(), m.row_stride()], [m.cols(), m.col_stride()])
}

fn describe(
    library: &OneDnn,
    engine: Handle,
    [x, y]: [Handle; 2],
    log: bool,
) -> Result<Handle, String> {
    let (why, algorithm, none) = (purpose::TRAINING, algorithm(log), null_mut());
    // SAFETY: this is the function's type, and the handles are live.
    let describe =
        |out| unsafe { (library.softmax)(out, engine, why, algorithm, x, y, AXIS, none) };
    made("a softmax", describe)
}

/// Of each row.
pub(in crate::peers) fn softmax(x: MatRef<f32>, mut y: MatMut<f32>, log: bool, threads: usize) {
    static KEPT: Kept<Key> = Mutex::new(None);
    assert!(x.rows() == y.rows() && x.cols() == y.cols());
    let (from, to) = (of(&x), of_mut(&y));
    let data = [read(x.data()), write(y.data_mut())];
    let tensors = || {
        let describe: Description<2> =
            Box::new(move |library, tensors, engine| describe(library, engine, tensors, log));
        ([(kind::SOURCE, from), (kind::DESTINATION, to)], describe)
    };
    // SAFETY: the views prove that the matrices lie inside their slices, the assertion that they fit,
    // and the one that is written is borrowed mutably.
    unsafe { run(&KEPT, ([from, to, to], log, threads), threads, tensors, data) }
}

/// The gradient of the input, from the output and its gradient.
pub(in crate::peers) fn softmax_backward(
    y: MatRef<f32>,
    dy: MatRef<f32>,
    mut dx: MatMut<f32>,
    log: bool,
    threads: usize,
) {
    static KEPT: Kept<Key> = Mutex::new(None);
    assert!(y.rows() == dy.rows() && y.cols() == dy.cols());
    assert!(y.rows() == dx.rows() && y.cols() == dx.cols());
    let layouts = [of(&y), of(&dy), of_mut(&dx)];
    let data = [read(y.data()), read(dy.data()), write(dx.data_mut())];
    let tensors = || {
        let kinds = [kind::DESTINATION, kind::DESTINATION_GRADIENT, kind::SOURCE_GRADIENT];
        (std::array::from_fn(|i| (kinds[i], layouts[i])), backward(log))
    };
    // SAFETY: as in `softmax`.
    unsafe { run(&KEPT, (layouts, log, threads), threads, tensors, data) }
}

fn backward(log: bool) -> Description<3> {
    Box::new(move |library, [y, dy, dx], engine| {
        let hint = describe(library, engine, [y, y], log)?;
        let (algorithm, none) = (algorithm(log), null_mut());
        // SAFETY: these are the functions' types, and the handles are live.
        unsafe {
            let describe = |out| {
                (library.softmax_backward)(out, engine, algorithm, dx, dy, y, AXIS, hint, none)
            };
            let description = made("its gradient", describe)?;
            check((library.destroy_primitive_description)(hint), "clearing up")?;
            Ok(description)
        }
    })
}
