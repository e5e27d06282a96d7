//! Matrix products.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::Mutex;

use tilewise_kernels::{Float, MatMut, MatRef, bf16, f16};

use super::super::product::check_shapes;
use super::{Dtype, Handle, Kept, Layout, kind, made, read, run, write};

/// `dnnl_matmul_primitive_desc_create`: source, weights, no bias, destination, no attributes.
pub(super) type Describe =
    unsafe extern "C" fn(*mut Handle, Handle, Handle, Handle, Handle, Handle, Handle) -> c_int;

/// Element types, of which oneDNN multiplies only `f32`.
pub trait OneDnnElement: Float {
    /// `C = A B`.
    fn onednn(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>, threads: usize);
}

impl OneDnnElement for f32 {
    fn onednn(a: MatRef<f32>, b: MatRef<f32>, c: MatMut<f32>, threads: usize) {
        multiply(a, b, c, Dtype::F32, threads);
    }
}

impl OneDnnElement for f64 {
    fn onednn(_a: MatRef<f64>, _b: MatRef<f64>, _c: MatMut<f64>, _threads: usize) {
        panic!("onednn multiplies no f64");
    }
}

/// Half-precision inputs.
pub trait OneDnnHalf: Copy {
    /// The library's number for them.
    #[doc(hidden)]
    const DTYPE: Dtype;
}

impl OneDnnHalf for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}

impl OneDnnHalf for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

/// `C = A B` in `f32`.
pub(in crate::peers) fn multiply_half<H: OneDnnHalf>(
    a: MatRef<H>,
    b: MatRef<H>,
    c: MatMut<f32>,
    threads: usize,
) {
    multiply(a, b, c, H::DTYPE, threads);
}

/// `dtype` must be what `I` is.
fn multiply<I>(a: MatRef<I>, b: MatRef<I>, mut c: MatMut<f32>, dtype: Dtype, threads: usize) {
    /// What a product is compiled for.
    type Shape = ([Layout; 3], usize);
    static KEPT: Kept<Shape> = Mutex::new(None);
    check_shapes(&a, &b, &c);
    let input = |m: &MatRef<I>| {
        Layout::new(dtype, &[[m.rows(), m.row_stride()], [m.cols(), m.col_stride()]])
    };
    let output = [[c.rows(), c.row_stride()], [c.cols(), c.col_stride()]];
    let layouts = [input(&a), input(&b), Layout::new(Dtype::F32, &output)];
    let data = [read(a.data()), read(b.data()), write(c.data_mut())];
    let tensors = || {
        let kinds = [kind::SOURCE, kind::WEIGHTS, kind::DESTINATION];
        let arguments = std::array::from_fn(|i| (kinds[i], layouts[i]));
        let describe = |library: &super::OneDnn, [a, b, c]: [Handle; 3], engine: Handle| {
            let none = null_mut();
            // SAFETY: this is the function's type, and the handles are live.
            made("a product", |out| unsafe { (library.product)(out, engine, a, b, none, c, none) })
        };
        (arguments, Box::new(describe) as super::Description<3>)
    };
    // SAFETY: the views prove that the three matrices lie inside their slices, `check_shapes` that the
    // shapes fit; `c` is borrowed mutably, so it overlaps neither input, and those are only read.
    unsafe { run(&KEPT, (layouts, threads), threads, tensors, data) }
}
