//! libxsmm 1, which compiles a kernel for a shape and hands it out: its users ask once and call the
//! kernel from then on. One thread, no transposed right operand, order by columns: `Cᵀ = Bᵀ Aᵀ`.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use libloading::os::unix::Library;
use tilewise_kernels::{Float, MatMut, MatRef};

use super::library::{function, open_first};
use super::product::check_shapes;

type Kernel<T> = unsafe extern "C" fn(a: *const T, b: *const T, c: *mut T);

/// `libxsmm_smmdispatch` and `libxsmm_dmmdispatch`, which return no kernel for what they do not know.
type Dispatch<T> = unsafe extern "C" fn(
    m: c_int,
    n: c_int,
    k: c_int,
    a_stride: *const c_int,
    b_stride: *const c_int,
    c_stride: *const c_int,
    alpha: *const T,
    beta: *const T,
    flags: *const c_int,
    prefetch: *const c_int,
) -> Option<Kernel<T>>;

/// The functions of the opened library.
pub struct Xsmm {
    version: String,
    single: Dispatch<f32>,
    double: Dispatch<f64>,
}

fn open() -> Result<&'static Xsmm, String> {
    static OPENED: OnceLock<Result<Xsmm, String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let (library, file) = open_first(&["libxsmm.so.1", "libxsmm.so"])?;
        Xsmm::functions(library).map_err(|error| format!("{file} {error}"))
    });
    opened.as_ref().map_err(Clone::clone)
}

impl Xsmm {
    fn functions(library: &Library) -> Result<Self, String> {
        // SAFETY: these are the functions' types in `libxsmm.h` of version 1, which alone has them
        // by these names; the text that one returns is a constant.
        unsafe {
            let single = function(library, "libxsmm_smmdispatch")?;
            let double = function(library, "libxsmm_dmmdispatch")?;
            let initialise: unsafe extern "C" fn() = function(library, "libxsmm_init")?;
            let target: unsafe extern "C" fn() -> *const c_char =
                function(library, "libxsmm_get_target_arch")?;
            initialise();
            let target = CStr::from_ptr(target()).to_string_lossy();
            Ok(Self { version: format!("1, kernels {target}"), single, double })
        }
    }
}

/// The library's version, or why it cannot be used on that many threads.
pub(super) fn version(threads: usize) -> Result<&'static str, String> {
    let found = open()?;
    if threads > 1 {
        return Err("its kernels run on one thread".into());
    }
    Ok(&found.version)
}

/// What a kernel is compiled for: sizes, strides, and whether A is read transposed.
#[derive(Clone, Copy, PartialEq)]
#[doc(hidden)]
pub struct Shape {
    sizes: [c_int; 3],
    strides: [c_int; 3],
    transposed: bool,
}

/// Element types that libxsmm knows.
pub trait XsmmElement: Float {
    /// The library's function for it.
    #[doc(hidden)]
    fn dispatcher(library: &Xsmm) -> Dispatch<Self>;

    /// The shape and kernel of this thread's last product.
    #[doc(hidden)]
    fn kept() -> Option<(Shape, Kernel<Self>)>;

    /// Keeps a kernel.
    #[doc(hidden)]
    fn keep(kernel: (Shape, Kernel<Self>));
}

macro_rules! impl_xsmm_element {
    ($t:ident, $function:ident, $kept:ident) => {
        thread_local! {
            static $kept: Cell<Option<(Shape, Kernel<$t>)>> = const { Cell::new(None) };
        }

        impl XsmmElement for $t {
            fn dispatcher(library: &Xsmm) -> Dispatch<$t> {
                library.$function
            }

            fn kept() -> Option<(Shape, Kernel<$t>)> {
                $kept.get()
            }

            fn keep(kernel: (Shape, Kernel<$t>)) {
                $kept.set(Some(kernel));
            }
        }
    };
}

impl_xsmm_element!(f32, single, SINGLE);
impl_xsmm_element!(f64, double, DOUBLE);

/// `C = A B`, by the kernel of the call before where it is `kept` and the shape is the same.
pub(super) fn multiply<T: XsmmElement>(a: MatRef<T>, b: MatRef<T>, mut c: MatMut<T>, kept: bool) {
    check_shapes(&a, &b, &c);
    let int = |value: usize| c_int::try_from(value).expect("a size below 2^31");
    // A row that is adjacent in memory is a column of the transposed product. Of a matrix with a
    // single row the library still wants a stride of at least its length.
    let transposed = a.col_stride() != 1;
    assert!(b.col_stride() == 1 && c.col_stride() == 1, "rows of adjacent elements");
    assert!(!transposed || a.row_stride() == 1, "rows or columns of adjacent elements");
    let a_stride = if transposed { a.col_stride() } else { a.row_stride() };
    let shape = Shape {
        sizes: [int(b.cols()), int(a.rows()), int(a.cols())],
        strides: [int(b.row_stride()), int(a_stride), int(c.row_stride())],
        transposed,
    };
    let kernel = match T::kept() {
        Some((last, kernel)) if kept && last == shape => kernel,
        _ => {
            let kernel = compile::<T>(&shape).unwrap_or_else(|why| panic!("libxsmm: {why}"));
            T::keep((shape, kernel));
            kernel
        }
    };
    // SAFETY: the kernel was compiled for these sizes and strides, the views prove that the matrices
    // lie inside their slices, and `c` is borrowed mutably, so it overlaps neither input.
    unsafe { kernel(b.data().as_ptr(), a.data().as_ptr(), c.data_mut().as_mut_ptr()) }
    leave_vectors();
}

/// Clears the upper halves of vector registers, which libxsmm's kernels leave to their caller: what
/// follows was compiled for narrow vectors and would take 0.2 microseconds longer.
fn leave_vectors() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the CPU has the instruction, and nobody expects values in these halves after a call.
        unsafe { std::arch::x86_64::_mm256_zeroupper() }
    }
}

fn compile<T: XsmmElement>(shape: &Shape) -> Result<Kernel<T>, String> {
    const RIGHT_TRANSPOSED: c_int = 2;
    const NO_PREFETCH: c_int = 0;
    let [m, n, k] = shape.sizes;
    let [a_stride, b_stride, c_stride] = &shape.strides;
    let flags = if shape.transposed { RIGHT_TRANSPOSED } else { 0 };
    // SAFETY: this is the function's type, and it reads these values during the call only.
    let kernel = unsafe {
        T::dispatcher(open()?)(
            m,
            n,
            k,
            a_stride,
            b_stride,
            c_stride,
            &T::ONE,
            &T::ZERO,
            &flags,
            &NO_PREFETCH,
        )
    };
    kernel.ok_or_else(|| format!("compiles no kernel for {m} x {n} x {k}"))
}
